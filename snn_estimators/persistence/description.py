"""Parameters described for people: what a fit was started with, and what is different now."""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from torch import Tensor, nn

from snn_estimators._describe import describe_value
from snn_estimators._files import to_plain
from snn_estimators.persistence.cache_key import WITHOUT_EFFECT, signature_defaults
from snn_estimators.persistence.hashing import hash_arrays, hash_bytes

__all__ = [
    "constructor_parameters",
    "describe",
    "describe_parameters",
    "differences",
]


def describe_parameters(estimator: Any) -> dict[str, Any]:
    """Return the parameters that a fit's numbers depend on, as far as JSON can describe them.

    Defaults of the module are among them, so that one written out is the same as one left out.
    """
    given = {f"module__{k}": v for k, v in signature_defaults(estimator.module).items()}
    given |= estimator.get_params(deep=False)
    for name in ("callbacks", "train_split"):
        given[name] = given[name] or None
    return {name: describe(value) for name, value in given.items() if name not in WITHOUT_EFFECT}


def describe(value: Any) -> Any:
    """Return a description of a parameter in JSON: equal for equal ones, in another process too.

    Examples
    --------
    >>> describe({"betas": (0.9, 0.95), "module": nn.Linear})
    {'betas': [0.9, 0.95], 'module': 'torch.nn.modules.linear.Linear'}
    """
    if isinstance(value, Tensor | np.ndarray) and value.ndim:
        return f"{type(value).__name__}:{hash_arrays(value)[:16]}"
    try:
        return json.loads(json.dumps(value, default=to_plain))
    except (TypeError, ValueError):
        pass
    if isinstance(value, Mapping):
        return {str(key): describe(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [describe(item) for item in value]
    if isinstance(value, partial):
        return ["partial", describe(value.func), describe(value.args), describe(value.keywords)]
    if inspect.isclass(value) or inspect.isroutine(value):
        return f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    if isinstance(value, nn.Module):
        return f"{kind}:{hash_bytes(repr(value).encode())[:16]}"
    if isinstance(value, np.random.RandomState | np.random.Generator):
        return kind
    settings = _settings(value)
    if isinstance(getattr(value, "module_", None), nn.Module):  # a fitted model
        weights = value.module_.state_dict().values()
        settings |= {"weights": hash_arrays([w.detach().cpu() for w in weights])[:16]}
    if not settings and " at 0x" not in repr(value):  # no more than its address
        return {kind: repr(value)}
    return {kind: settings}


def _settings(value: Any) -> dict[str, Any]:
    """Return the arguments of an object's constructor that are its attributes, too."""
    if isinstance(value, BaseEstimator):
        return {k: describe(v) for k, v in value.get_params(deep=False).items()}
    names = constructor_parameters(value)
    return {k: describe(v) for k, v in getattr(value, "__dict__", {}).items() if k in names}


def constructor_parameters(value: Any) -> frozenset[str]:
    """Return the names of the parameters of an object's constructor."""
    try:
        return frozenset(inspect.signature(type(value)).parameters)
    except ValueError:  # a class in C
        return frozenset()


def differences(saved: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    """Return a phrase for each parameter in which two descriptions differ."""
    nothing = object()
    names = sorted(saved.keys() | given.keys())
    changed = [n for n in names if saved.get(n, nothing) != given.get(n, nothing)]

    def text(values: Mapping[str, Any], name: str) -> str:
        return describe_value(repr(values[name]), 200) if name in values else "nothing"

    return [f"{n} (saved {text(saved, n)}, given {text(given, n)})" for n in changed]

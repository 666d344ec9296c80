"""What two fits must have in common for one to go on where the other stopped."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from torch import Tensor, nn
from torch.utils.data import Dataset, Subset

from snn_estimators._files import to_plain
from snn_estimators.text import Ids

__all__ = [
    "HARMLESS",
    "constructor_parameters",
    "describe",
    "describe_parameters",
    "differences",
    "digest",
    "digest_of_split",
]

HARMLESS = frozenset(
    {"device", "keep_checkpoints", "memory", "name", "resume", "save_every_n_steps", "verbose"}
    | {"iterator_train__num_workers", "iterator_valid__num_workers"}
)
"""Parameters that change no number; a device changes their last bits at most."""

_ABSENT_IF_EMPTY = ("callbacks", "train_split")


def describe_parameters(estimator: Any) -> dict[str, Any]:
    """Return the parameters that a fit's numbers depend on, as far as JSON can tell them apart.

    Defaults of the module are among them, so that one written out is the same as one left out.

    Examples
    --------
    >>> from snn_estimators.estimators import SpikeGPTLM
    >>> one, same = SpikeGPTLM(), SpikeGPTLM(module__dropout=0.03, callbacks=[])
    >>> describe_parameters(one) == describe_parameters(same)
    True
    """
    given = {f"module__{k}": v for k, v in _defaults(estimator.module).items()}
    given |= estimator.get_params(deep=False)
    for name in _ABSENT_IF_EMPTY:
        given[name] = given[name] or None
    return {name: describe(value) for name, value in given.items() if name not in HARMLESS}


def _defaults(factory: Any) -> dict[str, Any]:
    """Return the defaults of a class or function, as far as its signature tells them."""
    if not (inspect.isclass(factory) or inspect.isroutine(factory)):
        return {}
    parameters = inspect.signature(factory).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


def describe(value: Any) -> Any:
    """Return what JSON can hold of a parameter: equal for equal ones, in another process too.

    Examples
    --------
    >>> describe({"betas": (0.9, 0.95), "module": nn.Linear})
    {'betas': [0.9, 0.95], 'module': 'torch.nn.modules.linear.Linear'}
    """
    if isinstance(value, Tensor | np.ndarray) and value.ndim:
        return f"{type(value).__name__}:{digest(value)[:16]}"
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
        return f"{kind}:{hashlib.sha256(repr(value).encode()).hexdigest()[:16]}"
    if isinstance(value, np.random.RandomState | np.random.Generator):
        return kind
    settings = _settings(value)
    if not settings and " at 0x" not in repr(value):  # which says no more than where it lies
        return {kind: repr(value)}
    return {kind: settings}


def _settings(value: Any) -> dict[str, Any]:
    """Return what an object was built with, as far as it keeps that under the same names."""
    if isinstance(value, BaseEstimator):
        return {k: describe(v) for k, v in value.get_params(deep=False).items()}
    names = constructor_parameters(value)
    return {k: describe(v) for k, v in getattr(value, "__dict__", {}).items() if k in names}


def constructor_parameters(value: Any) -> frozenset[str]:
    """Return the names of what the class of an object takes."""
    try:
        return frozenset(inspect.signature(type(value)).parameters)
    except ValueError:  # a class in C
        return frozenset()


def differences(saved: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    """Return a phrase for each parameter in which two descriptions differ.

    Examples
    --------
    >>> differences({"lr": 0.1, "clip": 1.0}, {"lr": 0.2, "clip": 1.0, "module__heads": 2})
    ['lr (saved 0.1, given 0.2)', 'module__heads (saved nothing, given 2)']
    """
    nothing = object()
    told = []
    for name in sorted(saved.keys() | given.keys()):
        before, now = saved.get(name, nothing), given.get(name, nothing)
        if before != now:
            words = ["nothing" if v is nothing else _brief(v) for v in (before, now)]
            told.append(f"{name} (saved {words[0]}, given {words[1]})")
    return told


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:197]}..."


def digest(*values: Any) -> str:
    """Return the SHA-256 of tensors and arrays, or of lists and tuples of them.

    Examples
    --------
    >>> digest(np.arange(3)) == digest(np.arange(3)) != digest(np.arange(4))
    True
    """
    total = hashlib.sha256()
    for value in values:
        if isinstance(value, Tensor | np.ndarray):
            array = np.ascontiguousarray(value.cpu() if isinstance(value, Tensor) else value)
            total.update(f"{array.dtype}{array.shape}".encode())
            total.update(array.data)
        elif isinstance(value, list | tuple):
            total.update(digest(*value).encode())
        else:
            total.update(repr(value).encode())
    return total.hexdigest()


def digest_of_split(sides: Sequence[Dataset | None]) -> str:
    """Return the SHA-256 of which windows went to which side of a split."""
    return digest(*(_indices(side) for side in sides))


def _indices(side: Any) -> Ids:
    if isinstance(side, Subset):
        return np.asarray(side.indices, dtype=np.int64)
    return np.array([-1 if side is None else len(side)])

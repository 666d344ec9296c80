"""What a fit's outcome depends on besides its data: parameters, and settings of the process."""

from __future__ import annotations

import inspect
import random
import sys
from collections.abc import Callable
from numbers import Real
from typing import Any

import numpy as np

from snn_estimators._torch import resolve_device
from snn_estimators._torch_settings import changed_switch
from snn_estimators.persistence.code_hash import name_in_library
from snn_estimators.persistence.description import HARMLESS
from snn_estimators.persistence.stable_hash import identity, identity_of_source

__all__ = [
    "identities_of_parameters",
    "identity_in_fit",
    "watch_global_generators",
    "why_not_cacheable",
]

_BESIDE_THE_POINT = HARMLESS | {"device", "pretrained", "warm_start"}


def identities_of_parameters(estimator: Any) -> dict[str, Any]:
    """Return what tells each parameter's value from others that may make another fit.

    Parameters that change nothing are left out: defaults of our modules that are written out,
    `max_epochs` where `max_steps` decides and nobody else asks.

    Raises
    ------
    TypeError
        If nothing does.

    Examples
    --------
    >>> from snn_estimators.estimators import SpikeGPTLM
    >>> one, same = SpikeGPTLM(), SpikeGPTLM(module__dropout=0.03, callbacks=[])
    >>> identities_of_parameters(one) == identities_of_parameters(same)
    True
    """
    parameters = estimator.get_params(deep=False)
    given = {name: value for name, value in parameters.items() if name not in _BESIDE_THE_POINT}
    for name in ("callbacks", "train_split"):
        given[name] = given[name] or None
    is_new = getattr(estimator, "pretrained", None) is None
    if is_new and isinstance(given["tokenizer"], str):
        given["tokenizer"] = estimator._new_tokenizer()
    nobody_else_asks = not given["callbacks"] and name_in_library(type(estimator))
    if given["max_steps"] is not None and nobody_else_asks:
        del given["max_epochs"]
    told = {k: identity_in_fit(k, v, loosely=_is_ours(estimator, k)) for k, v in given.items()}
    for name, value in _defaults(estimator).items() if is_new else ():
        if name in told and told[name] == identity(value, loosely=True):
            del told[name]
    return told


def identity_in_fit(name: str, value: Any, *, loosely: bool = False) -> Any:
    """Return the identity of something that a fit depends on.

    Raises
    ------
    TypeError
        If it has none; the message names it, and the remedy.
    """
    try:
        return identity(identity_of_source(name, value), loosely=loosely)
    except (AttributeError, TypeError, ValueError) as error:
        raise TypeError(
            f"With memory, {name} must be something that can be told from its like: {error}. Give "
            f"functions, classes, or objects of plain attributes, or set memory=None."
        ) from error


def _is_ours(estimator: Any, name: str) -> bool:
    """Tell parameters to which 1.0 is 1: others' code may take the one for a share."""
    component, nested, _ = name.partition("__")
    if not nested:
        return name not in ("callbacks", "train_split")
    return _is_library_of_ours(estimator._component_type(component))


def _is_library_of_ours(owner: Any) -> bool:
    package = (getattr(owner, "__module__", None) or "").partition(".")[0]
    return package in ("snn_estimators", "torch") and name_in_library(owner) is not None


def _defaults(estimator: Any) -> dict[str, Any]:
    """Return what the module's parameters are if they are left out, for a module of ours."""
    if not (inspect.isclass(estimator.module) and _is_library_of_ours(estimator.module)):
        return {}
    parameters = inspect.signature(estimator.module).parameters.values()
    return {f"module__{p.name}": p.default for p in parameters if p.default is not p.empty}


# Randomness


def why_not_cacheable(estimator: Any) -> str | None:
    """Return why no fit of an estimator may stand for another, and what to do; None if it may.

    Examples
    --------
    >>> from skorch.dataset import ValidSplit
    >>> from snn_estimators.estimators import SpikeGPTLM
    >>> why_not_cacheable(SpikeGPTLM())
    'With random_state=None no fit equals another, so memory keeps none: give a whole number.'
    >>> why_not_cacheable(SpikeGPTLM(random_state=0, train_split=ValidSplit(0.3)))
    "With train_split's random_state=None no fit equals another, so memory keeps none: ..."
    >>> why_not_cacheable(SpikeGPTLM(random_state=0, train_split=ValidSplit(3))) is None
    True
    """
    seed, reason = estimator.random_state, None
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        reason = f"random_state={seed!r}"
    elif _draws(estimator.train_split):
        reason = "train_split's random_state=None"
    if reason is not None:
        return f"With {reason} no fit equals another, so memory keeps none: give a whole number."
    switch = changed_switch(resolve_device(estimator.device).type)
    if switch is not None:
        return f"With {switch} memory keeps no fit: set it back."
    return None


def _draws(split: Any) -> bool:
    """Tell a split that draws from numpy's global generator, of skorch's and scikit-learn's."""
    if hasattr(split, "cv"):  # skorch's ValidSplit: a share is drawn, folds are what they are
        is_share = isinstance(split.cv, Real) and not float(split.cv).is_integer()
        if not is_share:
            return _draws(split.cv)
    shuffles = getattr(split, "shuffle", True) is not False
    return shuffles and getattr(split, "random_state", 0) is None


def watch_global_generators() -> Callable[[], bool]:
    """Return what tells whether anybody has drawn from numpy's or Python's global generator since.

    Python's does not count within a task of Dask, whose own thread draws from it twice a second.
    """
    state = _state_of_numpy if _is_task_of_dask() else _state_of_both
    before = state()
    return lambda: state() != before


def _is_task_of_dask() -> bool:
    worker = sys.modules.get("distributed.worker")
    try:
        return worker is not None and worker.get_worker() is not None
    except ValueError:
        return False


def _state_of_both() -> tuple[Any, ...]:
    return *_state_of_numpy(), random.getstate()


def _state_of_numpy() -> tuple[Any, ...]:
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002
    return kind, np.asarray(keys).tobytes(), *rest

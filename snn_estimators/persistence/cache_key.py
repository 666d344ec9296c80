"""What a fit's outcome depends on besides its data: parameters, and settings of the process."""

from __future__ import annotations

import inspect
import random
import sys
from collections.abc import Callable
from functools import partial
from numbers import Real
from operator import attrgetter
from typing import Any

import numpy as np
import torch

from snn_estimators.persistence.code_hash import name_in_library
from snn_estimators.persistence.description import HARMLESS
from snn_estimators.persistence.stable_hash import identity, identity_of_source

__all__ = [
    "identities_of_parameters",
    "identity_in_fit",
    "settings_of_process",
    "watch_global_generators",
    "why_not_cacheable",
]

_BACKENDS = (
    *("fp32_precision", "mkldnn.enabled", "mkldnn.deterministic", "mkldnn.fp32_precision"),
    *("mkldnn.matmul.fp32_precision", "mkldnn.conv.fp32_precision", "mkldnn.rnn.fp32_precision"),
    *("cuda.flash_sdp_enabled", "cuda.mem_efficient_sdp_enabled", "cuda.math_sdp_enabled"),
)
_BACKENDS_OF_GPUS = (
    *("cuda.matmul.allow_tf32", "cuda.matmul.fp32_precision", "cuda.preferred_blas_library"),
    *("cuda.matmul.allow_fp16_reduced_precision_reduction", "cuda.matmul.allow_fp16_accumulation"),
    *("cuda.matmul.allow_bf16_reduced_precision_reduction", "cuda.cudnn_sdp_enabled"),
    *("cudnn.enabled", "cudnn.benchmark", "cudnn.deterministic", "cudnn.allow_tf32"),
    *("cudnn.fp32_precision", "cudnn.conv.fp32_precision", "cudnn.rnn.fp32_precision"),
)
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
    given["callbacks"] = _without_observers(given["callbacks"])
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


def _without_observers(callbacks: Any) -> Any:
    """Leave out callbacks that change nothing, as their class attribute ``observes_only`` says."""
    if not isinstance(callbacks, list | tuple):
        return callbacks
    owners = [one[-1] if isinstance(one, tuple) else one for one in callbacks]
    pairs = zip(callbacks, owners, strict=True)
    return [one for one, owner in pairs if not getattr(owner, "observes_only", False)]


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
    """Return what makes each fit of an estimator another one, None if nothing does.

    Examples
    --------
    >>> from skorch.dataset import ValidSplit
    >>> from snn_estimators.estimators import SpikeGPTLM
    >>> why_not_cacheable(SpikeGPTLM())
    'random_state=None'
    >>> why_not_cacheable(SpikeGPTLM(random_state=0, train_split=ValidSplit(0.3)))
    "train_split's random_state=None"
    >>> why_not_cacheable(SpikeGPTLM(random_state=0, train_split=ValidSplit(3))) is None
    True
    """
    seed = estimator.random_state
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        return f"random_state={seed!r}"
    return "train_split's random_state=None" if _draws(estimator.train_split) else None


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


# The process


def settings_of_process(device: torch.device) -> dict[str, Any]:
    """Return the settings of PyTorch that change the numbers of a fit on a device.

    The number of threads is not among them: it changes the last bits at most, and would keep
    processes of a search from what others have done.

    Examples
    --------
    >>> settings_of_process(torch.device("cpu"))["default dtype"]
    'torch.float32'
    """
    questions: dict[str, Callable[[], Any]] = {
        "default dtype": torch.get_default_dtype,
        "default device": torch.get_default_device,
        "matmul precision": torch.get_float32_matmul_precision,
        "deterministic": torch.are_deterministic_algorithms_enabled,
        "denormals": _knows_denormals,
    }
    names = _BACKENDS if device.type == "cpu" else _BACKENDS + _BACKENDS_OF_GPUS
    questions |= {name: partial(_setting, name) for name in names}
    places = sorted({"cpu", device.type})
    questions |= {f"autocast on {place}": partial(_autocast, place) for place in places}
    return {name: _answer(question) for name, question in questions.items()}


def _answer(question: Callable[[], Any]) -> str | None:
    try:
        return str(question())
    except (AttributeError, RuntimeError):  # unknown to this version, or set in two ways at once
        return None


def _setting(name: str) -> Any:
    value = attrgetter(name)(torch.backends)
    if value == "none":  # no other precision, neither here nor wherever this one comes from
        return "ieee"
    return value() if callable(value) else value


def _autocast(place: str) -> Any:
    return torch.is_autocast_enabled(place) and torch.get_autocast_dtype(place)


def _knows_denormals() -> bool:
    """Tell whether `torch.set_flush_denormal` is off; there is nothing to ask."""
    return float(torch.tensor(1e-40, dtype=torch.float32, device="cpu") * 1.0) > 0

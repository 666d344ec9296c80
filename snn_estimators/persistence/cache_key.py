"""The key of a fit in a cache: equal for fits of which one may stand for the other.

`fit_key` is the SHA-256 of these ingredients, each in its canonical form:

* the class of the estimator, and its parameters (`parameter_keys`), except `WITHOUT_EFFECT` and
  those that are written out but equal the module's defaults;
* the data, and the arguments of fit;
* user-defined code in any of them or registered for the module, with all that it uses
  (`stable_hash`, `code_hash`);
* the versions of what computes, the type of device, and five settings of PyTorch
  (`_torch_settings`).

Fits that no other equals (`why_not_cacheable`) are not cached: those without a seed, and those
under a switch of PyTorch that is not its default.
"""

from __future__ import annotations

import inspect
import random
import sys
import uuid
from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any

import numpy as np

from snn_estimators._torch import resolve_device
from snn_estimators._torch_settings import changed_switch, torch_settings
from snn_estimators.nn.decoder.builders import REGISTRIES
from snn_estimators.persistence import training_state
from snn_estimators.persistence.checkpointing import versions
from snn_estimators.persistence.code_hash import library_name
from snn_estimators.persistence.hashing import hash_json
from snn_estimators.persistence.stable_hash import canonical, file_hashes

__all__ = [
    "WITHOUT_EFFECT",
    "fit_key",
    "key_part",
    "parameter_keys",
    "signature_defaults",
    "user_code",
    "watch_global_generators",
    "why_not_cacheable",
]

FORMAT = 3
WITHOUT_EFFECT = frozenset(
    {"device", "keep_checkpoints", "memory", "name", "resume", "save_every_n_steps", "verbose"}
    | {"iterator_train__num_workers", "iterator_valid__num_workers"}
)
"""Parameters that change no number; a device changes their last bits at most."""

_NOT_IN_KEY = WITHOUT_EFFECT | {"pretrained", "teacher", "warm_start"}


def fit_key(estimator: Any, data: Mapping[str, Any], fit_params: Mapping[str, Any]) -> str:
    """Return the key of a fit; one that is not cacheable has a key of its own.

    `data` is what else the fit depends on, as JSON has it. What cannot be hashed by its content
    raises a TypeError.
    """
    device = resolve_device(estimator.device)
    parts = {
        "formats": [FORMAT, training_state.FORMAT],
        "versions": versions(),
        "class": key_part("the estimator's class", type(estimator)),
        "device": device.type,
        "settings": torch_settings(device.type),
        "parameters": parameter_keys(estimator),
        "fit_params": {name: key_part(name, value) for name, value in fit_params.items()},
        "data": dict(data),
    }
    if why_not_cacheable(estimator):
        parts["once"] = uuid.uuid4().hex
    return hash_json(parts)


def parameter_keys(estimator: Any) -> dict[str, Any]:
    """Return the canonical form of each parameter that a fit depends on.

    The defaults of our modules are among them, given or not, so that a fit is not taken for
    another when a default changes. `max_epochs` is left out where `max_steps` decides and no
    user-defined code reads it.
    """
    parameters = estimator.get_params(deep=False)
    given = {name: value for name, value in parameters.items() if name not in _NOT_IN_KEY}
    given["callbacks"] = _without_observers(given["callbacks"])
    for name in ("callbacks", "train_split"):
        given[name] = given[name] or None
    is_new = getattr(estimator, "pretrained", None) is None
    if is_new and isinstance(given["tokenizer"], str):
        given["tokenizer"] = estimator._new_tokenizer()
    only_ours_reads = not given["callbacks"] and library_name(type(estimator))
    if given["max_steps"] is not None and only_ours_reads:
        del given["max_epochs"]
    keys = {k: key_part(k, v, loosely=_is_ours(estimator, k)) for k, v in given.items()}
    defaults = module_defaults(estimator).items() if is_new else ()
    unset = {k: canonical(v, loosely=True) for k, v in defaults if k not in keys}
    return {**unset, **keys, **_registered_code(estimator)}


def user_code(parts: Any) -> list[Any]:
    """Collect the user-defined code in canonical forms, under names without what is around them.

    What is sent to another process by its content may have lost the function that it stood in.

    Examples
    --------
    >>> user_code({"lr": 0.1, "module": {"definitions": {"f.<locals>.A": {"class": []}}}})
    [[['A', {'class': []}]]]
    """
    if isinstance(parts, dict):
        if "definitions" in parts:
            return [[[_last(name), _nameless(code)] for name, code in parts["definitions"].items()]]
        parts = list(parts.values())
    if isinstance(parts, list | tuple):
        return [code for part in parts for code in user_code(part)]
    return []


def _nameless(code: Any) -> Any:
    if isinstance(code, dict):
        return {k: _last(v) if k == "definition" else _nameless(v) for k, v in code.items()}
    return [_nameless(part) for part in code] if isinstance(code, list | tuple) else code


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _registered_code(estimator: Any) -> dict[str, Any]:
    """Return the code of user-defined parts that the module's parameters give by name."""
    given = estimator.get_params(deep=False)
    codes = {}
    for option, default in signature_defaults(estimator.module).items():
        name = given.get(f"module__{option}", default)
        if option in REGISTRIES and isinstance(name, str) and name in REGISTRIES[option]:
            code = key_part(option, REGISTRIES[option][name])
            if isinstance(code, dict) and "definitions" in code:  # as user-defined code has
                codes[f"registered {option}"] = code
    return codes


def _without_observers(callbacks: Any) -> Any:
    """Leave out callbacks that change nothing, as their class attribute ``observes_only`` says."""
    if not isinstance(callbacks, list | tuple):
        return callbacks
    owners = [one[-1] if isinstance(one, tuple) else one for one in callbacks]
    pairs = zip(callbacks, owners, strict=True)
    return [one for one, owner in pairs if not getattr(owner, "observes_only", False)]


def key_part(name: str, value: Any, *, loosely: bool = False) -> Any:
    """Return the canonical form of something that a fit depends on.

    If it has none, the message of the TypeError names it, and the remedy.
    """
    try:
        return canonical(file_hashes(name, value), loosely=loosely)
    except (AttributeError, TypeError, ValueError) as error:
        raise TypeError(
            f"With memory, {name} must be something that can be hashed by its content: {error}. "
            "Give functions, classes, or objects of plain attributes, or set memory=None."
        ) from error


def _is_ours(estimator: Any, name: str) -> bool:
    """Return whether 1.0 is 1 to a parameter: to user-defined code it may be a share."""
    component, nested, _ = name.partition("__")
    if not nested:
        return name not in ("callbacks", "train_split")
    return _is_in_our_libraries(estimator._component_type(component))


def _is_in_our_libraries(owner: Any) -> bool:
    package = (getattr(owner, "__module__", None) or "").partition(".")[0]
    return package in ("snn_estimators", "torch") and library_name(owner) is not None


def module_defaults(estimator: Any) -> dict[str, Any]:
    """Return the defaults of the module's parameters, for a module of ours."""
    module = estimator.module
    if not (inspect.isclass(module) and _is_in_our_libraries(module)):
        return {}
    defaults = signature_defaults(module) | getattr(estimator, "MODULE_DEFAULTS", {})
    return {f"module__{name}": value for name, value in defaults.items()}


def signature_defaults(factory: Any) -> dict[str, Any]:
    """Return the defaults of a class or function, none for anything else."""
    if not (inspect.isclass(factory) or inspect.isroutine(factory)):
        return {}
    parameters = inspect.signature(factory).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


# Randomness


def why_not_cacheable(estimator: Any) -> str | None:
    """Return why no fit of an estimator may stand for another, and what to do; None if it may."""
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
    """Return whether a split draws from numpy's global generator, as skorch's and sklearn's may."""
    if hasattr(split, "cv"):  # skorch's ValidSplit: a share is drawn, folds are what they are
        is_share = isinstance(split.cv, Real) and not float(split.cv).is_integer()
        if not is_share:
            return _draws(split.cv)
    shuffles = getattr(split, "shuffle", True) is not False
    return shuffles and getattr(split, "random_state", 0) is None


def watch_global_generators() -> Callable[[], bool]:
    """Return a function that says whether numpy's or Python's global generator was used since.

    Python's does not count within a task of Dask, whose own thread draws from it twice a second.
    """
    counts_python = not _is_task_of_dask()

    def state() -> tuple[Any, ...]:
        kind, keys, *rest = np.random.get_state()  # noqa: NPY002
        python = random.getstate() if counts_python else None
        return kind, np.asarray(keys).tobytes(), *rest, python

    before = state()
    return lambda: state() != before


def _is_task_of_dask() -> bool:
    worker = sys.modules.get("distributed.worker")
    try:
        return worker is not None and worker.get_worker() is not None
    except ValueError:
        return False

"""What the next step of a training depends on: taken out of a net, and put back, equal to the bit.

That is modules, optimizer, history, the callbacks' fitted attributes, the random generators, and
the place in the epoch, whose batches are drawn again from the generators' states at its beginning.
"""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Iterator, Mapping
from typing import Any

from torch.utils.data import Dataset

from snn_estimators._validation import is_whole
from snn_estimators.persistence.description import constructor_parameters
from snn_estimators.persistence.hashing import hash_arrays
from snn_estimators.persistence.training_state import ResumeError, is_packable

__all__ = ["load_training_state", "training_state", "unsaved_attributes"]


def training_state(net: Any) -> dict[str, Any]:
    """Return where a net's training stands, at the end of a step or an epoch.

    The values are what `TrainingState.from_dict` takes; the tensors are shared with the net.
    """
    position = dict(vars(net._position))
    if net._position.batches:
        position["last_batch"] = hash_arrays(net._last_batch)
    return {
        "parts": {name: part.state_dict() for name, part in _parts(net)},
        "frozen": [name for name, p in net.module_.named_parameters() if not p.requires_grad],
        "callbacks": {name: _callback_state(callback) for name, callback in net.callbacks_},
        "generators": net._generator_states(),
        "position": position,
        "history": net.history.to_list(),
    }


def load_training_state(net: Any, state: Mapping[str, Any], data: Dataset | None) -> None:
    """Put an initialized net, its callbacks and PyTorch's generators where they stood.

    With data to train on, training has begun, and the callbacks have built what they build then;
    without, the fit is over. If the state is not that of such a net, which is then left as it was,
    there is a ResumeError.
    """
    before, training = copy.deepcopy(training_state(net)), data is not None
    try:
        _load(net, state, training)
        if data is not None and net._position.batches:
            net._redraw_batches(data)
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        _load(net, before, training)
        if isinstance(error, ResumeError):
            raise
        reason = " ".join(str(error).split())
        raise ResumeError(
            f"The state of the training does not fit this {type(net).__name__}: {reason}"
        ) from error


def _load(net: Any, state: Mapping[str, Any], training: bool) -> None:
    _check_position(net, state, training)
    for name, part in _parts(net):
        part.load_state_dict(state["parts"][name])
    for name, parameter in net.module_.named_parameters():
        parameter.requires_grad_(name not in state["frozen"])
    for name, callback in net.callbacks_:
        saved = state["callbacks"].get(name, {"attributes": {}, "state_dicts": {}})
        vars(callback).update(saved["attributes"])
        for attribute, inside in saved["state_dicts"].items() if training else ():
            getattr(callback, attribute).load_state_dict(inside)
    net.history[:] = state["history"]
    for name, value in state["position"].items():
        setattr(net._position, name, value)
    net._set_generators(state["generators"])


def _check_position(net: Any, state: Mapping[str, Any], training: bool) -> None:
    """Raise ValueError for a place in a fit that this net cannot be at."""
    position = state["position"]
    most = {"epochs": len(state["history"]), "batches": math.inf}
    most["steps"] = net.planned_steps_ if training else math.inf
    for name, limit in most.items():
        if not is_whole(position[name], 0) or position[name] > limit:
            raise ValueError(f"its {name} are {position[name]!r}, but at most {limit}")
    unknown = position.keys() - vars(net._position).keys()
    if unknown:
        raise ValueError(f"its position knows no {min(unknown)!r}")


def _parts(net: Any) -> Iterator[tuple[str, Any]]:
    """Yield what has a state of its own, under its name."""
    for name in (*net._modules, *net._criteria, *net._optimizers):
        part = getattr(net, f"{name}_")
        yield f"{name}_", getattr(part, "_orig_mod", part)  # without torch.compile's wrapper


# Callbacks


def unsaved_attributes(net: Any) -> list[tuple[str, str, str]]:
    """Return callback, attribute and type of what no checkpoint can hold.

    A callback that may lose some of its attributes names them in a class attribute
    ``not_resumed``.
    """
    return [
        (name, attribute, type(value).__name__)
        for name, callback in net.callbacks_
        for attribute, value in _attributes(callback)
        if not is_packable(_content(value)) and _is_fitted(attribute)
    ]


def _callback_state(callback: Any) -> dict[str, dict[str, Any]]:
    """Return a callback's attributes beside its parameters, as far as a file can hold them."""
    state: dict[str, dict[str, Any]] = {"attributes": {}, "state_dicts": {}}
    for attribute, value in _attributes(callback):
        content = _content(value)
        if is_packable(content):
            state["attributes" if content is value else "state_dicts"][attribute] = content
    return state


def _attributes(callback: Any) -> Iterator[tuple[str, Any]]:
    """Yield what a callback has learned; functions and classes it sets up by itself."""
    left_out = {*getattr(callback, "not_resumed", ()), *constructor_parameters(callback)}
    for attribute, value in vars(callback).items():
        if attribute not in left_out and not (inspect.isclass(value) or inspect.isroutine(value)):
            yield attribute, value


def _content(value: Any) -> Any:
    """Return the state of what has one, such as a scheduler's, otherwise the value."""
    has_state = hasattr(value, "state_dict") and hasattr(value, "load_state_dict")
    return value.state_dict() if has_state else value


def _is_fitted(attribute: str) -> bool:
    """Return whether an attribute is no parameter: an underscore stands at either end."""
    return attribute.startswith("_") or attribute.endswith("_")

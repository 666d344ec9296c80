"""A fit in mid-training as one file, and back: equal to the bit, and nothing is pickled.

`TrainingState` knows nothing of names and folders. What it holds is all that the next step depends
on: modules, optimizer, history, the callbacks' fitted attributes, the random generators, and the
place in the epoch, whose batches are drawn again from the generators' states at its beginning.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from inspect import isclass, isroutine
from pathlib import Path
from typing import Any, Self

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from snn_estimators._files import OtherKindError, require, to_plain
from snn_estimators._torch import GeneratorStates
from snn_estimators.persistence.description import constructor_parameters
from snn_estimators.persistence.hashing import hash_arrays, hash_tensors

__all__ = [
    "FORMAT",
    "Position",
    "ResumeError",
    "TrainingState",
    "pack",
    "unkept_attributes",
    "unpack",
]

FORMAT = 3
_CONTENT = "content.json"  # a tensor of bytes: the header of a safetensors file has a limit
_CHECKSUM = "sha256"


class ResumeError(ValueError):
    """A state is whole, but the fit cannot go on from it."""


@dataclass
class Position:
    """How far a fit has come.

    Parameters
    ----------
    epochs : int
        That are over, their validation included.
    batches : int
        Of the epoch that has begun; 0 between two epochs.
    steps : int
        Of the whole fit.
    epoch_start : tuple of generator states, optional
        From which the batches of the epoch that has begun can be drawn again.
    last_batch : str
        Digest of its latest batch, to see that they were.
    """

    epochs: int = 0
    batches: int = 0
    steps: int = 0
    epoch_start: GeneratorStates | None = None
    last_batch: str = ""


@dataclass
class TrainingState:
    """All that the next step of a fit depends on.

    Parameters
    ----------
    content : dict
        What JSON can hold.
    tensors : dict of str to Tensor
        What it refers to.
    """

    content: dict[str, Any]
    tensors: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def capture(cls, net: Any, about: Mapping[str, Any]) -> Self:
        """Return a copy of where a net's training stands, at the end of a step or an epoch.

        Parameters
        ----------
        net : TrainedNet
        about : mapping
            Whatever JSON can hold, to tell later whether the state belongs to a fit.
        """
        tensors: dict[str, Tensor] = {}
        callbacks = {}
        for name, callback in net.callbacks_:
            kept = dict(_kept_attributes(callback, f"callbacks/{name}", tensors))
            callbacks[name] = {key: value for key, value in kept.items() if value is not _UNKEPT}
        position = dict(vars(net._position))
        if net._position.batches:
            position["last_batch"] = hash_arrays(net._last_batch)
        content = {
            "format": FORMAT,
            "about": dict(about),
            "position": pack(position, "position", tensors),
            "parts": {n: pack(part.state_dict(), n, tensors) for n, part in _parts(net)},
            "frozen": [n for n, p in net.module_.named_parameters() if not p.requires_grad],
            "callbacks": callbacks,
            "generators": pack(net._generator_states(), "generators", tensors),
            "history": net.history.to_list(),
        }
        return cls(content, tensors)

    @property
    def about(self) -> dict[str, Any]:
        """What `capture` was given."""
        return self.content["about"]

    def restore(self, net: Any, *, training: bool = True) -> None:
        """Put an initialized net, its callbacks and PyTorch's generators where they stood.

        Parameters
        ----------
        net : TrainedNet
        training : bool
            Whether training has begun, so that the callbacks have built what they build then.

        Raises
        ------
        ResumeError
            If the state is not that of such a net.
        """
        try:
            self._restore(net, training)
        except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            told = " ".join(str(error).split())
            raise ResumeError(
                f"The state of the training does not fit this {type(net).__name__}: {told}"
            ) from error

    def _restore(self, net: Any, training: bool) -> None:
        content = self.content
        for name, part in _parts(net):
            part.load_state_dict(unpack(content["parts"][name], self.tensors))
        for name, parameter in net.module_.named_parameters():
            parameter.requires_grad_(name not in content["frozen"])
        for name, callback in net.callbacks_:
            for key, value in content["callbacks"].get(name, {}).items():
                if not (isinstance(value, dict) and "state_dict" in value):
                    vars(callback)[key] = unpack(value, self.tensors)
                elif training:
                    state = unpack(value["state_dict"], self.tensors)
                    getattr(callback, key).load_state_dict(state)
        net.history[:] = content["history"]
        net._position = Position(**unpack(content["position"], self.tensors))
        net._set_generators(unpack(content["generators"], self.tensors))

    def to_bytes(self) -> bytes:
        """Return the content of a safetensors file, with a checksum."""
        text = json.dumps(self.content, default=to_plain).encode()
        tensors = {**self.tensors, _CONTENT: torch.from_numpy(np.frombuffer(text, np.uint8).copy())}
        return safetensors.torch.save(tensors, {_CHECKSUM: hash_tensors(tensors)})

    def write(self, path: Path) -> None:
        """Write a file of `to_bytes`."""
        path.write_bytes(self.to_bytes())

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what `write` wrote.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If it is damaged (a single bit is enough), no safetensors file, or of another format.
        """
        require(path)
        data = path.read_bytes()
        try:
            tensors = safetensors.torch.load(data)
            told, found = _told_checksum(data), hash_tensors(tensors)
            content = json.loads(tensors.pop(_CONTENT).numpy().tobytes())
            is_ours = content["format"] == FORMAT
            # The first format had no checksum.
            if told != found and (told is not None or is_ours):
                raise ValueError("what it holds is not what was written")
        except (SafetensorError, LookupError, RecursionError, TypeError, ValueError) as error:
            raise ValueError(f"{path} is damaged or no state of a training: {error}.") from error
        if not is_ours:
            raise OtherKindError(
                f"{path} is in format {content['format']}, this version of snn_estimators reads "
                f"{FORMAT}: use the version that wrote it."
            )
        missing = {"about", "position", "parts", "callbacks", "history"} - content.keys()
        if missing:
            raise ValueError(f"{path} is damaged: {min(missing)!r} is missing.")
        return cls(content, tensors)


def _told_checksum(data: bytes) -> str | None:
    """Return the checksum in the header of a safetensors file, if there is one."""
    end = 8 + int.from_bytes(data[:8], "little")
    return json.loads(data[8:end]).get("__metadata__", {}).get(_CHECKSUM)


def _parts(net: Any) -> Iterator[tuple[str, Any]]:
    """Yield what has a state of its own, under its name."""
    for name in (*net._modules, *net._criteria, *net._optimizers):
        part = getattr(net, f"{name}_")
        yield f"{name}_", getattr(part, "_orig_mod", part)  # without torch.compile's wrapper


# Callbacks

_UNKEPT = object()


def unkept_attributes(net: Any) -> list[tuple[str, str, str]]:
    """Return callback, attribute and type of what a state cannot hold.

    A callback that knows what it may lose says so by a class attribute ``not_resumed``, names of
    attributes.
    """
    return [
        (name, key, type(vars(callback)[key]).__name__)
        for name, callback in net.callbacks_
        for key, value in _kept_attributes(callback, name, {})
        if value is _UNKEPT
    ]


def _kept_attributes(
    callback: Any, path: str, tensors: dict[str, Tensor]
) -> Iterator[tuple[str, Any]]:
    """Yield a callback's attributes beside its parameters, packed, or `_UNKEPT`.

    Functions and classes are left to the callback's own beginning; so is what looks like a
    parameter (no underscore at either end) and is nothing plain.
    """
    dropped = getattr(callback, "not_resumed", ())
    parameters = constructor_parameters(callback)
    for key, value in vars(callback).items():
        if key in dropped or key in parameters or isclass(value) or isroutine(value):
            continue
        try:
            if hasattr(value, "state_dict") and hasattr(value, "load_state_dict"):
                yield key, {"state_dict": pack(value.state_dict(), f"{path}/{key}", tensors)}
            else:
                yield key, pack(value, f"{path}/{key}", tensors)
        except TypeError:
            if key.startswith("_") or key.endswith("_"):
                yield key, _UNKEPT


# Python's containers, numpy's and PyTorch's numbers as JSON and tensors


def pack(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """Return what JSON can hold of a value; its tensors go into `tensors`, under `path`.

    Raises
    ------
    TypeError
        If the value is, or holds, anything but numbers, strings, arrays, tensors and Python's
        containers of them.

    Examples
    --------
    >>> tensors = {}
    >>> packed = pack({"betas": (0.9, 0.95), 0: torch.ones(2)}, "optimizer", tensors)
    >>> packed
    {'dict': [['betas', {'tuple': [0.9, 0.95]}], [0, {'tensor': 'optimizer/0'}]]}
    >>> unpack(packed, tensors)
    {'betas': (0.9, 0.95), 0: tensor([1., 1.])}
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, Tensor):
        return {"tensor": _add(value.detach().cpu().contiguous().clone(), path, tensors)}
    if isinstance(value, np.ndarray | np.generic):
        kind = "array" if isinstance(value, np.ndarray) else "scalar"
        return {kind: _add(torch.from_numpy(np.array(value)), path, tensors)}
    if isinstance(value, Mapping):
        return {
            "dict": [
                [pack(k, f"{path}/key", tensors), pack(v, f"{path}/{k}", tensors)]
                for k, v in value.items()
            ]
        }
    if isinstance(value, list | tuple | set | frozenset):
        ordered = sorted(value, key=repr) if isinstance(value, set | frozenset) else value
        items = [pack(item, f"{path}/{i}", tensors) for i, item in enumerate(ordered)]
        if isinstance(value, list):
            return items
        return {"tuple" if isinstance(value, tuple) else "set": items}
    raise TypeError(f"{path} is a {type(value).__name__}, which cannot be kept")


def unpack(packed: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Return what `pack` was given, on the CPU.

    Raises
    ------
    LookupError, TypeError, ValueError
        If this is nothing that `pack` returned.
    """
    if isinstance(packed, list):
        return [unpack(item, tensors) for item in packed]
    if not isinstance(packed, dict):
        return packed
    ((kind, inside),) = packed.items()
    if kind == "tensor":
        return tensors[inside]
    if kind in ("array", "scalar"):
        array = tensors[inside].numpy()
        return array if kind == "array" else array[()]
    if kind == "dict":
        return {unpack(key, tensors): unpack(value, tensors) for key, value in inside}
    return {"tuple": tuple, "set": set}[kind](unpack(item, tensors) for item in inside)


def _add(tensor: Tensor, path: str, tensors: dict[str, Tensor]) -> str:
    while path in tensors:
        path += "'"
    tensors[path] = tensor
    return path

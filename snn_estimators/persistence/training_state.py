"""Nested values as one safetensors file, and back: equal to the bit, and nothing is pickled.

The values are what a net's ``training_state_dict()`` returns in the middle of a fit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from snn_estimators._files import OtherKindError, parse_json, read_file, to_plain
from snn_estimators._validation import is_float, is_whole
from snn_estimators.persistence.hashing import hash_tensors

__all__ = [
    "FORMAT",
    "MODULE",
    "BatchOrderError",
    "ResumeError",
    "TrainingState",
    "check_epochs",
    "is_packable",
    "pack",
    "unpack",
]

FORMAT = 4
MODULE = "parts/module_/"
"""Before the names of weights among a state's tensors."""

_CONTENT = "content.json"  # a tensor of bytes: the header of a safetensors file has a limit
_CHECKSUM = "sha256"


class ResumeError(ValueError):
    """A state is whole, but the fit cannot resume from it."""


class BatchOrderError(ResumeError):
    """The batches of the epoch that was cut off cannot be drawn again."""


@dataclass
class TrainingState:
    """What a net's ``training_state_dict()`` returned, with what else its owner has to know.

    The content is what JSON can hold; it refers to the tensors by name.
    """

    content: dict[str, Any]
    tensors: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, state: Mapping[str, Any], metadata: Mapping[str, Any]) -> Self:
        """Copy a state of what `pack` takes; its ``history``, which is long, of what JSON takes.

        The metadata, for JSON too, say later whether the state belongs to a fit. A value that no
        file can hold raises a TypeError.
        """
        tensors: dict[str, Tensor] = {}
        rest = {name: value for name, value in state.items() if name != "history"}
        content = {"format": FORMAT, "metadata": dict(metadata), "history": state["history"]}
        return cls(content | {"state": pack(rest, "", tensors)}, tensors)

    def to_dict(self) -> dict[str, Any]:
        """Return the state, with its tensors on the CPU; raise ResumeError if it is incomplete."""
        try:
            check_epochs(self.content["history"])
            state = unpack(self.content["state"], self.tensors)
            return {**state, "history": self.content["history"]}
        except (LookupError, TypeError, ValueError) as error:
            raise ResumeError(f"The state of the training is incomplete: {error!r}") from error

    @property
    def metadata(self) -> dict[str, Any]:
        """What `from_dict` was given."""
        return self.content["metadata"]

    def weights(self) -> dict[str, Tensor]:
        """Return the tensors of the net's module, under their names in it."""
        tensors = self.tensors.items()
        return {k.removeprefix(MODULE): v for k, v in tensors if k.startswith(MODULE)}

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
        data = read_file(path)
        try:
            tensors = safetensors.torch.load(data)
            written, found = _written_checksum(data), hash_tensors(tensors)
            content = parse_json(tensors.pop(_CONTENT).numpy().tobytes())
            is_ours = content["format"] == FORMAT
            # The first format had no checksum.
            if written != found and (written is not None or is_ours):
                raise ValueError("what it holds is not what was written")
        except (SafetensorError, LookupError, TypeError, ValueError) as error:
            raise ValueError(f"{path} is damaged or no state of a training: {error}.") from error
        if not is_ours:
            raise OtherKindError(
                f"{path} is in format {content['format']}, this version of snn_estimators reads "
                f"{FORMAT}: use the version that wrote it."
            )
        missing = {"metadata", "state", "history"} - content.keys()
        if missing:
            raise ValueError(f"{path} is damaged: {min(missing)!r} is missing.")
        return cls(content, tensors)


def check_epochs(epochs: Any) -> None:
    """Raise ValueError unless this is a history: a list of epochs, each with a list of batches."""
    if not isinstance(epochs, list):
        raise ValueError("it holds no list of epochs")
    for epoch in epochs:
        batches = epoch.get("batches") if isinstance(epoch, dict) else None
        if not isinstance(batches, list) or not all(isinstance(row, dict) for row in batches):
            raise ValueError("an epoch of it holds no list of batches")
        count = epoch.get("train_batch_count")
        if count is not None and not is_whole(count, 0):
            raise ValueError(f"'train_batch_count' is no number of batches, but {count!r}")
        for row in (epoch, *batches):
            for name, value in row.items():
                if name.endswith("_loss") and not is_float(value):
                    raise ValueError(f"{name!r} is no loss, but {value!r}")


def _written_checksum(data: bytes) -> str | None:
    """Return the checksum in the header of a safetensors file, if there is one."""
    end = 8 + int.from_bytes(data[:8], "little")
    return parse_json(data[8:end]).get("__metadata__", {}).get(_CHECKSUM)


# Python's containers, numpy's and PyTorch's numbers as JSON and tensors


def pack(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """Return what JSON can hold of a value; its tensors go into `tensors`, under `path`.

    It takes numbers, strings, arrays, tensors and Python's containers of them; of anything else it
    raises a TypeError.

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
        inside = f"{path}/" if path else ""
        return {
            "dict": [
                [pack(k, f"{inside}key", tensors), pack(v, f"{inside}{k}", tensors)]
                for k, v in value.items()
            ]
        }
    if isinstance(value, list | tuple | set | frozenset):
        ordered = sorted(value, key=repr) if isinstance(value, set | frozenset) else value
        items = [pack(item, f"{path}/{i}", tensors) for i, item in enumerate(ordered)]
        if isinstance(value, list):
            return items
        kinds = (tuple, frozenset, set)
        return {next(kind.__name__ for kind in kinds if isinstance(value, kind)): items}
    raise TypeError(f"{path} is a {type(value).__name__}, which no file can hold")


def is_packable(value: Any) -> bool:
    """Return whether `pack` takes a value."""
    try:
        pack(value, "", {})
    except TypeError:
        return False
    return True


def unpack(packed: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Return what `pack` was given, on the CPU.

    Of what `pack` has not returned it raises a LookupError, TypeError or ValueError.
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
    made = {"tuple": tuple, "set": set, "frozenset": frozenset}[kind]
    return made(unpack(item, tensors) for item in inside)


def _add(tensor: Tensor, path: str, tensors: dict[str, Tensor]) -> str:
    while path in tensors:
        path += "'"
    tensors[path] = tensor
    return path

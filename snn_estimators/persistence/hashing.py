"""SHA-256 of bytes, files, JSON, arrays and tensors, documents and splits."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset

from snn_estimators.text import Ids
from snn_estimators.text._blocks import BLOCK_LENGTH, cut

__all__ = [
    "hash_arrays",
    "hash_bytes",
    "hash_documents",
    "hash_file",
    "hash_ids",
    "hash_json",
    "hash_split",
    "hash_tensors",
]


def hash_bytes(content: bytes) -> str:
    """Return the SHA-256 of bytes."""
    return hashlib.sha256(content).hexdigest()


def hash_file(path: Path) -> str:
    """Return the SHA-256 of what is in a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_json(value: Any) -> str:
    """Return the SHA-256 of what JSON can hold, whatever the order of keys."""
    return hash_bytes(json.dumps(value, sort_keys=True).encode())


def hash_arrays(*values: Any) -> str:
    """Return the SHA-256 of arrays and tensors, or of lists and tuples of them.

    Type, shape and content count; a tensor's device does not.
    """
    total = hashlib.sha256()
    for value in values:
        if isinstance(value, Tensor | np.ndarray):
            total.update(f"{value.dtype}{tuple(value.shape)}".removeprefix("torch.").encode())
            total.update(_buffer(value))
        elif isinstance(value, list | tuple):
            total.update(hash_arrays(*value).encode())
        else:
            total.update(repr(value).encode())
    return total.hexdigest()


def hash_tensors(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of tensors and their names."""
    total = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        total.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode())
        total.update(_buffer(tensor))
    return total.hexdigest()


def _buffer(value: Tensor | np.ndarray[Any, Any]) -> memoryview:
    if isinstance(value, Tensor):
        plain = value.detach().cpu().resolve_conj().resolve_neg().contiguous()
        return plain.reshape(-1).view(torch.uint8).numpy().data
    return np.ascontiguousarray(value).reshape(-1).view(np.uint8).data


def hash_ids(documents: Sequence[Ids]) -> str:
    """Return the SHA-256 of token ids, whatever their type: that of a list of int64 arrays."""
    total = hashlib.sha256()
    for ids in documents:
        _add_ids(total, [ids], ids.shape)
    return hash_bytes(total.hexdigest().encode())


def hash_documents(documents: Sequence[str] | Ids | list[Ids]) -> str:
    """Return the SHA-256 of documents or token ids, whatever the type of the ids.

    Beyond the documents it takes the memory of a block of one.
    """
    total = hashlib.sha256()
    if isinstance(documents, np.ndarray):
        _add_ids(total, np.atleast_2d(documents), documents.shape)
        return total.hexdigest()
    lengths = np.array([len(document) for document in documents])
    if isinstance(documents[0], str):
        for block in (block for document in documents for block in cut(str(document))):
            total.update(block.encode("utf-8", "surrogatepass"))
        return hash_arrays(lengths, total.hexdigest())
    _add_ids(total, [lengths], lengths.shape)
    _add_ids(total, cast(Sequence[Ids], documents), (int(lengths.sum()),))
    return total.hexdigest()


def _add_ids(total: Any, documents: Iterable[Ids], shape: tuple[int, ...]) -> None:
    """Hash ids as one array of int64 of a shape, of which `documents` are the parts in order."""
    total.update(f"int64{shape}".encode())
    for ids in documents:
        for start in range(0, len(ids), BLOCK_LENGTH):
            total.update(_buffer(ids[start : start + BLOCK_LENGTH].astype(np.int64)))


def hash_split(sides: Sequence[Dataset | None]) -> str:
    """Return the SHA-256 of which windows went to which side of a split."""
    return hash_arrays(*(_indices(side) for side in sides))


def _indices(side: Any) -> Ids:
    if isinstance(side, Subset):
        return np.asarray(side.indices, dtype=np.int64)
    return np.array([-1 if side is None else len(side)])

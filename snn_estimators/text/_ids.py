"""Token ids of documents: in the smallest type that holds them, and many of them in a file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from snn_estimators.text._mapped import MappedFile

__all__ = ["Ids", "IdsOfDocuments", "encode_blocks", "smallest_type"]

Ids = npt.NDArray[np.integer[Any]]

MAPPED_BEYOND = 1 << 26
"""Bytes of ids in memory; with more of them, all are in a file."""


def smallest_type(n_tokens: int) -> np.dtype[np.integer[Any]]:
    """Return the type of the ids of a vocabulary: a text of ids is as small as one of bytes.

    Examples
    --------
    >>> [str(smallest_type(n_tokens)) for n_tokens in (256, 257, 65537)]
    ['uint8', 'uint16', 'int32']
    """
    types = np.uint8, np.uint16, np.int32
    return np.dtype(next((t for t in types if n_tokens <= np.iinfo(t).max + 1), np.int64))


def encode_blocks(
    encode: Callable[[str, int], Ids],
    document: str,
    index: int,
    blocks: Callable[[str], Iterable[str]],
) -> Iterator[Ids]:
    """Yield the ids of a document's blocks; an error names the position in the document."""
    try:
        for block in blocks(document):
            yield encode(block, index)
    except ValueError:
        encode(document, index)
        raise


class IdsOfDocuments:
    """Takes up the ids of documents, part by part: in memory, or else in a file.

    Parameters
    ----------
    n_tokens : int
        Size of the vocabulary.

    Examples
    --------
    >>> ids = IdsOfDocuments(n_tokens=9)
    >>> ids.add(np.array([1, 2]))
    >>> ids.add(np.array([8]))
    >>> ids.end_document()
    >>> ids.arrays()
    [array([1, 2, 8], dtype=uint8)]
    """

    def __init__(self, n_tokens: int) -> None:
        self._n_tokens = n_tokens
        self._dtype = smallest_type(n_tokens)
        self._documents: list[Ids] = []  # that are in memory
        self._parts: list[Ids] = []  # of the document that has not ended
        self._lengths: list[int] = []
        self._n_bytes = self._length = 0
        self._file: MappedFile | None = None

    def add(self, ids: Ids) -> None:
        """Add ids to the document."""
        if ids.size and not 0 <= ids.min() <= ids.max() < self._n_tokens:
            raise ValueError(
                f"A text was encoded as ids from {ids.min()} to {ids.max()}, but the vocabulary "
                f"has {self._n_tokens} tokens: the tokenizer's method _encoder must keep to it."
            )
        self._parts.append(ids.astype(self._dtype, copy=False))
        self._length += len(ids)
        self._n_bytes += self._parts[-1].nbytes
        if self._n_bytes > MAPPED_BEYOND:
            self._write()

    def end_document(self) -> None:
        """Go on with the next document."""
        self._lengths.append(self._length)
        if self._file is None:
            is_one = len(self._parts) == 1
            self._documents.append(self._parts[0] if is_one else np.concatenate(self._parts))
            self._parts = []
        self._length = 0

    def _write(self) -> None:
        """Write what is in memory to a file."""
        self._file = self._file or MappedFile(self._dtype)
        self._file.write([*self._documents, *self._parts])
        self._documents, self._parts, self._n_bytes = [], [], 0

    def arrays(self) -> list[Ids]:
        """Return an array a document."""
        if self._file is None:
            return self._documents
        self._write()
        return self._file.read(self._lengths)

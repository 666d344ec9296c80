"""A temporary file that an array is mapped to, and that goes when the array does."""

from __future__ import annotations

import os
import tempfile
import weakref
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["MappedFile"]

MOST_SHARED = 10_000
"""Arrays that joblib shares with workers, where each takes a map of its own: there are 65530."""


class MappedFile:
    """A file in the folder for temporary files (``TMPDIR``) that arrays are written to.

    Parameters
    ----------
    dtype : dtype
        Of all arrays.
    """

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self._dtype = dtype
        number, name = tempfile.mkstemp(prefix="snn-estimators-", suffix=".ids")
        os.close(number)
        self._path = Path(name)
        self._remover = weakref.finalize(self, _remove, self._path, os.getpid())

    def write(self, arrays: Iterable[np.ndarray]) -> None:
        """Write arrays behind those that are there."""
        try:
            with self._path.open("ab") as file:
                for array in arrays:
                    file.write(np.ascontiguousarray(array, self._dtype).data)
        except OSError as error:
            raise OSError(
                f"Token ids cannot be written to {self._path.parent}: {error.strerror}. Set the "
                "environment variable TMPDIR to a folder with room for them."
            ) from error

    def read(self, lengths: Sequence[int]) -> list[Any]:
        """Map what was written, as arrays of so many items that cannot be written to.

        Up to `MOST_SHARED` of them are `numpy.memmap`: joblib hands workers the name of the file
        instead of its content. The file goes with the last of them.
        """
        mapped: Any = np.memmap(self._path, self._dtype, mode="r")
        self._remover.detach()
        weakref.finalize(mapped._mmap, _remove, self._path, os.getpid())
        if len(lengths) > MOST_SHARED:
            mapped = np.frombuffer(mapped._mmap, self._dtype)
        ends = np.cumsum(lengths).tolist()
        return [mapped[end - n : end] for end, n in zip(ends, lengths, strict=True)]


def _remove(path: Path, process: int) -> None:
    """Remove a file, unless this process was forked from the one that it belongs to."""
    if os.getpid() == process:
        with suppress(OSError):
            path.unlink()

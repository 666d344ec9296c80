"""Locks on files, between processes and threads; one ends with its process, killed or not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # there is none on Windows, and no lock
    fcntl = None  # type: ignore[assignment]

__all__ = ["lock", "passing_lock"]


def lock(file: IO[str], *, wait: bool = False) -> bool:
    """Lock an open file until it is closed; tell whether that succeeded, or nobody can know.

    Parameters
    ----------
    file : file
    wait : bool, default=False
        For whoever has it locked.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile("w") as one, open(one.name) as same:
    ...     lock(one), lock(same)
    (True, False)
    """
    try:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:
        pass  # a file system without locks
    return True


@contextmanager
def passing_lock(path: Path) -> Iterator[None]:
    """Wait for a lock, and leave no file of it behind.

    Raises
    ------
    OSError
        If there can be no such file.
    """
    while True:
        with path.open("a") as file:
            lock(file, wait=True)
            if not _is(path, file):
                continue  # who had it before has deleted it
            try:
                yield
            finally:
                with suppress(OSError):
                    path.unlink()
            return


def _is(path: Path, file: IO[str]) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False

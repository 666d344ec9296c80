"""Locks on files, between processes and threads; one ends with its process, killed or not."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO
from weakref import WeakSet

try:
    import fcntl
except ImportError:  # there is none on Windows, and no lock
    fcntl = None  # type: ignore[assignment]

__all__ = ["lock", "passing_lock"]


_locked: WeakSet[IO[str]] = WeakSet()


def _detach() -> None:
    """Close what a forked child shares: the lock must not outlive the process that took it."""
    for file in list(_locked):
        file.close()
    _locked.clear()


if fcntl is not None:
    os.register_at_fork(after_in_child=_detach)


def lock(file: IO[str], *, within: float = 0.0) -> bool:
    """Lock an open file until it is closed; tell whether that succeeded, or nobody can know.

    Parameters
    ----------
    file : file
    within : float, default=0.0
        Seconds to wait for whoever has it locked, such as somebody who only looks whether it is.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile("w") as one, open(one.name) as same:
    ...     lock(one), lock(same)
    (True, False)
    """
    deadline = time.monotonic() + within
    while not _try_to_lock(file, at_once=within < math.inf):
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.01)
    _locked.add(file)
    return True


def _try_to_lock(file: IO[str], *, at_once: bool) -> bool:
    try:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX | (fcntl.LOCK_NB if at_once else 0))
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
            lock(file, within=math.inf)
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

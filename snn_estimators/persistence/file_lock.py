"""Locks on files, between processes and threads, by `filelock`; each ends with its process.

A child that is forked meanwhile, such as a worker of a `DataLoader`, does not keep a lock. Where a
file system has no locks, nobody waits for anybody.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout, lock_descriptor

__all__ = ["hold_lock", "is_locked", "try_lock"]

_NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)
_POLL = 0.01  # seconds


@contextmanager
def try_lock(path: Path, *, timeout: float = 0.0) -> Iterator[bool]:
    """Lock a file for a block, if nobody else holds the lock; the file stays.

    Parameters
    ----------
    path : Path
    timeout : float, default=0.0
        Seconds to wait for the lock; negative waits for ever.

    Yields
    ------
    bool
        Whether the lock was acquired.

    Raises
    ------
    OSError
        If there can be no such file.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "lock")
    ...     with try_lock(path) as first, try_lock(path) as second:
    ...         first, second, is_locked(path)
    (True, False, True)
    """
    if not path.parent.is_dir():  # filelock would make it
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    lock = FileLock(path, thread_local=False, poll_interval=_POLL, fallback_to_soft=False)
    try:
        lock.acquire(timeout=timeout)
        acquired = True
    except Timeout:
        acquired = False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        acquired = True
    try:
        yield acquired
    finally:
        lock.release()


@contextmanager
def hold_lock(path: Path) -> Iterator[None]:
    """Wait for a lock, hold it for a block, and leave no file behind.

    Raises
    ------
    OSError
        If there can be no such file.
    """
    with try_lock(path, timeout=-1):
        try:
            yield
        finally:
            with suppress(OSError):
                path.unlink()  # whoever waits sees that, and makes a new one


def is_locked(path: Path) -> bool:
    """Return whether anybody holds the lock of a file; it need not be writable, or there."""
    try:
        with path.open() as file:
            return not lock_descriptor(file.fileno(), blocking=False)
    except OSError:
        return False

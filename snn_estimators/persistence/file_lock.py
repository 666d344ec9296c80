"""Locks on files, between processes and threads, by `filelock`; each ends with its process.

A forked child, such as a worker of a `DataLoader`, does not keep a lock. On a file system without
locks nobody waits.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout, lock_descriptor

from snn_estimators._files import is_no_file

__all__ = ["hold_lock", "is_locked", "try_lock"]

_NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)
_POLL = 0.01  # seconds


@contextmanager
def try_lock(path: Path, *, timeout: float = 0.0) -> Iterator[bool]:
    """Lock a file for a block, and yield whether that succeeded; the file stays.

    It waits `timeout` seconds for the lock, for ever if that is negative.
    """
    if not path.parent.is_dir():  # filelock would make it
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    if is_no_file(path):
        raise OSError(errno.EINVAL, "This is no file, so it cannot be a lock: delete it", str(path))
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
    """Wait for a lock, hold it for a block, and leave no file behind."""
    with try_lock(path, timeout=-1):
        try:
            yield
        finally:
            with suppress(OSError):
                path.unlink()  # filelock notices that, and makes a new one


def is_locked(path: Path) -> bool:
    """Return whether anybody holds the lock of a file; it need not be writable, or there."""
    try:
        if is_no_file(path):
            return False
        with path.open() as file:
            return not lock_descriptor(file.fileno(), blocking=False)
    except OSError:
        return False

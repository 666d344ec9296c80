"""Folders that are replaced whole: a kill, or another writer, leaves the old one or the new one."""

from __future__ import annotations

import errno
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from snn_estimators import _files
from snn_estimators.persistence.file_lock import passing_lock
from snn_estimators.persistence.names import HOME, models_home

__all__ = ["alone_at", "make_folder", "mend", "mend_all", "stamp", "subfolders", "write_folder"]


def make_folder(folder: Path) -> None:
    """Make a folder, unless it is there.

    Raises
    ------
    OSError
        If that is impossible, or the folder cannot be written; under `models_home` it says which
        variable to set.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
    except OSError as error:
        if models_home() not in (folder, *folder.parents):
            raise
        raise OSError(
            error.errno,
            f"{folder} cannot be written ({error.strerror}): set {HOME} to a folder that can",
        ) from error


def write_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a sibling folder, then put it in the place of `folder`.

    For a moment between two renames there is none. Who may not be alone there uses `alone_at`, and
    readers `mend` and `stamp`.
    """
    folder = folder.resolve()
    make_folder(folder.parent)
    mark = uuid.uuid4().hex[:8]
    draft = folder.with_name(f".{folder.name}.{mark}.new")
    former = folder.with_name(f".{folder.name}.{mark}.old")
    try:
        draft.mkdir()
        write(draft)
        for path in (*draft.iterdir(), draft):
            _files.sync(path)
        if folder.exists():
            folder.rename(former)
        draft.rename(folder)
        _files.sync(folder.parent)
    except BaseException as error:
        if former.exists() and not folder.exists():
            former.rename(folder)
        if isinstance(error, OSError) and error.errno and not error.filename:
            error.filename = str(folder)  # a full disk names no file
        raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        shutil.rmtree(former, ignore_errors=True)


@contextmanager
def alone_at(folder: Path) -> Iterator[None]:
    """Keep other writers of a folder waiting, and sweep up what a killed one left.

    Where the file system knows no locks nobody waits.
    """
    folder = folder.resolve()
    make_folder(folder.parent)
    with passing_lock(folder.with_name(f".{folder.name}.lock")):
        formers = sorted(_leftovers(folder, "old"), key=os.path.getmtime)
        if formers and not folder.exists():
            formers.pop().rename(folder)
        for rest in (*formers, *_leftovers(folder, "new")):
            shutil.rmtree(rest, ignore_errors=True)
        yield


def mend(folder: Path) -> bool:
    """Put back what a writer killed between two renames had moved away; wait for one at work.

    Returns
    -------
    bool
        Whether there is such a folder, be it that the next writer has just moved it away again.
    """
    folder = folder.resolve()
    while not folder.is_dir():
        if not _leftovers(folder, "old"):
            return folder.is_dir()  # a writer may have ended between the two looks
        try:
            with alone_at(folder):
                pass
        except OSError:  # it may be somebody else's
            return False
    return True


def mend_all(parent: Path) -> None:
    """Mend every folder in another one."""
    for path in subfolders(parent):
        if left := re.fullmatch(r"\.(.+)\.[0-9a-f]{8}\.old", path.name):
            mend(parent / left[1])


def _leftovers(folder: Path, kind: str) -> list[Path]:
    pattern = re.compile(rf"\.{re.escape(folder.name)}\.[0-9a-f]{{8}}\.{kind}")
    return [p for p in subfolders(folder.parent) if pattern.fullmatch(p.name)]


def subfolders(folder: Path) -> list[Path]:
    """Return what is in a folder; nothing if it is not there."""
    return list(folder.iterdir()) if folder.is_dir() else []


def stamp(folder: Path) -> tuple[int, ...] | None:
    """Return what changes if another folder takes the place of this one; None if there is none."""
    try:
        about = folder.stat()
    except OSError:
        return None
    return about.st_dev, about.st_ino, about.st_mtime_ns

"""Folders that are replaced whole: after a kill there is the old one or the new one."""

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
from snn_estimators.persistence.file_lock import hold_lock
from snn_estimators.persistence.names import HOME, models_home

__all__ = [
    "check_readable",
    "folder_version",
    "locked_folder",
    "make_folder",
    "recover_folder",
    "recover_folders",
    "subfolders",
    "write_folder",
]


def make_folder(folder: Path) -> None:
    """Make a folder, unless it is there; under `models_home` an OSError names the remedy."""
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

    For a moment between two renames there is none. If there may be other writers, do it within
    `locked_folder`; readers use `recover_folder` and `folder_version`.
    """
    folder = folder.resolve()
    make_folder(folder.parent)
    suffix = uuid.uuid4().hex[:8]
    temporary = folder.with_name(f".{folder.name}.{suffix}.new")
    backup = folder.with_name(f".{folder.name}.{suffix}.old")
    try:
        temporary.mkdir()
        write(temporary)
        for path in (*temporary.iterdir(), temporary):
            _files.sync(path)
        if folder.exists():
            folder.rename(backup)
        temporary.rename(folder)
        _files.sync(folder.parent)
    except BaseException as error:
        if backup.exists() and not folder.exists():
            backup.rename(folder)
        if isinstance(error, OSError) and error.errno and not error.filename:
            error.filename = str(folder)  # a full disk names no file
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(backup, ignore_errors=True)


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Make other writers of a folder wait, and clean up what a killed one left.

    Where the file system has no locks nobody waits.
    """
    folder = folder.resolve()
    make_folder(folder.parent)
    with hold_lock(folder.with_name(f".{folder.name}.lock")):
        backups = sorted(_leftovers(folder, "old"), key=os.path.getmtime)
        if backups and not os.path.lexists(folder):
            backups.pop().rename(folder)
        if not folder.is_dir():  # something else is in the place of what they are
            backups = []
        for rest in (*backups, *_leftovers(folder, "new")):
            shutil.rmtree(rest, ignore_errors=True)
        yield


def recover_folder(folder: Path) -> bool:
    """Recover a folder whose writer was killed between two renames; wait for one that runs.

    Return whether there is such a folder, even if the next writer has just moved it away again.
    """
    folder = folder.resolve()
    while not folder.is_dir():
        if os.path.lexists(folder) or not _leftovers(folder, "old"):
            return folder.is_dir()  # a writer may have ended in between
        try:
            with locked_folder(folder):
                pass
        except OSError:  # it may belong to another user
            return False
    return True


def recover_folders(parent: Path) -> None:
    """Recover every folder in another one."""
    for path in subfolders(parent):
        if left := re.fullmatch(r"\.(.+)\.[0-9a-f]{8}\.old", path.name):
            recover_folder(parent / left[1])


def _leftovers(folder: Path, kind: str) -> list[Path]:
    pattern = rf"\.{re.escape(folder.name)}\.[0-9a-f]{{8}}\.{kind}"
    found = (p for p in subfolders(folder.parent) if re.fullmatch(pattern, p.name))
    return [p for p in found if p.is_dir() and not p.is_symlink()]


def subfolders(folder: Path) -> list[Path]:
    """Return what is in a folder; nothing if it is not there."""
    return list(folder.iterdir()) if folder.is_dir() else []


def check_readable(folder: Path) -> None:
    """Raise an OSError that names a folder if it is there, but cannot be read; no other may come.

    Its writer may have moved it away for a moment: then it is not there, or it can be read.
    """
    try:
        os.listdir(folder)
        folder.stat()
    except FileNotFoundError:
        if os.path.lexists(folder):
            raise FileNotFoundError(f"{folder} is a link to nothing: delete it.") from None
    except OSError as error:
        raise type(error)(f"{folder} cannot be read: {error.strerror}.") from error


def folder_version(folder: Path) -> tuple[int, ...] | None:
    """Return what changes if another folder replaces this one; None if there is none."""
    try:
        about = folder.stat()
    except OSError:
        return None
    return about.st_dev, about.st_ino, about.st_mtime_ns

"""Files that are written whole or not at all, and JSON errors that name the damaged file."""

from __future__ import annotations

import json
import os
import stat
import tempfile
import uuid
from pathlib import Path
from typing import Any

import numpy as np

__all__ = [
    "OtherKindError",
    "check_writable",
    "is_no_file",
    "parse_json",
    "read_file",
    "read_json",
    "replace_file",
    "require",
    "sync",
    "to_plain",
    "write_file",
    "write_json",
]


_DEEPEST = 200  # levels of nesting, far below Python's limit of recursion
_SMALL = 64 * 2**20  # bytes
_HOLES = 16  # times what is on the disk, which weights of zeros may well be


class OtherKindError(ValueError):
    """A file is whole, but of another class, format or size than is asked for."""


def replace_file(path: Path, content: bytes) -> None:
    """Replace a file as a whole, or leave the old one."""
    # A unique name: processes of two containers may have the same id.
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def check_writable(folder: str | os.PathLike[str], what: str = "output folder") -> Path:
    """Make a folder and try to write there, so that an error comes before the work, not after.

    Parameters
    ----------
    folder : str or path
    what : str, default="output folder"
        What it is for, named in the error.

    Returns
    -------
    Path

    Raises
    ------
    OSError
        If the folder cannot be made or no file can be written in it.

    Examples
    --------
    >>> check_writable("README.md/results")  # doctest: +SKIP
    Traceback (most recent call last):
    ...
    OSError: cannot write into the output folder 'README.md/results' (Not a directory): ...
    """
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        reason = "it is a file" if path.is_file() else error.strerror or str(error)
        raise OSError(
            f"cannot write into the {what} {str(folder)!r} ({reason}): choose another one"
        ) from error
    return path


def write_file(path: Path, content: bytes) -> None:
    """Replace a file as a whole, and flush it to the disk."""
    replace_file(path, content)
    for changed in (path, path.parent):
        sync(changed)


def sync(path: Path) -> None:
    """Flush a file or a folder to the disk, so that not even a power cut leaves half of it."""
    if os.name != "posix":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: Path, content: Any, *, indent: int | None = 1) -> None:
    """Write a value as JSON, with the scalars and arrays of numpy and PyTorch."""
    path.write_text(json.dumps(content, indent=indent, default=to_plain) + "\n", encoding="utf-8")


def to_plain(value: Any) -> Any:
    """Convert the scalars and arrays of numpy and PyTorch for JSON."""
    is_tensor = hasattr(value, "detach")  # without PyTorch, which is slow to import
    if isinstance(value, np.generic | np.ndarray) or is_tensor:
        return value.tolist()
    raise TypeError(f"JSON cannot hold a {type(value).__name__}")


def read_json(path: Path) -> Any:
    """Read a JSON file, with an error that names it if it is missing or damaged."""
    content = read_file(path)
    try:
        return parse_json(content)
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}.") from error


def parse_json(text: str | bytes) -> Any:
    """Return a JSON value; raise ValueError for what is none, or nested too deeply to be walked."""
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(_DEEPEST):
        parts = (part.values() if isinstance(part, dict) else part for part in level)
        level = [item for part in parts for item in part if isinstance(item, dict | list)]
    if not level:
        return value
    raise ValueError(f"it is nested more than {_DEEPEST} deep")


def read_file(path: Path) -> bytes:
    """Return what is in a file, with an error that names it if that cannot be."""
    require(path)
    try:
        return path.read_bytes()
    except MemoryError as error:
        raise ValueError(f"{path} does not fit into the memory.") from error


def require(path: Path) -> None:
    """Raise FileNotFoundError unless there is such a file, ValueError if it is all but empty.

    A sparse file, most of which is holes, may claim to have any size.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: the model was not saved completely.")
    about = path.stat()
    on_disk = getattr(about, "st_blocks", about.st_size) * 512
    if about.st_size <= max(_SMALL, _HOLES * on_disk) or not hasattr(os, "SEEK_HOLE"):
        return
    with path.open("rb") as file:  # file systems that compress, or count no blocks, have no holes
        if file.seek(0, os.SEEK_HOLE) < about.st_size:
            raise ValueError(
                f"{path} is damaged: of its {about.st_size:,} bytes all but {on_disk:,} are holes."
            )


def is_no_file(path: Path) -> bool:
    """Return whether there is something else than a file, such as a pipe, which may block."""
    try:
        return not stat.S_ISREG(path.lstat().st_mode)
    except FileNotFoundError:
        return False

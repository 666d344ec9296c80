"""Files that are written whole or not at all, on the ground floor so that every room may write."""

from __future__ import annotations

import os
import tempfile
import uuid
from pathlib import Path

__all__ = ["check_writable", "replace_file"]


def replace_file(path: Path, content: bytes) -> None:
    """Put a whole file in place of the old one, or leave the old one.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     replace_file(Path(folder, "a.txt"), b"whole")
    ...     [(file.name, file.read_text()) for file in Path(folder).iterdir()]
    [('a.txt', 'whole')]
    """
    # Nobody else's name: processes of two containers may have one number.
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        draft.write_bytes(content)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def check_writable(folder: str | os.PathLike[str], what: str = "output folder") -> Path:
    """Make a folder and try it, so that a refusal comes before the work, not after.

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

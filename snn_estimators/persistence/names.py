"""What the name of a model means: a folder under $SNN_ESTIMATORS_HOME, or a path."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

__all__ = ["HOME", "is_name", "load_argument", "models_home", "resolve_name"]

HOME = "SNN_ESTIMATORS_HOME"


def models_home() -> Path:
    """Return the folder where names resolve, ``models`` in $SNN_ESTIMATORS_HOME.

    Without that variable it is ``~/.snn_estimators/models``. It need not be there, but a ValueError
    is raised if a file is in its way.
    """
    home = os.environ.get(HOME) or "~/.snn_estimators"
    folder = Path(home).expanduser() / "models"
    there = next(filter(os.path.exists, (folder, *folder.parents)), folder.parents[-1])
    if not os.path.isdir(there):
        raise ValueError(f"{HOME}={home!r} cannot hold models, as {there} is no folder: set it.")
    return folder


def resolve_name(name_or_path: str | os.PathLike[str]) -> Path:
    """Return the folder that a name or a path means; raise ValueError for a string that is neither.

    A `pathlib.Path`, and a string that starts like a path (``/``, ``./``, ``../``, ``~``), is a
    path; any other string is a name under `models_home`.
    """
    if not isinstance(name_or_path, str):
        return Path(name_or_path).expanduser()
    if Path(name_or_path).is_absolute() or name_or_path.startswith(("./", "../", "~")):
        return Path(name_or_path).expanduser()
    if not is_name(name_or_path):
        raise ValueError(
            f"{name_or_path!r} is no model name (letters, digits, '.', '_', '-'): for a path write "
            f"'./{name_or_path.strip('/') or 'folder'}' or pass a pathlib.Path."
        )
    return models_home() / name_or_path


def is_name(text: str) -> bool:
    """Return whether text is a name: up to 100 letters, digits, '.', '_' and '-'.

    The first of them is no '.' and no '-'.
    """
    return re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}", text) is not None


def load_argument(name_or_path: str | os.PathLike[str]) -> str:
    """Return the Python expression that loads what was saved under a name or a path.

    It holds on another machine too: a name where there is one, otherwise a relative path.

    Examples
    --------
    >>> load_argument("tolstoy")
    '"tolstoy"'
    >>> load_argument("./models/tolstoy")
    'Path("models/tolstoy")'
    >>> load_argument("/somewhere/else/tolstoy")
    'Path("tolstoy")'
    """
    folder = resolve_name(name_or_path)
    try:
        has_name = resolve_name(folder.name).resolve() == folder.resolve()
    except ValueError:
        has_name = False
    if has_name:
        return _quoted(folder.name)
    given = Path(name_or_path)
    is_relative = not given.is_absolute() and given == folder
    return f"Path({_quoted(given.as_posix() if is_relative else folder.resolve().name)})"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)

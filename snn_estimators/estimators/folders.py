"""Folders of plain files: what their names mean, and how they are written whole or not at all."""

from __future__ import annotations

import json
import os
import re
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

__all__ = [
    "models_home",
    "not_there",
    "read_json",
    "refuse_other_content",
    "require",
    "resolve_name",
    "to_plain",
    "write_folder",
    "write_json",
]


def models_home() -> Path:
    """Return the folder where names resolve: $SNN_ESTIMATORS_HOME, or ~/.snn_estimators."""
    return Path(os.environ.get("SNN_ESTIMATORS_HOME") or "~/.snn_estimators").expanduser()


def resolve_name(name_or_path: str | os.PathLike[str]) -> Path:
    """Return the folder that a name or a path means.

    A `pathlib.Path`, and a string that starts like a path (``/``, ``./``, ``../``, ``~``), is a
    path; any other string is a name under `models_home`.

    Raises
    ------
    ValueError
        If a string is neither.

    Examples
    --------
    >>> resolve_name("tolstoy") == models_home() / "tolstoy"
    True
    >>> resolve_name("./tolstoy")
    PosixPath('tolstoy')
    """
    if not isinstance(name_or_path, str):
        return Path(name_or_path).expanduser()
    if Path(name_or_path).is_absolute() or name_or_path.startswith(("./", "../", "~")):
        return Path(name_or_path).expanduser()
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name_or_path):
        raise ValueError(
            f"{name_or_path!r} is no model name (letters, digits, '.', '_', '-'): for a path write "
            f"'./{name_or_path.strip('/') or 'folder'}' or pass a pathlib.Path."
        )
    return models_home() / name_or_path


def write_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a sibling folder, then put it in the place of `folder`."""
    folder = folder.resolve()
    folder.parent.mkdir(parents=True, exist_ok=True)
    mark = uuid.uuid4().hex[:8]
    draft = folder.with_name(f".{folder.name}.{mark}.new")
    former = folder.with_name(f".{folder.name}.{mark}.old")
    try:
        draft.mkdir()
        write(draft)
        if folder.exists():
            folder.rename(former)
        draft.rename(folder)
    except BaseException:
        if former.exists() and not folder.exists():
            former.rename(folder)
        raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        shutil.rmtree(former, ignore_errors=True)


def refuse_other_content(folder: Path) -> None:
    """Never replace a folder that is not a model's."""
    is_model = (folder / "config.json").is_file()
    if folder.exists() and not (is_model or (folder.is_dir() and not any(folder.iterdir()))):
        raise ValueError(f"{folder} exists and holds no model: choose another name or path.")


def write_json(path: Path, content: Any) -> None:
    """Write what JSON knows, and numpy's and PyTorch's counterparts of it."""
    path.write_text(json.dumps(content, indent=1, default=to_plain) + "\n", encoding="utf-8")


def to_plain(value: Any) -> Any:
    """Turn numpy's and PyTorch's scalars and arrays into what JSON knows."""
    if isinstance(value, np.generic | np.ndarray | Tensor):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is nothing that JSON can hold")


def read_json(path: Path) -> Any:
    """Read a JSON file, with an error that names it if it is missing or damaged."""
    require(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}.") from error


def require(path: Path) -> None:
    """Raise FileNotFoundError unless there is such a file."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: the model was not saved completely.")


def not_there(name_or_path: str | os.PathLike[str], folder: Path) -> str:
    """Say that there is no such model, and which there are."""
    if folder.parent != models_home():
        return f"There is no model in {folder}."
    home = models_home()
    names = sorted(p.parent.name for p in home.glob("*/config.json")) if home.is_dir() else []
    return f"There is no model {os.fspath(name_or_path)!r} in {home}; there are: {names or 'none'}."

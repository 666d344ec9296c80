"""Folders of plain files: what their names mean, and how they are written whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from snn_estimators._files import replace_file
from snn_estimators.estimators.locks import passing_lock

__all__ = [
    "CARD",
    "CONFIG",
    "HISTORY",
    "TOKENIZER",
    "WEIGHTS",
    "OtherKindError",
    "alone_at",
    "is_name",
    "load_argument",
    "make_folder",
    "mend",
    "mend_all",
    "model_folders",
    "models_home",
    "not_there",
    "read_json",
    "refuse_other_content",
    "require",
    "resolve_name",
    "stamp",
    "to_plain",
    "write_file",
    "write_folder",
    "write_json",
]


class OtherKindError(ValueError):
    """What is in a file is whole, but of another class, format or size than is asked for."""


CONFIG, WEIGHTS, TOKENIZER = "config.json", "model.safetensors", "tokenizer.json"
HISTORY, CARD = "history.json", "README.md"
_FILES = frozenset({CONFIG, WEIGHTS, TOKENIZER, HISTORY, CARD})
_HOME = "SNN_ESTIMATORS_HOME"


def models_home() -> Path:
    """Return the folder where names resolve, ``models`` in $SNN_ESTIMATORS_HOME.

    Without that variable it is ``~/.snn_estimators/models``. It need not be there.

    Raises
    ------
    ValueError
        If there can be no such folder, because there is a file in its way.
    """
    home = os.environ.get(_HOME) or "~/.snn_estimators"
    folder = Path(home).expanduser() / "models"
    there = next(filter(os.path.exists, (folder, *folder.parents)), folder.parents[-1])
    if not os.path.isdir(there):
        raise ValueError(f"{_HOME}={home!r} cannot hold models, as {there} is no folder: set it.")
    return folder


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
            f"{folder} cannot be written ({error.strerror}): set {_HOME} to a folder that can",
        ) from error


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
    if not is_name(name_or_path):
        raise ValueError(
            f"{name_or_path!r} is no model name (letters, digits, '.', '_', '-'): for a path write "
            f"'./{name_or_path.strip('/') or 'folder'}' or pass a pathlib.Path."
        )
    return models_home() / name_or_path


def is_name(text: str) -> bool:
    """Tell a name: up to 100 letters, digits, '.', '_' and '-', the first of them no '.' or '-'.

    Examples
    --------
    >>> is_name("GPT-1"), is_name("../GPT-1"), is_name("")
    (True, False, False)
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
            _sync(path)
        if folder.exists():
            folder.rename(former)
        draft.rename(folder)
        _sync(folder.parent)
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
    for path in _inside(parent):
        if left := re.fullmatch(r"\.(.+)\.[0-9a-f]{8}\.old", path.name):
            mend(parent / left[1])


def _leftovers(folder: Path, kind: str) -> list[Path]:
    pattern = re.compile(rf"\.{re.escape(folder.name)}\.[0-9a-f]{{8}}\.{kind}")
    return [p for p in _inside(folder.parent) if pattern.fullmatch(p.name)]


def _inside(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def stamp(folder: Path) -> tuple[int, ...] | None:
    """Return what changes if another folder takes the place of this one; None if there is none."""
    try:
        about = folder.stat()
    except OSError:
        return None
    return about.st_dev, about.st_ino, about.st_mtime_ns


def write_file(path: Path, content: bytes) -> None:
    """Put a whole file in place of the old one, and have it on the disk."""
    replace_file(path, content)
    for changed in (path, path.parent):
        _sync(changed)


def _sync(path: Path) -> None:
    """Have a file or a folder on the disk, so that not even a power cut leaves half of it."""
    if os.name != "posix":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def refuse_other_content(folder: Path) -> None:
    """Never replace a folder that is not a model's, or that holds anything else beside a model.

    Raises
    ------
    ValueError
        Unless there is nothing, an empty folder, or a folder with a model's files alone.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not _holds_model(folder):
        raise ValueError(f"{folder} exists and holds no model: choose another name or path.")
    others = sorted(p.name for p in folder.iterdir() if p.name not in _FILES or not p.is_file())
    if others:
        raise ValueError(
            f"{folder} holds a model, but also {others[0]!r}, which saving would delete: move it "
            "away, or choose another name or path."
        )


def _holds_model(folder: Path) -> bool:
    try:
        config = read_json(folder / CONFIG)
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and {"format", "estimator"} <= config.keys()


def write_json(path: Path, content: Any, *, indent: int | None = 1) -> None:
    """Write what JSON knows, and numpy's and PyTorch's counterparts of it."""
    path.write_text(json.dumps(content, indent=indent, default=to_plain) + "\n", encoding="utf-8")


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
    except (RecursionError, ValueError) as error:
        raise ValueError(f"{path} is damaged: {error}.") from error


def require(path: Path) -> None:
    """Raise FileNotFoundError unless there is such a file."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: the model was not saved completely.")


def model_folders() -> list[Path]:
    """Return the folders under `models_home`, of saved models and of named fits."""
    home = models_home()
    mend_all(home)
    return sorted(f for f in _inside(home) if f.is_dir() and not f.name.startswith("."))


def not_there(name_or_path: str | os.PathLike[str], folder: Path) -> str:
    """Say that there is no such model, and which there are."""
    if folder.parent != models_home():
        return f"There is no model in {folder}."
    home = models_home()
    names = [folder.name for folder in model_folders()]
    return f"There is no model {os.fspath(name_or_path)!r} in {home}; there are: {names or 'none'}."

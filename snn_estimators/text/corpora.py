"""Text to work with: embedded, synthetic, the user's own files, or the Hugging Face hub's."""

from __future__ import annotations

import inspect
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from sklearn.utils import check_random_state

from snn_estimators._validation import suggest
from snn_estimators.text._documents import check_documents
from snn_estimators.text._streams import FileStream, RowStream

__all__ = ["available_corpora", "load_corpus"]

_HUB = "hub:"


def load_corpus(
    name: str | Path = "python-docs", *, stream: bool = False, **options: Any
) -> Sequence[str]:
    """Load a corpus as a list of documents, or as a stream of them.

    Parameters
    ----------
    name : str or path, default="python-docs"
        * "python-docs": the language reference that comes with Python (about 450 kB of English
          prose and code in some 80 documents; its wording differs between Python versions).
        * "alphabet": the 26 windows of the endlessly repeated alphabet; option `length` (default
          128), in characters.
        * "random": one document of characters drawn uniformly from the 26 letters, apostrophe,
          space and dot, on which no model can beat a perplexity of 29; options `n_characters`
          (default 100000) and `random_state` (default 0).
        * a file: one document; option `encoding` (default "utf-8-sig": UTF-8, less a byte-order
          mark).
        * a folder: one document a file, sorted by path; options `pattern` (default "*.txt") and
          `encoding`.
        * "hub:NAME": a data set of the Hugging Face hub, or a local folder that `datasets` can
          read, one document a row; options `split` (default "train"), `column` (default "text",
          or else the only column of strings), and any other of ``datasets.load_dataset``. Needs
          the extra ``[hub]``.
    stream : bool, default=False
        Whether to read documents of files, folders and data sets when they are asked for, and to
        keep none: a corpus may then be larger than the memory. What is fitted on them reads them
        several times. Files come in parts of about a million characters, each a document, that end
        with a line.
    **options
        See above.

    Returns
    -------
    list of str, or with `stream` a sequence of str
        The documents.

    Raises
    ------
    ValueError
        If there is no such corpus, it cannot be read, or it holds no text.
    TypeError
        If the corpus has no such option.
    ImportError
        If "hub:NAME" is asked for and `datasets` is not installed.

    Examples
    --------
    >>> from snn_estimators.text import load_corpus
    >>> load_corpus("alphabet", length=30)[1]
    'bcdefghijklmnopqrstuvwxyzabcde'
    """
    if not isinstance(stream, bool):
        raise TypeError(f"stream must be True or False, got {stream!r}.")
    loader, arguments = _find_loader(name)
    known = _options(loader, len(arguments))
    unknown = sorted(set(options) - set(known))
    if unknown and loader is not _hub:  # datasets raises its own errors about options
        raise TypeError(
            f"The corpus {str(name)!r} has no option {', '.join(unknown)}: "
            f"{suggest(unknown[0], known)}"
        )
    if stream:
        loader = _STREAMS.get(loader, loader)
    return check_documents(loader(*arguments, **options), name=f"corpus {str(name)!r}")


def available_corpora() -> pd.DataFrame:
    """List the corpora that `load_corpus` knows.

    Returns
    -------
    DataFrame
        With the columns name, description, options; a row a corpus.

    Examples
    --------
    >>> from snn_estimators.text import available_corpora
    >>> available_corpora()["name"].tolist()
    ['python-docs', 'alphabet', 'random', 'FILE', 'FOLDER', 'hub:NAME']
    """
    rows = [
        (name, corpus.description, ", ".join(_options(corpus.loader, corpus.n_arguments)))
        for name, corpus in _CORPORA.items()
    ]
    return pd.DataFrame(rows, columns=["name", "description", "options"])


def _python_docs() -> list[str]:
    # Part of the standard library, but some distributions leave it out.
    topics = import_module("pydoc_data.topics").topics
    return [topics[topic] for topic in sorted(topics)]


def _alphabet(length: int = 128) -> list[str]:
    if length < 1:
        raise ValueError(f"length must be at least 1, got {length}.")
    letters = string.ascii_lowercase
    endless = letters * (length // len(letters) + 2)
    return [endless[start : start + length] for start in range(len(letters))]


def _random(n_characters: int = 100_000, random_state: Any = 0) -> list[str]:
    if n_characters < 1:
        raise ValueError(f"n_characters must be at least 1, got {n_characters}.")
    alphabet = string.ascii_lowercase + "' ."
    drawn = check_random_state(random_state).randint(len(alphabet), size=n_characters)
    return ["".join(alphabet[i] for i in drawn)]


def _file(path: Path, encoding: str = "utf-8-sig") -> list[str]:
    with _reading(path, encoding):
        return [path.read_text(encoding=encoding)]


def _stream_file(path: Path, encoding: str = "utf-8-sig") -> FileStream:
    with _reading(path, encoding):
        return FileStream.of(path, encoding)


@contextmanager
def _reading(path: Path, encoding: str) -> Iterator[None]:
    """Say what is wrong with a file."""
    try:
        yield
    except UnicodeError as error:
        raise ValueError(
            f"{path} is not text in the encoding {encoding}: {error}. Pass another encoding=, "
            "such as 'latin-1'."
        ) from error
    except LookupError as error:
        raise ValueError(f"encoding={encoding!r} is not known to Python.") from error
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}.") from error


def _folder(path: Path, pattern: str = "*.txt", encoding: str = "utf-8-sig") -> list[str]:
    files = _matching(path, pattern)
    return [document for file in files for document in _file(file, encoding)]


def _stream_folder(
    path: Path, pattern: str = "*.txt", encoding: str = "utf-8-sig"
) -> Sequence[str]:
    streams = [_stream_file(file, encoding) for file in _matching(path, pattern)]
    return FileStream.joined(streams)


def _matching(path: Path, pattern: str) -> list[Path]:
    files = sorted(file for file in path.glob(pattern) if file.is_file())
    if not files:
        raise ValueError(f"The folder {path} has no file that matches pattern={pattern!r}.")
    return files


def _hub(name: str, split: str = "train", column: str | None = None, **options: Any) -> list[str]:
    table, column = _load_table(name, split, column, options)
    return list(table[column])


def _stream_hub(
    name: str, split: str = "train", column: str | None = None, **options: Any
) -> Sequence[str]:
    return RowStream(*_load_table(name, split, column, options))


def _load_table(
    name: str, split: str, column: str | None, options: Mapping[str, Any]
) -> tuple[Any, str]:
    """Return a data set and the name of its column of text."""
    try:
        datasets = import_module("datasets")
    except ImportError as error:
        raise ImportError(
            f"load_corpus('{_HUB}{name}') needs the package datasets: "
            "pip install 'snn-estimators[hub]'."
        ) from error
    try:
        if any((Path(name) / f).is_file() for f in ("state.json", "dataset_dict.json")):
            table = datasets.load_from_disk(name, **options)  # a folder written by save_to_disk
            if isinstance(table, datasets.DatasetDict):
                table = table[split]
        else:
            table = datasets.load_dataset(name, split=split, **options)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(
            f"The data set {name!r}, split={split!r}, cannot be loaded: {error}"
        ) from error
    return table, _text_column(table, column)


def _text_column(table: Any, column: str | None) -> str:
    textual = [
        name
        for name, feature in table.features.items()
        if getattr(feature, "dtype", None) in {"string", "large_string"}
    ]
    if column is None:
        column = "text" if "text" in textual or len(textual) != 1 else textual[0]
    if column not in textual:
        raise ValueError(
            f"The data set has no column of strings called {column!r}: set column= to one of "
            f"{textual}."
        )
    return column


class _Corpus(NamedTuple):
    loader: Callable[..., Sequence[str]]
    n_arguments: int  # leading arguments of the loader that are no options
    description: str


_CORPORA = {
    "python-docs": _Corpus(_python_docs, 0, "the language reference that comes with Python"),
    "alphabet": _Corpus(_alphabet, 0, "windows of the endlessly repeated alphabet"),
    "random": _Corpus(_random, 0, "characters drawn uniformly: nothing to learn"),
    "FILE": _Corpus(_file, 1, "a text file, as one document"),
    "FOLDER": _Corpus(_folder, 1, "the text files of a folder, one document each"),
    "hub:NAME": _Corpus(_hub, 1, "a data set of the Hugging Face hub, one document a row"),
}


_STREAMS: dict[Callable[..., Sequence[str]], Callable[..., Sequence[str]]]
_STREAMS = {_file: _stream_file, _folder: _stream_folder, _hub: _stream_hub}


def _find_loader(name: str | Path) -> tuple[Callable[..., Sequence[str]], tuple[Any, ...]]:
    """Return the loader and its leading arguments."""
    if not isinstance(name, str | Path):
        raise TypeError(f"name must be a string or a path, got {type(name).__name__}.")
    if isinstance(name, str):
        if name in _CORPORA and _CORPORA[name].n_arguments == 0:
            return _CORPORA[name].loader, ()
        if name.startswith(_HUB):
            return _hub, (name.removeprefix(_HUB),)
    path = Path(name).expanduser()
    if path.is_dir():
        return _folder, (path,)
    if path.exists():
        return _file, (path,)
    raise ValueError(f"There is no corpus, file or folder {str(name)!r}: {suggest(name, _CORPORA)}")


def _options(loader: Callable[..., Any], n_arguments: int) -> list[str]:
    parameters = list(inspect.signature(loader).parameters.values())[n_arguments:]
    return [p.name for p in parameters if p.kind is not p.VAR_KEYWORD]

"""Tokenizers that others have trained."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from snn_estimators.text._huggingface import BackendTokenizer, parse_backend

__all__ = ["PretrainedTokenizer"]


class PretrainedTokenizer(BackendTokenizer):
    """A tokenizer of the Hugging Face hub, or from a folder or a file.

    `fit` learns nothing from the documents; it loads the tokenizer, and `transform` does so
    without it. `transform` encodes without adding special tokens or cutting anything off. A saved
    tokenizer holds all it needs: neither it nor a model that was saved with it needs the name, the
    folder or the network again, unless it is fitted again, but only the package ``tokenizers``.

    Parameters
    ----------
    name_or_path : str or path, default="gpt2"
        A name on the hub, a folder that holds a tokenizer (written by transformers'
        ``save_pretrained``), or a ``tokenizer.json`` of the package ``tokenizers``. Folders and
        files are read without network. Names and folders need transformers: ``pip install
        'snn-estimators[hub]'``. Code that comes with a tokenizer is never run.
    revision : str or None, default=None
        The version on the hub: a branch, a tag or a commit. None is the newest.
    local_files_only : bool, default=False
        Whether to look a name up only among what was downloaded before.

    Attributes
    ----------
    vocabulary_ : list of str
        The tokens as the tokenizer writes them; the index is the token's id. Ids without a token,
        which some vocabularies skip, show as ``<none:ID>``.
    n_tokens_ : int
        Size of the vocabulary: the largest id and one.
    unknown_id_ : int or None
        Id of what the tokenizer does not know. None for byte-level ones, which know everything,
        and for the rare others without such a token, which leave out what they do not know.
    padding_id_ : int or None
        Id of the padding token, if the tokenizer names one.
    backend_ : tokenizers.Tokenizer
        The library's own object.

    Notes
    -----
    Byte-level tokenizers (GPT-2, GPT-NeoX, Llama 3, ...) give any text back exactly, unless they
    normalise it. The others give back what they keep of it; a piece of their stream is what the
    token adds to the text of the one before.

    Long documents are encoded in blocks, with the same result, where the tokenizer splits text at
    the spaces between words before anything else (as those of GPT-2, BERT and T5 do). Others get
    each document as a whole, which takes many times its size in memory: cut it, or stream it
    (`load_corpus`).

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from snn_estimators.text import BPETokenizer, PretrainedTokenizer
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "tokenizer.json")
    ...     BPETokenizer(vocab_size=258).fit(["to be or not to be"]).backend_.save(str(path))
    ...     tokenizer = PretrainedTokenizer(path).fit(["any text"])
    >>> tokenizer.vocabulary_[256:]
    ['be', 'to']
    >>> tokenizer.inverse_transform(tokenizer.transform(["not to be"]))
    ['not to be']
    """

    type_name: ClassVar[str] = "pretrained"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "name_or_path": [str, os.PathLike],
        "revision": [str, None],
        "local_files_only": ["boolean"],
    }

    def __init__(
        self,
        name_or_path: str | os.PathLike[str] = "gpt2",
        *,
        revision: str | None = None,
        local_files_only: bool = False,
    ) -> None:
        self.name_or_path = name_or_path
        self.revision = revision
        self.local_files_only = local_files_only

    def _is_given(self) -> bool:
        return True

    def _make_backend(self, documents: Sequence[str]) -> tuple[Any, int | None]:
        if not os.fspath(self.name_or_path):
            raise ValueError(
                "name_or_path='': there is no such tokenizer; give a name on the hub, a folder or "
                "a file."
            )
        path = Path(self.name_or_path).expanduser()
        if path.is_file():
            return self._read_file(path)
        if path.is_dir():
            return self._load_by_transformers(path, local_files_only=True)
        text = os.fspath(self.name_or_path)
        if isinstance(self.name_or_path, os.PathLike) or text.startswith((".", "/", "~")):
            raise ValueError(f"name_or_path={text!r}: there is no such folder or file.")
        return self._load_by_transformers(text, local_files_only=bool(self.local_files_only))

    def _read_file(self, path: Path) -> tuple[Any, int | None]:
        try:
            backend = parse_backend(path.read_text(encoding="utf-8"), "PretrainedTokenizer")
        except (ValueError, OSError) as error:
            raise ValueError(
                f"name_or_path={os.fspath(path)!r} does not hold a tokenizer: {error}"
            ) from error
        return backend, (backend.padding or {}).get("pad_id")

    def _load_by_transformers(
        self, name: str | Path, *, local_files_only: bool
    ) -> tuple[Any, int | None]:
        given = f"name_or_path={os.fspath(name)!r}"
        try:
            transformers = import_module("transformers")
        except ImportError as error:
            raise ImportError(
                f"{given} needs the package transformers: pip install 'snn-estimators[hub]'."
            ) from error
        try:
            loaded = transformers.AutoTokenizer.from_pretrained(
                name,
                revision=self.revision or "main",
                local_files_only=local_files_only,
                trust_remote_code=False,
            )
        except Exception as error:  # whatever the libraries below raise
            reason = str(error).partition("\n")[0]
            raise ValueError(
                f"{given} cannot be loaded: pass the name of a tokenizer on the hub, with network "
                "or downloaded before, a folder that transformers' save_pretrained wrote, or a "
                f"tokenizer.json. transformers says: {reason}"
            ) from error
        if not loaded.is_fast:
            raise ValueError(
                f"{given} is a {type(loaded).__name__}, which runs in Python alone and cannot be "
                "saved with a model: pass one that the package tokenizers runs (is_fast)."
            )
        return loaded.backend_tokenizer, loaded.pad_token_id

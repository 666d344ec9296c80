"""What every tokenizer shares: fitting, encoding, decoding, files.

A tokenizer is a scikit-learn transformer from documents to arrays of token ids. To add one, derive
from `BaseTokenizer`, give it a `type_name`, and write `_learn` and `_encoder` (and `_pieces`, if
decoding is more than joining the tokens' texts).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from sklearn.utils.validation import check_is_fitted

from snn_estimators._files import parse_json, replace_file
from snn_estimators._validation import register, short, suggest
from snn_estimators.text._checks import check_ids, check_vocabulary, to_plain
from snn_estimators.text._documents import TextTransformer, check_documents
from snn_estimators.text._ids import Ids, IdsOfDocuments, encode_blocks

__all__ = ["BaseTokenizer", "make_tokenizer", "tokenizer_from_dict"]

_TOKENIZERS: dict[str, type[BaseTokenizer]] = {}


def _is_same(one: type, other: type | None) -> bool:
    """Return whether two classes are one, or one of them is the other defined anew."""
    return other is not None and (one.__module__, one.__qualname__) == (
        other.__module__,
        other.__qualname__,
    )


class BaseTokenizer(TextTransformer):
    """Base of all tokenizers: documents in, one array of token ids a document out.

    Attributes
    ----------
    vocabulary_ : list of str
        The text of each token; the index is the token's id.
    n_tokens_ : int
        Size of the vocabulary, special tokens included.
    unknown_id_ : int or None
        Id of the token for what the vocabulary does not know; None if that is an error.
    padding_id_ : int or None
        Id of the vocabulary's padding token. Batches of this package are padded with -1, which
        is no token, so this one matters only to models that were trained with it.
    """

    type_name: ClassVar[str]
    """The name in `to_dict` and in ``tokenizer="..."``."""

    unknown_limits: ClassVar[tuple[float, float]] = (0.01, 0.5)
    """Shares of unknown tokens in a text above which a model's score of it is doubtful (a warning),
    and above which it would be meaningless (an error)."""

    _separator: ClassVar[str] = ""
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {}

    vocabulary_: list[str]
    n_tokens_: int
    unknown_id_: int | None
    padding_id_: int | None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "type_name" in vars(cls):
            known = _TOKENIZERS.get(cls.type_name)
            # A class that is defined anew, as in a notebook, takes its own place.
            register(_TOKENIZERS, "tokenizer", cls.type_name, cls, replace=_is_same(cls, known))

    # What a subclass defines

    def _learn(self, documents: Sequence[str]) -> tuple[list[str], int | None, int | None]:
        """Return the vocabulary, the unknown id and the padding id."""
        raise NotImplementedError

    def _encoder(self) -> Callable[[str, int], Ids]:
        """Return the function from a document and its index (for errors) to its ids."""
        raise NotImplementedError

    def _blocks(self, document: str) -> Iterator[str]:
        """Yield a document in parts whose ids together are its own.

        One that is not cut may cost many times its size: the encoder gets it as a whole.
        """
        yield document

    def _texts(self, document: str) -> Sequence[str]:
        """Return the text behind each token of a block; only where tokens may be unknown."""
        raise NotImplementedError(
            f"{type(self).__name__} has unknown tokens, but no method _texts that splits a "
            "document into the texts of its tokens: write it, so that they can be charged for."
        )

    # scikit-learn's contract

    def fit(self, X: Iterable[str], y: Any = None) -> Self:
        """Learn the vocabulary from documents.

        Parameters
        ----------
        X : iterable of str
            The documents.
        y : None
            Ignored.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            If X is not a collection of strings that hold text, or a parameter has no meaning.
        """
        self._validate_params()
        self._set_vocabulary(*self._learn(check_documents(X)))
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "vocabulary_") or self._is_given()

    def _is_given(self) -> bool:
        """Return whether the parameters give the vocabulary: then `fit` learns nothing."""
        return False

    def check_is_fitted(self) -> None:
        """Raise NotFittedError unless `fit` was called; take up a vocabulary that is given.

        As with scikit-learn's ``CountVectorizer(vocabulary=...)``, that one needs no `fit`.
        """
        check_is_fitted(self)
        if not hasattr(self, "vocabulary_"):
            self._validate_params()
            self._set_vocabulary(*self._learn([]))

    def transform(self, X: Iterable[str]) -> list[Ids]:
        """Encode documents.

        Parameters
        ----------
        X : iterable of str
            The documents. Empty ones are fine and give empty arrays.

        Returns
        -------
        list of ndarray of int64, each of shape (n_tokens_of_the_document,)

        Raises
        ------
        NotFittedError
            If the tokenizer was not fitted.
        ValueError
            If a document holds what the vocabulary does not know, and there is no unknown token.
        """
        return [ids.astype(np.int64) for ids in self.encode(X)]

    def encode(self, X: Iterable[str]) -> list[Ids]:
        """Encode documents as `transform` does, but in few bytes: for large texts.

        The ids are of the first type among uint8, uint16 and int32 that holds the vocabulary.
        Cast them before you calculate: ``ids + 1`` may be too large for the type, and PyTorch takes
        bytes for a mask. Models with ``tokenizer=None`` take the ids as they are.

        Beyond 64 MiB they are mapped to a file in the folder for temporary files (``TMPDIR``),
        read-only; it goes with the last array. Workers of joblib share up to 10000 such arrays.

        Examples
        --------
        >>> from snn_estimators.text import CharTokenizer
        >>> CharTokenizer().fit(["a cat"]).encode(["cat"])
        [array([2, 1, 3], dtype=uint8)]
        """
        self.check_is_fitted()
        documents = check_documents(X, allow_empty=True)
        encoder, found = self._encoder(), IdsOfDocuments(self.n_tokens_)
        for index, document in enumerate(documents):
            for ids in encode_blocks(encoder, document, index, self._blocks):
                found.add(ids)
            found.end_document()
        return found.arrays()

    def inverse_transform(self, X: Iterable[npt.ArrayLike]) -> list[str]:
        """Decode token ids.

        Parameters
        ----------
        X : iterable of integer array-likes, each of shape (n_tokens_of_the_document,)
            Token ids, one array a document. Padding (-1) is left out.

        Returns
        -------
        list of str

        Raises
        ------
        NotFittedError
            If the tokenizer was not fitted.
        TypeError, ValueError
            If an item is not a one-dimensional array of ids of this vocabulary.
        """
        self.check_is_fitted()
        checked = (check_ids(ids, index, self.n_tokens_) for index, ids in enumerate(X))
        return ["".join(self._pieces(ids.tolist())) for ids in checked]

    def decode_stream(self, ids: Iterable[int]) -> Iterator[str]:
        """Decode ids as they come, one piece of text a token.

        The piece of a token that does not complete a character is empty; its bytes come with the
        token that does. If characters are still incomplete at the end, a last piece shows it.

        Parameters
        ----------
        ids : iterable of int
            Token ids of one document; may be endless.

        Yields
        ------
        str
            Pieces whose concatenation is ``inverse_transform([ids])[0]``.

        Raises
        ------
        NotFittedError
            If the tokenizer was not fitted.
        TypeError, ValueError
            On reaching something that is not an id of this vocabulary.
        """
        self.check_is_fitted()
        return self._pieces(
            token
            for index, item in enumerate(ids)
            for token in check_ids([item], index, self.n_tokens_).tolist()
        )

    def _pieces(self, ids: Iterable[int]) -> Iterator[str]:
        """Decode ids that are known to be of the vocabulary."""
        separator = ""
        for token in ids:
            yield separator + self.vocabulary_[token]
            separator = self._separator

    # Files

    def to_dict(self) -> dict[str, Any]:
        """Return the fitted tokenizer as a dictionary that JSON can hold.

        Returns
        -------
        dict
            Keys: type, parameters, unknown_id, padding_id, and vocabulary or, where the
            `tokenizers` library does the work, tokenizer: its own JSON (and what else a class
            learned). `tokenizer_from_dict` reads it.

        Raises
        ------
        NotFittedError
            If the tokenizer was not fitted.
        TypeError
            If its class has no `type_name` of its own.
        """
        self.check_is_fitted()
        if not _is_same(type(self), _TOKENIZERS[self.type_name]):
            raise TypeError(
                f"{type(self).__name__} has no type_name of its own, so it would be loaded as a "
                f"{_TOKENIZERS[self.type_name].__name__}: give the class one."
            )
        parameters = self.get_params(deep=False)
        return {
            "type": self.type_name,
            "parameters": {name: to_plain(value) for name, value in parameters.items()},
            **self._content(),
            "unknown_id": self.unknown_id_,
            "padding_id": self.padding_id_,
        }

    def _content(self) -> dict[str, Any]:
        """Return the part of `to_dict` that holds the vocabulary."""
        return {"vocabulary": list(self.vocabulary_)}

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> Self:
        """Rebuild a fitted tokenizer of this class from what `to_dict` returned.

        Raises
        ------
        ValueError
            If the dictionary describes another type or is damaged.
        """
        if d.get("type") != cls.type_name:
            raise ValueError(
                f"This describes a tokenizer of type {d.get('type')!r}, not a {cls.__name__}: "
                "read it with tokenizer_from_dict."
            )
        parameters = d.get("parameters", {})
        known = cls._get_param_names()
        if not isinstance(parameters, Mapping) or not set(parameters) <= set(known):
            raise ValueError(
                f"The 'parameters' of a {cls.type_name} tokenizer must be a mapping with keys "
                f"among {known}, got {parameters!r}."
            )
        tokenizer = cls(**parameters)
        tokenizer._validate_params()
        vocabulary: Any = tokenizer._read_content(d)
        special_ids = d.get("unknown_id"), d.get("padding_id")
        tokenizer._check_vocabulary(vocabulary, *special_ids)
        tokenizer._set_vocabulary(vocabulary, *special_ids)
        return tokenizer

    def _read_content(self, d: Mapping[str, Any]) -> Any:
        """Take up what `_content` wrote, and return the vocabulary, yet unchecked."""
        return d.get("vocabulary")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted tokenizer to a JSON file, whole or not at all.

        Raises
        ------
        NotFittedError
            If the tokenizer was not fitted.
        OSError
            If the file cannot be written; one that was there before is then left as it was.
        """
        text = json.dumps(self.to_dict(), indent=1)
        replace_file(Path(path), text.encode())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a tokenizer from a JSON file that `save` wrote.

        Called on `BaseTokenizer`, it reads a tokenizer of any type.

        Raises
        ------
        ValueError, OSError
            If the file does not hold a tokenizer (of this class), or cannot be read.
        """
        try:
            d = parse_json(Path(path).read_text(encoding="utf-8"))
        except ValueError as error:  # no JSON, or no UTF-8
            raise ValueError(f"{os.fspath(path)} does not hold a tokenizer: {error}.") from error
        tokenizer = tokenizer_from_dict(d)
        if not isinstance(tokenizer, cls):
            raise ValueError(
                f"{os.fspath(path)} holds a {type(tokenizer).__name__}, not a {cls.__name__}."
            )
        return tokenizer

    # Helpers

    def _set_vocabulary(
        self, vocabulary: list[str], unknown_id: int | None, padding_id: int | None
    ) -> None:
        self.vocabulary_ = list(vocabulary)
        self.n_tokens_ = len(vocabulary)
        self.unknown_id_ = unknown_id
        self.padding_id_ = padding_id

    def _check_vocabulary(self, vocabulary: Any, *special_ids: Any) -> None:
        """Raise ValueError for a damaged vocabulary from a file."""
        check_vocabulary(vocabulary, *special_ids)


def make_tokenizer(name: str) -> BaseTokenizer:
    """Return a new tokenizer of the type `name`; raise ValueError if there is no such type.

    Examples
    --------
    >>> from snn_estimators.text import make_tokenizer
    >>> make_tokenizer("char")
    CharTokenizer()
    """
    return _tokenizer_class(name)()


def tokenizer_from_dict(d: Mapping[str, Any]) -> BaseTokenizer:
    """Rebuild a fitted tokenizer of any type from what its `to_dict` returned.

    Raises ValueError if the type is not known or the dictionary is damaged.

    Examples
    --------
    >>> from snn_estimators.text import CharTokenizer, tokenizer_from_dict
    >>> d = CharTokenizer().fit(["a cat"]).to_dict()
    >>> tokenizer_from_dict(d).transform(["cat"])
    [array([2, 1, 3])]
    """
    if not isinstance(d, Mapping):
        raise ValueError(f"A tokenizer is a mapping in JSON, not a {type(d).__name__}.")
    return _tokenizer_class(d.get("type")).from_dict(d)


def _tokenizer_class(name: Any) -> type[BaseTokenizer]:
    if not isinstance(name, str) or name not in _TOKENIZERS:
        raise ValueError(
            f"There is no tokenizer of type {short(name)}: {suggest(name, sorted(_TOKENIZERS))}"
        )
    return _TOKENIZERS[name]

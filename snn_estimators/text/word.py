"""One token a word or punctuation mark."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice, repeat
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
from sklearn.utils._param_validation import Interval

from snn_estimators.text._blocks import AT_WHITE_SPACE, cut
from snn_estimators.text._ids import Ids
from snn_estimators.text._patterns import check_patterns
from snn_estimators.text.base import BaseTokenizer

__all__ = ["WordTokenizer"]

_WORDS = r"\w+(?:['’]\w+)*|[^\w\s]"  # noqa: RUF001
_KNOWN = frozenset({_WORDS, r"\S+"})
"""Patterns that match no white space, and take linear time."""


class WordTokenizer(BaseTokenizer):
    r"""Words and punctuation marks as tokens.

    The vocabulary holds the special tokens, padding first, then the words by falling frequency,
    those of one frequency in alphabetical order. Decoding joins words with single spaces, so it
    gives the text back up to white space.

    Parameters
    ----------
    min_frequency : int, default=1
        Words that occur fewer times in the training text are unknown.
    max_size : int or None, default=None
        The largest size of the vocabulary, special tokens included; the most frequent words stay.
    lowercase : bool, default=False
        Whether to turn text into lower case first.
    unknown_token : str or None, default="<unk>"
        The token for words outside the vocabulary. With None such a word is an error.
    padding_token : str or None, default="<pad>"
        The vocabulary's padding token, if it is to have one.
    pattern : str, default=r"\w+(?:['’]\w+)*|[^\w\s]"
        Regular expression for a token, without capturing groups. The default takes words, with
        apostrophes inside, and single punctuation marks; ``r"\S+"`` splits on white space, which
        suits text cleaned with ``TextCleaner("spikedecoder-words")``.

    Attributes
    ----------
    vocabulary_ : list of str
        The tokens; the index is the token's id.
    n_tokens_ : int
        Size of the vocabulary, special tokens included.
    unknown_id_, padding_id_ : int or None
        Ids of the two special tokens.

    Notes
    -----
    Long documents are read in blocks with the two patterns above; any other pattern, which may
    match white space, is taken along the whole document.

    Examples
    --------
    >>> from snn_estimators.text import WordTokenizer
    >>> tokenizer = WordTokenizer(min_frequency=2).fit(["The cat, the dog.", "The end."])
    >>> tokenizer.vocabulary_
    ['<pad>', '<unk>', '.', 'The']
    >>> ids = tokenizer.transform(["The mat."])
    >>> ids
    [array([3, 1, 2])]
    >>> tokenizer.inverse_transform(ids)
    ['The <unk> .']
    """

    type_name: ClassVar[str] = "word"
    unknown_limits: ClassVar[tuple[float, float]] = (0.5, 1.0)  # rare words are meant to be unknown
    _separator: ClassVar[str] = " "
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "min_frequency": [Interval(Integral, 1, None, closed="left")],
        "max_size": [Interval(Integral, 1, None, closed="left"), None],
        "lowercase": ["boolean"],
        "unknown_token": [str, None],
        "padding_token": [str, None],
        "pattern": [str],
    }

    def __init__(
        self,
        min_frequency: int = 1,
        max_size: int | None = None,
        *,
        lowercase: bool = False,
        unknown_token: str | None = "<unk>",
        padding_token: str | None = "<pad>",
        pattern: str = _WORDS,
    ) -> None:
        self.min_frequency = min_frequency
        self.max_size = max_size
        self.lowercase = lowercase
        self.unknown_token = unknown_token
        self.padding_token = padding_token
        self.pattern = pattern

    def _learn(self, documents: Sequence[str]) -> tuple[list[str], int | None, int | None]:
        special = [t for t in (self.padding_token, self.unknown_token) if t is not None]
        if "" in special or len(set(special)) < len(special):
            raise ValueError(
                f"unknown_token={self.unknown_token!r} and padding_token={self.padding_token!r} "
                "must be different and not empty (None for no such token)."
            )
        split = self._splitter()
        counts: Counter[str] = Counter()
        for document in documents:
            for block in self._blocks(document):
                counts.update(split(block))
        words = [
            word
            for word, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
            if count >= self.min_frequency and word not in special
        ]
        if self.max_size is not None:
            words = words[: max(self.max_size - len(special), 0)]
        if not words:
            raise ValueError(
                f"No word is left for the vocabulary: of {len(counts)} distinct words, the most "
                f"frequent occurs {max(counts.values(), default=0)} times, min_frequency is "
                f"{self.min_frequency}, and max_size ({self.max_size}) has to hold "
                f"{len(special)} special tokens too."
            )
        vocabulary = special + words
        unknown_id, padding_id = (
            None if token is None else vocabulary.index(token)
            for token in (self.unknown_token, self.padding_token)
        )
        return vocabulary, unknown_id, padding_id

    def _read_content(self, d: Mapping[str, Any]) -> Any:
        if self.pattern not in _KNOWN:
            check_patterns("re", self.pattern)
        self._splitter()
        return super()._read_content(d)

    def _blocks(self, document: str) -> Iterator[str]:
        if self.pattern not in _KNOWN:
            return iter([document])
        return cut(document, AT_WHITE_SPACE)

    def _splitter(self) -> Callable[[str], Iterable[str]]:
        """Return the function from a block to its words."""
        try:
            pattern = re.compile(self.pattern)
        except re.error as error:
            raise ValueError(
                f"pattern={self.pattern!r} is not a regular expression: {error}."
            ) from error
        if pattern.groups:
            raise ValueError(
                f"pattern={self.pattern!r} has a capturing group: write (?:...) instead of (...)."
            )

        def split(block: str) -> Iterable[str]:
            text = block.lower() if self.lowercase else block
            if self.pattern in _KNOWN:
                return pattern.findall(text)
            return (match[0] for match in pattern.finditer(text) if match[0])

        return split

    def _texts(self, document: str) -> list[str]:
        return list(self._splitter()(document))

    def _encoder(self) -> Callable[[str, int], Ids]:
        split = self._splitter()
        index_of = {word: i for i, word in enumerate(self.vocabulary_)}
        unknown = -1 if self.unknown_id_ is None else self.unknown_id_

        def encode(document: str, index: int) -> Ids:
            ids = np.fromiter(map(index_of.get, split(document), repeat(unknown)), np.int64)
            if unknown < 0 and ids.size and ids.min() < 0:
                position = int(np.argmin(ids))
                word = next(islice(split(document), position, None))
                raise ValueError(
                    f"Document {index} has the word {word!r} at position {position} "
                    "(in words), which is not in the vocabulary: lower min_frequency, raise "
                    "max_size, or set unknown_token."
                )
            return ids

        return encode

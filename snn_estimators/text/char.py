"""One token a character."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
from sklearn.utils._param_validation import StrOptions

from snn_estimators.text._blocks import code_points, cut, distinct_characters
from snn_estimators.text._ids import Ids, encode_blocks
from snn_estimators.text.base import BaseTokenizer

__all__ = ["CharTokenizer"]

# Alphabet and padding symbol of the SpikeDecoder character models.
_PRESETS = {
    "spikedecoder": ("abcdefghijklmnopqrstuvwxyz.'P ", "P"),
    "spikedecoder-32": ("abcdefghijklmnopqrstuvwxyz.'SEP ", "P"),
}


class CharTokenizer(BaseTokenizer):
    r"""Characters as tokens.

    Parameters
    ----------
    alphabet : str or None, default=None
        The characters, each once; the position in the string is the token's id. None learns the
        distinct characters of the training text, in sorted order. ``"spikedecoder"`` stands for
        the 30 symbols ``abcdefghijklmnopqrstuvwxyz.'P`` and space, ``"spikedecoder-32"`` for the 32
        symbols ``abcdefghijklmnopqrstuvwxyz.'SEP`` and space, both with ``P`` as padding. (The
        names repeat letters, so they cannot be mistaken for alphabets.) With a given alphabet there
        is nothing to learn, and `transform` needs no `fit`.
    handle_unknown : {"auto", "error", "token"}, default="auto"
        What to do with a character outside the alphabet: raise an error, or give it the id of the
        unknown token. "auto" is "error" with a given alphabet and "token" with a learned one,
        since held-out text may hold a character that the training text does not.
    unknown_token : str, default="\ufffd"
        A single character that stands for unknown ones in decoded text. With handle_unknown
        "token" it is appended to the alphabet, unless it is there already.

    Attributes
    ----------
    vocabulary_ : list of str
        The characters; the index is the token's id.
    n_tokens_ : int
        Size of the vocabulary, unknown token included.
    unknown_id_ : int or None
        Id of the unknown token; None if an unknown character is an error.
    padding_id_ : int or None
        Id of the padding symbol of the two presets; None otherwise.

    Examples
    --------
    >>> from snn_estimators.text import CharTokenizer
    >>> tokenizer = CharTokenizer().fit(["to be", "or not"])
    >>> "".join(tokenizer.vocabulary_)
    ' benort�'
    >>> ids = tokenizer.transform(["be", "toe!"])
    >>> ids
    [array([1, 2]), array([6, 4, 2, 7])]
    >>> tokenizer.inverse_transform(ids)
    ['be', 'toe�']
    >>> CharTokenizer("abc").transform(["cab"])
    [array([2, 0, 1])]
    """

    type_name: ClassVar[str] = "char"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "alphabet": [str, None],
        "handle_unknown": [StrOptions({"auto", "error", "token"})],
        "unknown_token": [str],
    }

    def __init__(
        self,
        alphabet: str | None = None,
        *,
        handle_unknown: str = "auto",
        unknown_token: str = "\ufffd",
    ) -> None:
        self.alphabet = alphabet
        self.handle_unknown = handle_unknown
        self.unknown_token = unknown_token

    def _is_given(self) -> bool:
        return self.alphabet is not None

    def _learn(self, documents: Sequence[str]) -> tuple[list[str], int | None, int | None]:
        if len(self.unknown_token) != 1:
            raise ValueError(
                f"unknown_token must be a single character, got {self.unknown_token!r}."
            )
        learned = self.alphabet is None
        use_token = learned if self.handle_unknown == "auto" else self.handle_unknown == "token"
        padding = None
        if self.alphabet is None:
            vocabulary = distinct_characters(documents)
            if use_token and self.unknown_token in vocabulary:  # it goes last
                vocabulary.remove(self.unknown_token)
        else:
            alphabet, padding = _PRESETS.get(self.alphabet, (self.alphabet, None))
            vocabulary = _check_alphabet(alphabet)
        if use_token and self.unknown_token not in vocabulary:
            vocabulary.append(self.unknown_token)
        if not use_token and not learned:
            # Raise now, before any training, what transform would raise later.
            encode = _encoder(vocabulary, None)
            for index, document in enumerate(documents):
                for _ in encode_blocks(encode, document, index, self._blocks):
                    pass
        return (
            vocabulary,
            vocabulary.index(self.unknown_token) if use_token else None,
            None if padding is None else vocabulary.index(padding),
        )

    def _encoder(self) -> Callable[[str, int], Ids]:
        return _encoder(self.vocabulary_, self.unknown_id_)

    def _blocks(self, document: str) -> Iterator[str]:
        return cut(document)

    def _texts(self, document: str) -> str:
        return document

    def _check_vocabulary(self, vocabulary: Any, *special_ids: Any) -> None:
        super()._check_vocabulary(vocabulary, *special_ids)
        if any(len(token) != 1 for token in vocabulary):
            raise ValueError("The tokens of a char tokenizer must be single characters.")


def _check_alphabet(alphabet: str) -> list[str]:
    repeated = sorted({c for c in alphabet if alphabet.count(c) > 1})
    if not alphabet or repeated:
        problem = f"repeats {''.join(repeated)!r}" if alphabet else "is empty"
        raise ValueError(
            f"alphabet={alphabet!r} {problem}: give each character once, None to learn the "
            f"alphabet, or one of the names {sorted(_PRESETS)}."
        )
    return list(alphabet)


def _encoder(vocabulary: list[str], unknown_id: int | None) -> Callable[[str, int], Ids]:
    """Return a table look-up from code points to ids: linear, and without a loop in Python."""
    known = code_points("".join(vocabulary))
    outside = int(known.max()) + 1  # one entry for all characters past the last known one
    table = np.full(outside + 1, -1 if unknown_id is None else unknown_id, dtype=np.int64)
    table[known] = np.arange(len(vocabulary))

    def encode(document: str, index: int) -> Ids:
        ids = table[np.minimum(code_points(document), outside)]
        if unknown_id is None and ids.size and ids.min() < 0:
            position = int(np.argmin(ids))
            character = document[position]
            raise ValueError(
                f"Document {index} has the character {character!r} (U+{ord(character):04X}) at "
                f"position {position}, which is not in the alphabet: clean the text "
                "(TextCleaner), add the character to alphabet=, or set handle_unknown='token'."
            )
        return ids

    return encode

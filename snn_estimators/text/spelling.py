r"""What it takes to spell out the tokens that a tokenizer does not know.

An unknown token hides :math:`n` characters, which a fair count of bits has to pay for. Spelt out,
each of them and the end cost :math:`\log_2(A + 2)` bits: a uniform choice among the :math:`A`
characters of the vocabulary, the end, and "another character". Another one costs
:math:`\log_2 1114112` bits more, a uniform choice in Unicode. Where every token is a character, the
unknown one says already that it is another, and alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from snn_estimators.text._documents import check_documents
from snn_estimators.text.base import BaseTokenizer
from snn_estimators.text.char import CharTokenizer

__all__ = ["spelling_bits"]

_UNICODE_BITS = math.log2(0x110000)


def spelling_bits(tokenizer: BaseTokenizer, X: Iterable[str]) -> npt.NDArray[np.float64]:
    """Return what it takes to spell the unknown tokens of each document, in bits.

    The first token of a document is not predicted, and free.

    Parameters
    ----------
    tokenizer : fitted tokenizer
    X : iterable of str
        The documents.

    Returns
    -------
    ndarray of float, shape (n_documents,)

    Raises
    ------
    NotFittedError
        If the tokenizer was not fitted.

    Examples
    --------
    >>> from snn_estimators.text import WordTokenizer
    >>> words = WordTokenizer().fit(["a cab"])  # three letters, so five choices
    >>> spelling_bits(words, ["a cab", "a bca"]) / np.log2(5)
    array([0., 4.])
    """
    documents = check_documents(X, allow_empty=True)
    tokens = tokenizer.encode(documents)
    bits = np.zeros(len(documents))
    unknown = tokenizer.unknown_id_
    if unknown is None:
        return bits
    special = {unknown, tokenizer.padding_id_}
    alphabet = {
        character
        for i, text in enumerate(tokenizer.vocabulary_)
        if i not in special
        for character in text
    }
    by_characters = isinstance(tokenizer, CharTokenizer)
    choice = 0.0 if by_characters else math.log2(len(alphabet) + 2)
    for index, (document, ids) in enumerate(zip(documents, tokens, strict=True)):
        for text in _texts_of(tokenizer, document, 1 + np.flatnonzero(ids[1:] == unknown)):
            others = sum(character not in alphabet for character in text)
            bits[index] += (len(text) + 1) * choice + others * _UNICODE_BITS
    return bits


def _texts_of(
    tokenizer: BaseTokenizer, document: str, places: npt.NDArray[np.intp]
) -> Iterator[str]:
    """Yield the texts of the tokens at places in a document, in order."""
    if not len(places):
        return
    n_before = 0
    for block in tokenizer._blocks(document):
        texts = tokenizer._texts(block)
        within = np.searchsorted(places, [n_before, n_before + len(texts)])
        yield from (texts[place - n_before] for place in places[slice(*within)].tolist())
        n_before += len(texts)

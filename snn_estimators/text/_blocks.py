"""Long documents in blocks, so that one of any length costs no more memory than its blocks.

A document is cut only where whoever reads the blocks one by one finds what it finds in the whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

__all__ = [
    "AT_WHITE_SPACE",
    "BETWEEN_WORDS",
    "BLOCK_LENGTH",
    "code_points",
    "cut",
    "distinct_characters",
]

BLOCK_LENGTH = 1 << 18
"""Characters a block, at least: what a block costs besides is lost among so many."""

AT_WHITE_SPACE = re.compile(r"(?<=\S)(?=[ \n])")
"""Before a space or a line feed that ends something else than white space."""

BETWEEN_WORDS = re.compile(r"(?<=\w)(?= \w)")
"""Before a single space between two letters, digits or underscores."""

_N_CODE_POINTS = 0x110000


def cut(
    document: str,
    places: re.Pattern[str] | None = None,
    *,
    never_within: Sequence[str] = (),
    length: int | None = None,
) -> Iterator[str]:
    """Yield the blocks of a document, which add up to it.

    Parameters
    ----------
    document : str
    places : pattern, optional
        Matches where the document may be cut, between two characters; None cuts anywhere.
    never_within : sequence of str
        Texts that are not cut through, nor right before or behind.
    length : int, optional
        The least length of all blocks but the last, `BLOCK_LENGTH` by default.

    Yields
    ------
    str

    Examples
    --------
    >>> list(cut("to be or not", BETWEEN_WORDS, length=3))
    ['to be', ' or', ' not']
    """
    length = BLOCK_LENGTH if length is None else length
    start, near = 0, 1 + max(map(len, never_within), default=0)
    while len(document) - start > length:
        stop: int | None = start + length
        while stop is not None and places is not None:
            match = places.search(document, stop)
            stop = None if match is None else match.start()
            if stop is None or not any(
                document.find(text, max(stop - near, 0), stop + near) >= 0 for text in never_within
            ):
                break
            stop += 1
        if stop is None:
            break
        yield document[start:stop]
        start = stop
    yield document[start:]


def code_points(text: str) -> np.ndarray:
    """Return the numbers of a text's characters in Unicode."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


def distinct_characters(documents: Iterable[str]) -> list[str]:
    """Return the characters that occur in documents, sorted."""
    occurs = np.zeros(_N_CODE_POINTS, np.bool_)
    for document in documents:
        for block in cut(document):
            occurs[code_points(block)] = True
    return list(map(chr, np.flatnonzero(occurs).tolist()))

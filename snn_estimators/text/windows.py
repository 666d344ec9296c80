"""Windows of fixed length over text, and folds that overlapping windows never straddle."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import BaseCrossValidator

from snn_estimators._validation import check_whole
from snn_estimators.text._documents import check_container

__all__ = ["IGNORED", "PADDING", "WindowKFold", "split_windows"]

PADDING = -1
"""What batches are padded with; never an entry of a vocabulary."""

IGNORED = -100
"""Target that does not count, `CrossEntropyLoss`'s own default."""


def split_windows(text: Any, length: int, stride: int | None = None) -> list[Any]:
    """Cut text into windows of exactly `length` characters (or token ids).

    Parameters
    ----------
    text : str, array of int, or iterable of those
        One text, one sequence of token ids, or a collection of documents of either kind. No window
        reaches over the end of a document.
    length : int
        Length of each window.
    stride : int or None, default=None
        Distance between the starts of neighbouring windows; below `length` they overlap. None
        means `length`: every character once.

    Returns
    -------
    list of str, or list of ndarray of shape (length,)
        The windows in order. What remains at the end of a document, shorter than a window, is left
        out, and so are documents shorter than a window. Windows over arrays are views.

    Raises
    ------
    ValueError
        If nothing is long enough for one window, or length or stride is not a positive integer.
    TypeError
        If there is neither text nor token ids.

    Examples
    --------
    >>> from snn_estimators.text import split_windows
    >>> split_windows("to be or not", length=5)
    ['to be', ' or n']
    >>> split_windows(["abcd", "xyz", "no"], length=3, stride=1)
    ['abc', 'bcd', 'xyz']
    """
    length = _positive("length", length)
    stride = length if stride is None else _positive("stride", stride)
    documents = [_as_sequence(document) for document in _as_documents(text)]
    longest = max(map(len, documents), default=0)
    if longest < length:
        raise ValueError(
            f"No text is long enough for one window: length={length}, but the longest of "
            f"{len(documents)} text(s) has {longest}. Pass more text or a smaller length."
        )
    return [
        document[start : start + length]
        for document in documents
        for start in range(0, len(document) - length + 1, stride)
    ]


class WindowKFold(BaseCrossValidator):
    """K folds over the windows of a text that share no character between train and test.

    The windows are those of `split_windows`, in order. Each fold tests on one contiguous block of
    windows and trains on the others, without those that overlap the block: at most
    ``(length - 1) // stride`` on each side. Windows that do not overlap are all used, as in
    `sklearn.model_selection.KFold`. With windows of several documents, a few may be left out next
    to a block's borders that did not overlap it; none is ever left in that does.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds, at least 2.
    length : int
        Length of the windows, as given to `split_windows`.
    stride : int or None, default=None
        Their stride, as given to `split_windows`; None means `length`.

    Examples
    --------
    >>> from snn_estimators.text import WindowKFold, split_windows
    >>> windows = split_windows("abcdefghij", length=4, stride=2)
    >>> windows
    ['abcd', 'cdef', 'efgh', 'ghij']
    >>> for train, test in WindowKFold(2, length=4, stride=2).split(windows):
    ...     print([windows[i] for i in train], [windows[i] for i in test])
    ['ghij'] ['abcd', 'cdef']
    ['abcd'] ['efgh', 'ghij']
    """

    def __init__(self, n_splits: int = 5, *, length: int, stride: int | None = None) -> None:
        self.n_splits = _positive("n_splits", n_splits)
        self.length = _positive("length", length)
        self.stride = None if stride is None else _positive("stride", stride)
        if n_splits < 2:
            raise ValueError("n_splits=1 leaves nothing to train on: use at least 2.")

    def split(
        self, X: Any, y: Any = None, groups: Any = None
    ) -> Iterator[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]]:
        """Yield the indices of the training and the test windows of each fold.

        Parameters
        ----------
        X : sequence of str or arrays
            The windows, in order.
        y, groups : None
            Ignored.

        Yields
        ------
        train, test : ndarray of int
            Both in order.

        Raises
        ------
        ValueError
            If a window has another length than `length`, if there are fewer windows than folds, or
            if nothing that does not overlap the test block is left to train on.
        """
        self._check_windows(X)
        overlap = (self.length - 1) // (self.stride or self.length)
        indices = np.arange(len(X))
        for test in np.array_split(indices, self.n_splits):
            apart = (indices < test[0] - overlap) | (indices > test[-1] + overlap)
            if not apart.any():
                raise ValueError(
                    f"All {len(X)} windows overlap one test block of {len(test)}: use more text, "
                    f"fewer folds than {self.n_splits}, or a larger stride."
                )
            yield indices[apart], test

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Return the number of folds; the arguments are ignored."""
        return self.n_splits

    def _check_windows(self, X: Any) -> None:
        if len(X) < self.n_splits:
            raise ValueError(f"n_splits={self.n_splits} folds need as many windows, got {len(X)}.")
        for index, window in enumerate(X):
            size = len(window) if hasattr(window, "__len__") else self.length
            if size != self.length:
                raise ValueError(
                    f"Window {index} has length {size}, but length={self.length}: give "
                    "WindowKFold the length and the stride that were given to split_windows."
                )


def _positive(name: str, value: Any) -> int:
    check_whole(name, value, 1)
    return int(value)


def _as_documents(text: Any) -> Iterable[Any]:
    """Return a collection of documents; a single text becomes a collection of one."""
    if isinstance(text, str) or (isinstance(text, np.ndarray) and text.ndim == 1 and _is_ids(text)):
        return [text]
    if not isinstance(text, np.ndarray):
        check_container(text, "text")
    return text


def _as_sequence(document: Any) -> str | np.ndarray:
    if isinstance(document, str):
        return document
    array = np.asarray(document)
    if array.ndim != 1 or not _is_ids(array):
        raise TypeError(
            f"text holds {document!r:.60}: pass a string, a one-dimensional array of token ids, "
            "or a list of those."
        )
    return array


def _is_ids(array: np.ndarray) -> bool:
    return np.issubdtype(array.dtype, np.integer)

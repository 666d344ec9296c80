"""From documents to token ids, to windows, to padded batches.

A document longer than the module's context is cut into windows that overlap by one token: each
window's targets are its inputs moved by one, so every token of a document but the first is
predicted exactly once per pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from sklearn.utils.validation import validate_data
from torch import Tensor
from torch.utils.data import Dataset, RandomSampler, Subset

from snn_estimators.text import IGNORED, PADDING, Ids

__all__ = [
    "ShuffledWindows",
    "TokenWindows",
    "check_token_ids",
    "collate",
    "equal_length_batches",
    "n_counted",
    "window_lengths",
]

_AT_ONCE = 1 << 14  # indices of windows that are Python's own integers


class TokenWindows(Dataset):
    """Windows over token sequences, cut when they are asked for.

    Parameters
    ----------
    documents : sequence of ndarray of int, each of shape (n_tokens,)
        Windows are copies, as int64.
    length : int
        Inputs a window, the module's ``max_len``. Windows at the end of a document are shorter.
    stride : int, optional
        Distance between the starts of consecutive windows, `length` by default. With 1 there is
        a window at every position that has room for it.
    every_position : bool, default=False
        Also feed a document's last token, whose successor nobody knows: for predictions.

    Examples
    --------
    >>> windows = TokenWindows([np.arange(6), np.arange(1)], length=3)
    >>> [(inputs.tolist(), targets.tolist()) for inputs, targets in windows]
    [([0, 1, 2], [1, 2, 3]), ([3, 4], [4, 5])]
    """

    def __init__(
        self,
        documents: Sequence[Ids],
        length: int,
        stride: int | None = None,
        *,
        every_position: bool = False,
    ) -> None:
        self.documents = documents
        self.length = length
        self.stride = length if stride is None else stride
        self.every_position = every_position
        n_tokens = np.array([len(d) for d in documents], dtype=np.int64)
        self._n_inputs = n_tokens if every_position else np.maximum(n_tokens - 1, 0)
        beyond_the_first = np.maximum(self._n_inputs - length, 0)
        n_windows = np.where(self._n_inputs > 0, -(-beyond_the_first // self.stride) + 1, 0)
        self._ends = np.cumsum(n_windows)  # of each document, counted in windows

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        documents, starts = self.locate(np.array([index]))
        document, start = int(documents[0]), int(starts[0])
        ids = self.documents[document]
        stop = min(start + self.length, int(self._n_inputs[document]))
        window = torch.from_numpy(ids[start : stop + 1].astype(np.int64))
        return window[: stop - start], window[1:]

    def locate(self, indices: npt.NDArray[np.intp]) -> tuple[Ids, Ids]:
        """Return the document of each window and the position where it starts there."""
        documents = np.searchsorted(self._ends, indices, side="right")
        first = np.concatenate([[0], self._ends])[documents]
        return documents.astype(np.int64), (indices - first) * self.stride

    def lengths(self) -> Ids:
        """Return the number of inputs of each window, shape (n_windows,)."""
        documents, starts = self.locate(np.arange(len(self)))
        return np.minimum(self._n_inputs[documents] - starts, self.length)


class ShuffledWindows(RandomSampler):
    """Every window once, in PyTorch's own order, but without an object for each at once.

    Examples
    --------
    >>> windows = TokenWindows([np.arange(100)], length=9)
    >>> orders = []
    >>> for sampler in (RandomSampler(windows), ShuffledWindows(windows)):
    ...     _ = torch.manual_seed(0)
    ...     orders.append(list(sampler))
    >>> orders[0] == orders[1]
    True
    """

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator()
        generator.manual_seed(int(torch.empty((), dtype=torch.int64).random_().item()))
        for part in torch.randperm(len(self.data_source), generator=generator).split(_AT_ONCE):
            yield from part.tolist()


def window_lengths(dataset: Dataset) -> Ids:
    """Return the lengths of windows, or of a subset of windows that a train split left."""
    if isinstance(dataset, Subset):
        return window_lengths(dataset.dataset)[np.asarray(dataset.indices, dtype=np.int64)]
    if isinstance(dataset, TokenWindows):
        return dataset.lengths()
    raise TypeError(f"Expected windows of tokens, got a {type(dataset).__name__}.")


def equal_length_batches(lengths: Ids, batch_size: int) -> list[list[int]]:
    """Group windows so that no batch holds padding: what a window yields is its own affair.

    Examples
    --------
    >>> equal_length_batches(np.array([3, 1, 3, 3]), batch_size=2)
    [[1], [0, 2], [3]]
    """
    order = np.argsort(lengths, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(lengths[order])) + 1)
    return [
        group[i : i + batch_size].tolist()
        for group in groups
        for i in range(0, len(group), batch_size)
    ]


def collate(windows: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Pad windows on the right into inputs and targets, both of shape [batch, longest window]."""
    width = max(len(inputs) for inputs, _ in windows)
    inputs = torch.full((len(windows), width), PADDING)
    targets = torch.full((len(windows), width), IGNORED)
    for row, (its_inputs, its_targets) in enumerate(windows):
        inputs[row, : len(its_inputs)] = its_inputs
        targets[row, : len(its_targets)] = its_targets
    return inputs, targets


def n_counted(targets: Tensor) -> float:
    """Return what a mean loss over targets is a mean of: tokens, or documents by their weights."""
    if targets.is_floating_point():  # codes and weights of documents
        return float(targets[:, 1].sum())
    return int((targets != IGNORED).sum())


def check_token_ids(estimator: Any, X: Any, *, reset: bool) -> Ids | list[Ids]:
    """Return token ids as a table, or as a list of arrays if they are ragged.

    Integers keep their type, and are not copied.

    A table sets the estimator's `n_features_in_` (`reset`, in fit), or has to match it.

    Raises
    ------
    ValueError
        If X is empty, or holds anything but whole numbers from 0 on; missing values (None, NaN)
        and infinite ones are named.
    """
    ragged = _as_ragged(X)
    if ragged is None:
        table = X.numpy(force=True) if isinstance(X, Tensor) else X
        _check_no_text(table, estimator)
        return _whole_numbers(validate_data(estimator, table, reset=reset), estimator)
    for index, document in enumerate(ragged):
        if document.ndim != 1:
            raise ValueError(
                f"Document {index} of X has {document.ndim} dimensions: pass one-dimensional "
                "arrays of token ids, one a document."
            )
    if reset and hasattr(estimator, "n_features_in_"):
        del estimator.n_features_in_
    return [_whole_numbers(document, estimator) for document in ragged]


def _as_ragged(X: Any) -> list[npt.NDArray[Any]] | None:
    """Return the arrays of X if it is a sequence of arrays and no table; otherwise None."""
    if isinstance(X, Tensor):
        return None
    if hasattr(X, "ndim"):
        if X.ndim != 1 or X.dtype.kind != "O":
            return None
    elif not isinstance(X, list | tuple):
        return None
    documents = list(X)
    if not documents or any(isinstance(d, str) or not hasattr(d, "__len__") for d in documents):
        return None
    are_arrays = all(hasattr(d, "ndim") for d in documents)
    if not are_arrays and len({len(d) for d in documents}) == 1:
        return None  # nested lists of equal lengths are how people write a table
    return [np.asarray(d.numpy(force=True) if isinstance(d, Tensor) else d) for d in documents]


def _check_no_text(X: Any, estimator: Any) -> None:
    first = next(iter(X), None) if isinstance(X, list | tuple | pd.Series) else None
    kind = getattr(getattr(X, "dtype", None), "kind", "")
    if isinstance(X, str) or isinstance(first, str) or kind in ("U", "S", "T"):
        raise ValueError(
            f"X holds text, but {type(estimator).__name__}(tokenizer=None) takes token ids: "
            'choose a tokenizer, such as tokenizer="char".'
        )


def _finite_numbers(ids: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return numbers as numbers, and say what is none: a cast to int64 would make ids of it."""
    if pd.isna(ids).any():
        raise ValueError("X holds missing values (None or NaN) where token ids belong: drop them.")
    if ids.dtype.kind == "O":
        ids = np.array(ids.tolist())  # of integers, for example, where Python's own came in
    if ids.dtype.kind not in "biuf":
        raise ValueError(f"X holds {ids.dtype} values where token ids belong.")
    if np.isinf(ids).any():
        raise ValueError("X holds infinite values where token ids belong.")
    return ids


def _whole_numbers(ids: npt.NDArray[Any], estimator: Any) -> Ids:
    if not ids.size:
        return np.empty(ids.shape, np.int64)
    if ids.dtype.kind not in "iu":
        ids = _finite_numbers(ids)
    if ids.max() >= 2**63:
        raise ValueError(f"X holds {ids.max()}, which is too large for a token id.")
    whole = ids if ids.dtype.kind in "iu" else ids.astype(np.int64)
    if whole.min() < 0:
        raise ValueError(
            f"Negative values in data passed to {type(estimator).__name__}: token ids count from "
            "0. Pass documents of different lengths as a list of 1-D arrays, without padding."
        )
    if whole is not ids and not np.array_equal(whole, ids):
        raise ValueError("X holds fractions: token ids are whole numbers from 0 on.")
    return whole

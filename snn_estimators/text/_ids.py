"""Checks of token ids, and plain values for files."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from snn_estimators.text.windows import PADDING

__all__ = ["Ids", "check_ids", "check_special_ids", "to_plain"]

Ids = npt.NDArray[np.int64]


def check_ids(ids: npt.ArrayLike, index: int, n_tokens: int) -> Ids:
    """Return ids as an array without padding; index names it in errors."""
    array = np.asarray(ids)
    if array.ndim != 1:
        raise TypeError(
            f"Item {index} has {array.ndim} dimensions where one is needed: pass a list of "
            "one-dimensional arrays of token ids, one a document."
        )
    if array.size and not np.issubdtype(array.dtype, np.integer):
        raise TypeError(f"Item {index} holds {array.dtype} values where token ids belong.")
    array = array[array != PADDING].astype(np.int64)
    if array.size and not 0 <= array.min() <= array.max() < n_tokens:
        wrong = array[(array < 0) | (array >= n_tokens)][0]
        raise ValueError(
            f"Item {index} holds the id {wrong}, but the vocabulary has {n_tokens} "
            f"tokens (ids 0 to {n_tokens - 1})."
        )
    return array


def check_special_ids(ids: Iterable[Any], n_tokens: int) -> None:
    """Raise ValueError for what is neither None nor an id."""
    for i in ids:
        if i is not None and (type(i) is not int or not 0 <= i < n_tokens):
            raise ValueError(
                f"The tokenizer's 'unknown_id' and 'padding_id' must be null or ids of its "
                f"{n_tokens} tokens, got {i!r}."
            )


def to_plain(value: Any) -> Any:
    """Turn values that parameters may have, but JSON does not know, into ones that it does."""
    if isinstance(value, np.generic):  # a search may have set it
        return value.item()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return list(value) if isinstance(value, tuple) else value

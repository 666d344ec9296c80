"""What tokenizers ask of ids and of files, and what files ask of them."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import numpy.typing as npt

from snn_estimators.text.windows import PADDING

__all__ = ["check_ids", "check_vocabulary", "to_plain"]


def check_ids(ids: npt.ArrayLike, index: int, n_tokens: int) -> npt.NDArray[np.int64]:
    """Return ids below `n_tokens` as an array without padding; index names it in errors."""
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


def check_vocabulary(vocabulary: Any, *special_ids: Any) -> None:
    """Raise ValueError for a damaged vocabulary from a file."""
    if not isinstance(vocabulary, list) or not vocabulary:
        raise ValueError("The tokenizer's 'vocabulary' must be a list of at least one string.")
    if any(not isinstance(t, str) for t in vocabulary) or (len(set(vocabulary)) < len(vocabulary)):
        raise ValueError("The tokens of the tokenizer's 'vocabulary' must be distinct strings.")
    for i in special_ids:
        if i is not None and (type(i) is not int or not 0 <= i < len(vocabulary)):
            raise ValueError(
                f"The tokenizer's 'unknown_id' and 'padding_id' must be null or ids of its "
                f"{len(vocabulary)} tokens, got {i!r}."
            )


def to_plain(value: Any) -> Any:
    """Turn values that parameters may have, but JSON does not know, into ones that it does."""
    if isinstance(value, np.generic):  # a search may have set it
        return value.item()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return list(value) if isinstance(value, tuple) else value

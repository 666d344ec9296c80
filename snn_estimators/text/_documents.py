"""One definition of what counts as documents, shared by everything that takes text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from numbers import Number
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin

from snn_estimators.text._streams import DocumentStream

__all__ = ["TextTransformer", "check_container", "check_documents"]


class TextTransformer(TransformerMixin, BaseEstimator):
    """Base of scikit-learn transformers whose input is documents."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        tags.requires_fit = True
        tags.transformer_tags.preserves_dtype = []
        return tags

    def fit_transform(self, X: Iterable[str], y: Any = None) -> list[Any]:
        """Fit to documents and transform them; X may be an iterator. See `fit`, `transform`."""
        documents = check_documents(X)
        return self.fit(documents).transform(documents)


def check_documents(X: Any, *, name: str = "X", allow_empty: bool = False) -> Sequence[str]:
    """Return X as a list of strings, or raise an error that says what is wrong with it.

    A stream of `load_corpus` comes back as it is.

    Parameters
    ----------
    X : iterable of str
        A list, tuple, numpy array, pandas Series, generator, ... of documents. An iterator is
        consumed.
    name : str, default="X"
        What the error messages call the argument.
    allow_empty : bool, default=False
        Whether it is fine that not one of the documents holds a character. There must always be
        at least one document.

    Returns
    -------
    sequence of str
        The documents in their order, as plain ``str``.

    Raises
    ------
    TypeError
        If X is a single string, a table, a number or no iterable at all, or if a document is not
        a string.
    ValueError
        If X holds no document, a document is missing (None, NaN, NA), or all text is empty.

    Examples
    --------
    >>> from snn_estimators.text import check_documents
    >>> check_documents(("a cat", "a dog"))
    ['a cat', 'a dog']
    >>> check_documents("a cat")
    Traceback (most recent call last):
        ...
    TypeError: X is a single string, which would be read as one document a character: ...
    """
    check_container(X, name)
    documents: Sequence[str] = X if isinstance(X, DocumentStream) else list(X)
    if not documents:
        raise ValueError(f"{name} holds no documents: pass at least one string.")
    if isinstance(documents, list) and any(type(d) is not str for d in documents):
        documents = [_as_string(d, i, name) for i, d in enumerate(documents)]
    if not allow_empty and not any(documents):
        raise ValueError(f"All documents of {name} are empty: there is no text to work on.")
    return documents


def check_container(X: Any, name: str) -> None:
    """Raise TypeError for what Python would iterate over, but not into documents."""
    if isinstance(X, str):
        raise TypeError(
            f"{name} is a single string, which would be read as one document a character: "
            f"wrap it in a list, [{name}]."
        )
    if isinstance(X, bytes | bytearray):
        raise TypeError(f"{name} is bytes: decode it and wrap the string in a list.")
    if isinstance(X, pd.DataFrame):
        raise TypeError(f"{name} is a table: pass the one column that holds the text.")
    if isinstance(X, Mapping | Set):
        raise TypeError(
            f"{name} is a {type(X).__name__}, which has no order of documents: pass a list."
        )
    if not isinstance(X, Iterable):
        raise TypeError(
            f"{name} is of type {type(X).__name__}: pass a list (or array, or Series) of strings."
        )
    if isinstance(X, np.ndarray) and X.ndim != 1:
        raise TypeError(
            f"{name} is an array of shape {X.shape}: pass a one-dimensional array of strings."
        )


def _as_string(document: Any, index: int, name: str) -> str:
    if isinstance(document, str):  # also numpy.str_
        return str(document)
    if pd.api.types.is_scalar(document) and pd.isna(document):
        raise ValueError(
            f"Document {index} of {name} is missing ({document!r}): drop it or replace it by text."
        )
    if isinstance(document, Number):
        raise TypeError(
            f"Document {index} of {name} is a number ({document!r}) where text belongs: pass "
            "strings, or use tokenizer=None for token ids."
        )
    raise TypeError(
        f"Document {index} of {name} is of type {type(document).__name__}: every document must be "
        "a string."
    )

"""One sentence for everything that is not documents."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from snn_estimators.text import CharTokenizer, TextCleaner, WordTokenizer, check_documents


@pytest.mark.parametrize(
    "container",
    [
        list,
        tuple,
        iter,
        np.array,
        lambda d: np.array(d, dtype=object),
        pd.Series,
        lambda d: pd.Series(d, index=[7, 3], dtype="string"),
    ],
)
def test_any_ordered_collection_of_strings_is_fine(container):
    documents = check_documents(container(["a cat", "a dog"]))
    assert documents == ["a cat", "a dog"]
    assert all(type(d) is str for d in documents)


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        ("a cat", TypeError, "single string.*wrap it in a list"),
        (b"a cat", TypeError, "bytes"),
        (3, TypeError, "of type int"),
        (None, TypeError, "of type NoneType"),
        ({"a": "cat"}, TypeError, "dict"),
        ({"a", "cat"}, TypeError, "set"),
        (pd.DataFrame({"text": ["a cat"]}), TypeError, "table"),
        (np.array([["a", "cat"]]), TypeError, r"shape \(1, 2\)"),
        (np.array("a cat"), TypeError, r"shape \(\)"),
        ([], ValueError, "no documents"),
        (["", ""], ValueError, "empty"),
        (["a cat", None], ValueError, "Document 1 of X is missing"),
        (["a cat", float("nan")], ValueError, "Document 1 of X is missing"),
        (["a cat", pd.NA], ValueError, "Document 1 of X is missing"),
        (pd.Series(["a cat", None], index=["x", "y"]), ValueError, "Document 1 of X is missing"),
        (["a cat", 3], TypeError, "Document 1 of X is a number"),
        ([np.float32(0.5)], TypeError, "Document 0 of X is a number"),
        ([b"a cat"], TypeError, "Document 0 of X is of type bytes"),
        ([["a", "cat"]], TypeError, "Document 0 of X is of type list"),
    ],
)
def test_anything_else_is_refused_by_all_transformers(X, error, message):
    with pytest.raises(error, match=message):
        check_documents(X)
    for transformer in (CharTokenizer(), WordTokenizer(), TextCleaner()):
        with pytest.raises(error, match=message):
            transformer.fit(X)


def test_name_and_empty_text():
    with pytest.raises(TypeError, match="prompts is a single string"):
        check_documents("a cat", name="prompts")
    assert check_documents(["", ""], allow_empty=True) == ["", ""]
    assert check_documents(["", "a"]) == ["", "a"]
    with pytest.raises(ValueError, match="no documents"):
        check_documents([], allow_empty=True)

"""The types of tokenizers: which class a name stands for."""

from __future__ import annotations

import pytest

from snn_estimators.text import CharTokenizer


class Shouting(CharTokenizer):
    """Made of another one, without a type of its own."""


def test_a_class_without_a_type_of_its_own_is_not_saved_as_its_parent() -> None:
    with pytest.raises(TypeError, match=r"Shouting has no type_name .* as a CharTokenizer"):
        Shouting().fit(["abc"]).to_dict()


def test_a_type_that_is_there_is_not_replaced() -> None:
    with pytest.raises(ValueError, match="tokenizer 'char' is registered already"):
        type("Own", (CharTokenizer,), {"type_name": "char"})

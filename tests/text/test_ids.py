"""Token ids in the smallest type that holds the vocabulary."""

import numpy as np
import pytest

from snn_estimators.text import BaseTokenizer, CharTokenizer, WordTokenizer
from snn_estimators.text._ids import smallest_type


@pytest.mark.parametrize(
    ("n_tokens", "expected"),
    [
        (1, np.uint8), (256, np.uint8), (257, np.uint16), (65536, np.uint16),
        (65537, np.int32), (2**31, np.int32), (2**31 + 1, np.int64),
    ],
)  # fmt: skip
def test_the_type_is_the_smallest_that_holds_all_ids(n_tokens, expected):
    assert smallest_type(n_tokens) == expected
    assert np.iinfo(expected).max >= n_tokens - 1


@pytest.mark.parametrize(("n_words", "expected"), [(254, np.uint8), (255, np.uint16)])
def test_the_largest_id_survives(n_words, expected):
    words = [f"w{i}" for i in range(n_words)]
    tokenizer = WordTokenizer().fit([" ".join(words)])
    (ids,) = tokenizer.encode([" ".join(words)])

    assert ids.dtype == expected
    assert sorted(ids.tolist()) == list(range(2, n_words + 2))
    assert tokenizer.inverse_transform([ids]) == [" ".join(words)]


def test_no_tokenizer_gets_away_with_ids_that_are_none():
    class Wrong(BaseTokenizer):
        type_name = "wrong-ids"

        def _learn(self, documents):
            return ["a", "b"], None, None

        def _encoder(self):
            return lambda document, index: np.array([0, 300])

    with pytest.raises(ValueError, match="ids from 0 to 300, but the vocabulary has 2 tokens"):
        Wrong().fit_transform(["a"])


TEXT = ["to be or not to be " * 100]


def test_characters_take_a_byte_each():
    (ids,) = CharTokenizer().fit(TEXT).encode(TEXT)

    assert ids.nbytes == 1900

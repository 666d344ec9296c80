"""Bits that unknown tokens cost, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from snn_estimators import CharTokenizer, SpikeDecoderLM, WordTokenizer
from snn_estimators.text import BaseTokenizer, spelling_bits

UNICODE = math.log2(0x110000)


def test_words_are_spelt_with_the_letters_of_the_vocabulary_and_an_end():
    words = WordTokenizer().fit(["to be or not to be"])  # b, e, n, o, r, t: eight choices
    bits = spelling_bits(words, ["to beer", "to bar or", "not to be"])
    assert bits == pytest.approx([5 * 3, 4 * 3 + UNICODE, 0])


def test_the_first_token_of_a_document_is_given():
    words = WordTokenizer().fit(["to be"])
    assert spelling_bits(words, ["beer", "beer to", ""]).tolist() == [0, 0, 0]


def test_an_unknown_character_is_one_of_unicode():
    characters = CharTokenizer().fit(["abc"])
    assert spelling_bits(characters, ["axbxc", "xabc"]) == pytest.approx([2 * UNICODE, 0])


def test_what_is_never_unknown_costs_nothing():
    characters = CharTokenizer(alphabet="abc").fit(["abc"])
    assert spelling_bits(characters, ["cab", "bac"]).tolist() == [0, 0]


def test_a_tokenizer_that_knows_less_does_not_look_better():
    """Of two models that know nothing, the one with more unknown words needs more bits."""
    text = ["the cat sat on the mat and the dog sat on the log"] * 4
    rare = [*text, "a heron swallowed the vole"]
    bits = []
    for frequency in (1, 2):
        tokenizer = WordTokenizer(min_frequency=frequency)
        model = SpikeDecoderLM(
            tokenizer=tokenizer, module__max_len=8, lr=1e-9, max_steps=1, random_state=0
        ).fit(rare)
        totals = model.evaluate(rare[-1:])
        spelt = totals["spelling_bits"]
        without = -totals["log_likelihood"] / math.log(2)
        bits.append(model.bits_per_character(rare[-1:]))
        assert bits[-1] == pytest.approx((without + spelt) / len(rare[-1]))
    assert bits[0] < bits[1]


def test_a_tokenizer_that_cannot_split_says_so():
    class Vague(BaseTokenizer):
        type_name = "vague"

        def _learn(self, documents):
            return ["a", "?"], 1, None

        def _encoder(self):
            return lambda document, index: np.ones(len(document), np.int64)

    with pytest.raises(NotImplementedError, match="Vague has unknown tokens, but no method _texts"):
        spelling_bits(Vague().fit(["a"]), ["aa"])

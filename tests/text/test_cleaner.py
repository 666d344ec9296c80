"""The cleaning recipes, step by step and on a whole book."""

from __future__ import annotations

import hashlib
import pickle

import pytest
from sklearn.base import clone
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import check_estimator

from snn_estimators.text import CharTokenizer, TextCleaner, load_corpus


@pytest.mark.slow
def test_the_whole_book_is_cleaned_as_the_reference_does(shared):
    book = load_corpus(shared / "data" / "war_and_peace.txt")
    (cleaned,) = TextCleaner("spikedecoder").fit_transform(book)
    assert len(cleaned) == 3122687
    assert hashlib.sha256(cleaned.encode()).hexdigest().startswith("1e116c66df5a67e6")
    assert len(CharTokenizer("spikedecoder").fit_transform([cleaned])[0]) == len(cleaned)


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("a  b\n\tc", "a b c"),
        ("really?yes!no", "really. yes. no"),
        ("a;b--c-d", "a b cd"),
        ('x, "y" (z) 42 don\'t', "x y z don't"),
        ("one.two.   three", "one. two. three"),
        ("wait...what", "wait... what"),
        ("Mr. A. B. Smith of the U.S.A. left.Then", "mr. a. b. smith of the u.s.a. left. then"),
        ("\ufeffcafé", "caf"),
        ("42", ""),
        ("", ""),
    ],
)
def test_spikedecoder(text, cleaned):
    assert TextCleaner().transform([text]) == [cleaned]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Really?Yes!", "really . yes ."),
        ("a;b--c", "ab c"),
        ("The U.S. army", "the u . s . army"),
        ("x2y, ''tis''", "x y 'tis'"),
    ],
)
def test_spikedecoder_words(text, words):
    assert TextCleaner("spikedecoder-words").transform([text])[0].split() == words.split()


@pytest.mark.parametrize("preset", ["spikedecoder", "spikedecoder-words"])
def test_cleaned_text_is_in_the_alphabet(preset):
    everything = "".join(map(chr, range(0x3000)))
    (cleaned,) = TextCleaner(preset).transform([everything])
    assert set(cleaned) <= set("abcdefghijklmnopqrstuvwxyz.' ")
    assert "  " not in cleaned


@pytest.mark.parametrize(
    ("parameters", "text", "cleaned"),
    [
        ({}, " Any\n text, as is! ", " Any\n text, as is! "),
        ({"collapse_spaces": True}, "a \n b", "a b"),
        ({"lowercase": "first", "keep": "a-z "}, "A b3", "a b"),
        ({"lowercase": "last", "keep": "a-z "}, "A b3", " b"),
        ({"keep": "a-z", "filler": r"\1"}, "a..b", r"a\1b"),
        ({"replacements": {"a": "b", "b": "c"}}, "ab", "cc"),
        ({"space_punctuation": True}, "a,b  3.14 U.S. (x)y", "a, b  3.14 U.S. (x) y"),
        ({"preset": "spikedecoder", "keep": r"\s\S", "lowercase": "never"}, "A,b;", "A, b "),
    ],
)
def test_each_step_can_be_chosen(parameters, text, cleaned):
    assert TextCleaner(**{"preset": None, **parameters}).fit_transform(iter([text])) == [cleaned]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"preset": "seed"}, "'preset' parameter of TextCleaner"),
        ({"lowercase": True}, "'lowercase' parameter of TextCleaner"),
        ({"keep": "z-a"}, "keep='z-a' is not"),
        ({"replacements": {"": "a"}}, "replacements must map"),
        ({"final_replacements": {"a": 1}}, "final_replacements must map"),
        ({"replacements": "ab"}, "'replacements' parameter of TextCleaner"),
    ],
)
def test_parameters_without_a_meaning_are_refused(parameters, message):
    cleaner = TextCleaner(**parameters)
    for call in (cleaner.fit, cleaner.transform):
        with pytest.raises(ValueError, match=message):
            call(["a"])


def test_is_a_transformer_that_needs_no_fit():
    cleaner = TextCleaner(replacements={"x": "y"})
    tags = get_tags(cleaner)
    assert tags.input_tags.string
    assert not tags.requires_fit
    assert clone(cleaner).transform(["x"]) == ["y"]
    assert pickle.loads(pickle.dumps(cleaner)).transform(["x"]) == ["y"]
    with pytest.warns(Warning, match="requires input"):  # scikit-learn has no checks for text
        assert all(r["status"] == "passed" for r in check_estimator(cleaner, on_skip=None))

"""What tokenizers of characters and of words each do."""

from __future__ import annotations

import json

import numpy as np
import pytest

from snn_estimators.text import (
    CharTokenizer,
    TextCleaner,
    WordTokenizer,
    load_corpus,
    tokenizer_from_dict,
)

# Characters


def test_an_alphabet_is_learned_in_sorted_order_with_an_unknown_token_last():
    tokenizer = CharTokenizer().fit(["banana", "cab!"])
    assert tokenizer.vocabulary_ == ["!", "a", "b", "c", "n", "\ufffd"]
    assert tokenizer.unknown_id_ == 5
    assert tokenizer.padding_id_ is None
    assert tokenizer.transform(["cXb"])[0].tolist() == [3, 5, 2]
    assert tokenizer.fit(["xy"]).vocabulary_ == ["x", "y", "\ufffd"]  # nothing stays of a first fit


def test_the_unknown_token_may_occur_in_the_text():
    tokenizer = CharTokenizer(unknown_token="b").fit(["abc"])
    assert tokenizer.vocabulary_ == ["a", "c", "b"]
    assert tokenizer.inverse_transform(tokenizer.transform(["abcz"])) == ["abcb"]
    tokenizer = CharTokenizer("abc", handle_unknown="token", unknown_token="b").fit(["abc"])
    assert tokenizer.vocabulary_ == ["a", "b", "c"]
    assert tokenizer.unknown_id_ == 1


@pytest.mark.parametrize(
    ("preset", "alphabet", "padding_id"),
    [
        ("spikedecoder", "abcdefghijklmnopqrstuvwxyz.'P ", 28),
        ("spikedecoder-32", "abcdefghijklmnopqrstuvwxyz.'SEP ", 30),
    ],
)
def test_presets(preset, alphabet, padding_id):
    tokenizer = CharTokenizer(preset).fit(["any text"])
    assert "".join(tokenizer.vocabulary_) == alphabet
    assert tokenizer.padding_id_ == padding_id
    assert tokenizer.unknown_id_ is None
    assert tokenizer.transform([alphabet])[0].tolist() == list(range(len(alphabet)))


@pytest.mark.parametrize("call", ["fit", "transform", "fit_transform"])
@pytest.mark.parametrize("character", ["é", "A", "\U0001f600", "\x00"])
def test_a_character_outside_the_alphabet_is_named(call, character):
    tokenizer = CharTokenizer("abc ").fit(["abc"])
    with pytest.raises(ValueError, match="Document 1 has the character") as error:
        getattr(tokenizer, call)(["cab", f"a b{character} {character}"])
    for part in (repr(character), "position 3", "TextCleaner", "handle_unknown='token'"):
        assert part in str(error.value)


def test_handle_unknown_is_what_it_was_in_fit():
    tokenizer = CharTokenizer(handle_unknown="error").fit(["ab"])
    assert tokenizer.vocabulary_ == ["a", "b"]
    assert tokenizer.unknown_id_ is None
    tokenizer.set_params(handle_unknown="token")
    with pytest.raises(ValueError, match="'c'"):
        tokenizer.transform(["abc"])
    assert tokenizer.fit(["ab"]).transform(["abc"])[0].tolist() == [0, 1, 2]


def test_odd_characters_survive():
    text = "\x00\u00e9\u4e2d\U0001f600\U0010ffff\ud800\n\u2028"
    tokenizer = CharTokenizer(handle_unknown="error").fit([text])
    copy = tokenizer_from_dict(json.loads(json.dumps(tokenizer.to_dict())))
    ids = copy.transform([text])
    assert len(ids[0]) == len(text)
    assert copy.inverse_transform(ids) == [text]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"alphabet": "abca"}, "repeats 'a'"),
        ({"alphabet": "spikedecoder-30"}, "one of the names"),
        ({"alphabet": ""}, "is empty"),
        ({"alphabet": 3}, "'alphabet' parameter of CharTokenizer"),
        ({"handle_unknown": "ignore"}, "'handle_unknown' parameter of CharTokenizer"),
        ({"unknown_token": "<unk>"}, "single character"),
        ({"unknown_token": None}, "'unknown_token' parameter of CharTokenizer"),
    ],
)
def test_char_parameters_without_a_meaning_are_refused(parameters, message):
    with pytest.raises(ValueError, match=message):
        CharTokenizer(**parameters).fit(["abc"])
    with pytest.raises(ValueError, match="parameter"):
        CharTokenizer().set_params(alphabets="abc")


@pytest.mark.slow
def test_a_whole_book_goes_through(shared):
    book = load_corpus(shared / "data" / "war_and_peace.txt")
    tokenizer = CharTokenizer().fit(book)
    assert tokenizer.inverse_transform(tokenizer.transform(book)) == book


# Words


def test_words_come_by_frequency_then_alphabet():
    tokenizer = WordTokenizer().fit(["b a c b.", "a d."])
    assert tokenizer.vocabulary_ == ["<pad>", "<unk>", ".", "a", "b", "c", "d"]
    assert (tokenizer.padding_id_, tokenizer.unknown_id_) == (0, 1)
    assert tokenizer.fit(["d. b", "c a b a."]).vocabulary_[2:] == [".", "a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don't stop.", "Don't stop ."),
        ("(a-b) ... c", "( a - b ) . . . c"),
        ("'tis 3.5 %", "' tis 3 . 5 %"),
        ("naïve Ünal_2", "naïve Ünal_2"),
    ],
)
def test_words_and_punctuation_marks_are_tokens(text, words):
    tokenizer = WordTokenizer()
    assert tokenizer.inverse_transform(tokenizer.fit_transform([text])) == [words]


@pytest.mark.parametrize("max_size", [3, 4, 6, 100])
def test_max_size_counts_the_special_tokens(max_size):
    tokenizer = WordTokenizer(max_size=max_size).fit(["a a a b b c d"])
    assert tokenizer.n_tokens_ == min(max_size, 6)
    assert tokenizer.vocabulary_[2] == "a"


def test_rare_words_are_unknown():
    tokenizer = WordTokenizer(min_frequency=2).fit(["a a b"])
    assert tokenizer.inverse_transform(tokenizer.transform(["a b c"])) == ["a <unk> <unk>"]


def test_lowercase():
    tokenizer = WordTokenizer(lowercase=True).fit(["The the"])
    assert tokenizer.vocabulary_[2:] == ["the"]
    assert tokenizer.transform(["THE"])[0].tolist() == [2]


def test_without_special_tokens_an_unknown_word_is_an_error():
    tokenizer = WordTokenizer(unknown_token=None, padding_token=None).fit(["a cat"])
    assert tokenizer.vocabulary_ == ["a", "cat"]
    assert tokenizer.unknown_id_ is tokenizer.padding_id_ is None
    with pytest.raises(ValueError, match=r"Document 1 has the word 'dog' at position 1"):
        tokenizer.transform(["a cat", "a dog"])


def test_special_tokens_in_the_text_are_not_doubled():
    tokenizer = WordTokenizer(pattern=r"\S+").fit(["a <unk> <unk> b"])
    assert tokenizer.vocabulary_ == ["<pad>", "<unk>", "a", "b"]


def test_words_of_cleaned_text_split_on_white_space():
    cleaned = TextCleaner("spikedecoder-words").transform(["Is it? 'Tis  mine; yes!"])
    tokenizer = WordTokenizer(pattern=r"\S+")
    assert tokenizer.inverse_transform(tokenizer.fit_transform(cleaned)) == [
        "is it . 'tis mine yes ."
    ]


def test_parameters_that_a_search_draws_can_be_saved(tmp_path):
    tokenizer = WordTokenizer(min_frequency=np.int64(1), lowercase=np.bool_(True)).fit(["a cat"])
    tokenizer.save(tmp_path / "tokenizer.json")
    assert WordTokenizer.load(tmp_path / "tokenizer.json").min_frequency == 1


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"min_frequency": 0}, "'min_frequency' parameter of WordTokenizer"),
        ({"min_frequency": 1.5}, "'min_frequency' parameter of WordTokenizer"),
        ({"min_frequency": 9}, "No word is left"),
        ({"max_size": 2}, "No word is left"),
        ({"pattern": r"\d"}, "No word is left"),
        ({"pattern": "("}, "not a regular expression"),
        ({"pattern": "(a)b"}, "capturing group"),
        ({"lowercase": "yes"}, "'lowercase' parameter of WordTokenizer"),
        ({"unknown_token": "<pad>"}, "must be different"),
        ({"unknown_token": ""}, "must be different"),
    ],
)
def test_word_parameters_without_a_meaning_are_refused(parameters, message):
    with pytest.raises(ValueError, match=message):
        WordTokenizer(**parameters).fit(["a cat"])

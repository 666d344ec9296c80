"""Round trips, vocabularies, files and failures of the tokenizers."""

from __future__ import annotations

import itertools
import json
import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import check_estimator

from snn_estimators.text import (
    BaseTokenizer,
    BPETokenizer,
    CharTokenizer,
    PretrainedTokenizer,
    TextCleaner,
    WordTokenizer,
    load_corpus,
    make_tokenizer,
    tokenizer_from_dict,
)

DOCUMENTS = ["The cat sat on the mat.", "A dog — naïve, \U0001f600 — didn't.", "", "The end\n"]
TOKENIZERS = [
    CharTokenizer(),
    CharTokenizer(handle_unknown="error"),
    CharTokenizer("abcdefghijklmnopqrstuvwxyz .", handle_unknown="token", unknown_token="_"),
    WordTokenizer(),
    WordTokenizer(min_frequency=2, lowercase=True),
    WordTokenizer(pattern=r"\S+", padding_token=None, max_size=5),
    BPETokenizer(),
    BPETokenizer(258, special_tokens=("<end>",)),
    PretrainedTokenizer(),
]
each_tokenizer = pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=repr, indirect=True)


@pytest.fixture
def tokenizer(request):
    """Each of the above; the pretrained one from a folder instead of the hub."""
    tokenizer = clone(request.param)
    if isinstance(tokenizer, BPETokenizer):
        pytest.importorskip("tokenizers")
    if isinstance(tokenizer, PretrainedTokenizer):
        tokenizer.set_params(name_or_path=request.getfixturevalue("pretrained_folder"))
    return tokenizer


# What all tokenizers have in common


@each_tokenizer
def test_ids_are_one_int64_array_a_document_and_index_the_vocabulary(tokenizer):
    tokenizer = clone(tokenizer)
    ids = tokenizer.fit_transform(iter(DOCUMENTS))
    assert [a.dtype for a in ids] == [np.int64] * len(DOCUMENTS)
    assert [a.ndim for a in ids] == [1] * len(DOCUMENTS)
    assert ids[2].size == 0
    everything = np.concatenate(ids)
    assert 0 <= everything.min() <= everything.max() < tokenizer.n_tokens_
    assert len(tokenizer.vocabulary_) == len(set(tokenizer.vocabulary_)) == tokenizer.n_tokens_


@each_tokenizer
def test_decoding_and_encoding_again_changes_nothing(tokenizer):
    tokenizer = clone(tokenizer).set_params(**_splitting_on_spaces(tokenizer))
    ids = tokenizer.fit_transform(DOCUMENTS)
    again = tokenizer.transform(tokenizer.inverse_transform(ids))
    for one, other in zip(ids, again, strict=True):
        np.testing.assert_array_equal(one, other)


def _splitting_on_spaces(tokenizer):
    """Parameters with which decoded special tokens are words again."""
    return {"pattern": r"\S+"} if isinstance(tokenizer, WordTokenizer) else {}


@each_tokenizer
def test_stream_concatenates_to_the_decoded_document(tokenizer):
    tokenizer = clone(tokenizer).fit(DOCUMENTS)
    every_id = np.arange(tokenizer.n_tokens_)
    for ids in [*tokenizer.transform(DOCUMENTS), every_id]:
        pieces = list(tokenizer.decode_stream(iter(ids.tolist())))
        assert len(pieces) - len(ids) in (0, 1)  # one more for bytes that complete no character
        assert "".join(pieces) == tokenizer.inverse_transform([ids])[0]


def test_stream_is_lazy():
    tokenizer = WordTokenizer().fit(["a b"])
    endless = itertools.cycle(tokenizer.transform(["a b"])[0])
    assert list(itertools.islice(tokenizer.decode_stream(endless), 3)) == ["a", " b", " a"]


@each_tokenizer
def test_padding_is_left_out_of_decoded_text(tokenizer):
    tokenizer = clone(tokenizer).fit(DOCUMENTS)
    ids = tokenizer.transform(DOCUMENTS[:1])[0]
    padded = np.concatenate([ids, [-1, -1]])
    assert tokenizer.inverse_transform([padded]) == tokenizer.inverse_transform([ids])
    assert "".join(tokenizer.decode_stream(padded)) == tokenizer.inverse_transform([ids])[0]


@pytest.mark.slow
@each_tokenizer
@pytest.mark.parametrize("container", [tuple, np.array, pd.Series])
def test_the_container_of_the_documents_does_not_matter(tokenizer, container):
    expected = clone(tokenizer).fit(DOCUMENTS).to_dict()
    assert clone(tokenizer).fit(container(DOCUMENTS)).to_dict() == expected


@each_tokenizer
def test_survives_pickle_joblib_json_and_clone(tokenizer, tmp_path):
    tokenizer = clone(tokenizer).fit(DOCUMENTS)
    expected = tokenizer.transform(DOCUMENTS)
    joblib.dump(tokenizer, tmp_path / "tokenizer.joblib")
    tokenizer.save(tmp_path / "tokenizer.json")
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["tokenizer.joblib", "tokenizer.json"]
    copies = [
        pickle.loads(pickle.dumps(tokenizer)),
        joblib.load(tmp_path / "tokenizer.joblib"),
        tokenizer_from_dict(json.loads(json.dumps(tokenizer.to_dict()))),
        type(tokenizer).load(tmp_path / "tokenizer.json"),
        BaseTokenizer.load(tmp_path / "tokenizer.json"),
        clone(tokenizer).fit(DOCUMENTS),
    ]
    for copy in copies:
        assert type(copy) is type(tokenizer)
        assert copy.to_dict() == tokenizer.to_dict()
        for one, other in zip(expected, copy.transform(DOCUMENTS), strict=True):
            np.testing.assert_array_equal(one, other)
    with pytest.raises(NotFittedError):
        clone(tokenizer).transform(DOCUMENTS)


@each_tokenizer
def test_refuses_to_work_before_fit(tokenizer):
    tokenizer = clone(tokenizer)
    for call in (
        lambda: tokenizer.transform(DOCUMENTS),
        lambda: tokenizer.inverse_transform([[0]]),
        lambda: tokenizer.decode_stream([0]),
        lambda: tokenizer.to_dict(),
    ):
        with pytest.raises(NotFittedError):
            call()


@each_tokenizer
def test_tags_and_scikit_learn_checks(tokenizer):
    tags = get_tags(tokenizer)
    assert tags.input_tags.string
    assert not tags.input_tags.two_d_array
    assert tags.requires_fit
    with pytest.warns(Warning, match="requires input"):  # it has no checks for text
        results = check_estimator(clone(tokenizer), on_skip=None)
    assert all(r["status"] == "passed" for r in results)


@pytest.mark.parametrize(
    ("ids", "error", "message"),
    [
        ([0, 1], TypeError, "list of one-dimensional arrays"),
        ([[[0, 1]]], TypeError, "2 dimensions"),
        ([[0.5]], TypeError, "float64"),
        ([[0], [99]], ValueError, "Item 1 holds the id 99, but the vocabulary has"),
        ([[-2]], ValueError, "id -2"),
    ],
)
def test_ids_that_are_none_are_refused(ids, error, message):
    with pytest.raises(error, match=message):
        CharTokenizer().fit(DOCUMENTS).inverse_transform(ids)


def test_stream_refuses_ids_that_are_none():
    stream = CharTokenizer().fit(["ab"]).decode_stream([0, 99])
    assert next(stream) == "a"
    with pytest.raises(ValueError, match="id 99"):
        next(stream)


def test_a_table_of_ids_is_decoded_row_by_row():
    assert CharTokenizer("abc").fit(["abc"]).inverse_transform(np.array([[0, 1], [2, -1]])) == [
        "ab",
        "c",
    ]


@pytest.mark.parametrize("name", ["char", "word", "bpe", "pretrained"])
def test_tokenizers_are_found_by_name(name):
    tokenizer = make_tokenizer(name)
    assert tokenizer.type_name == name
    assert tokenizer is not make_tokenizer(name)


def test_an_unknown_name_is_refused():
    with pytest.raises(ValueError, match=r"no tokenizer of type 'chars'.*'char'"):
        make_tokenizer("chars")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"type": "none"}, "no tokenizer of type 'none'"),
        ({"type": None}, "no tokenizer of type None"),
        ({"parameters": {"alphabets": "ab"}}, "'parameters' of a char tokenizer"),
        ({"parameters": 3}, "'parameters' of a char tokenizer"),
        ({"parameters": {"alphabet": 3}}, "'alphabet' parameter of CharTokenizer"),
        ({"vocabulary": None}, "list of at least one string"),
        ({"vocabulary": []}, "list of at least one string"),
        ({"vocabulary": ["a", 3]}, "distinct strings"),
        ({"vocabulary": ["a", "a"]}, "distinct strings"),
        ({"vocabulary": ["a", "bc"]}, "single characters"),
        ({"unknown_id": 17}, "got 17"),
        ({"padding_id": "0"}, "got '0'"),
    ],
)
def test_a_damaged_dictionary_is_refused(damage, message):
    d = CharTokenizer("ab").fit(["ab"]).to_dict()
    assert tokenizer_from_dict(d).n_tokens_ == 2
    with pytest.raises(ValueError, match=message):
        tokenizer_from_dict({**d, **damage})


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"type": "char"}'])
def test_a_file_without_a_tokenizer_is_refused(content, tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="tokenizer"):
        CharTokenizer.load(path)


def test_a_file_with_another_tokenizer_is_refused(tmp_path):
    tokenizer = WordTokenizer().fit(["a cat"])
    tokenizer.save(tmp_path / "tokenizer.json")
    with pytest.raises(ValueError, match="holds a WordTokenizer, not a CharTokenizer"):
        CharTokenizer.load(tmp_path / "tokenizer.json")
    with pytest.raises(ValueError, match="not a CharTokenizer"):
        CharTokenizer.from_dict(tokenizer.to_dict())


def test_a_failed_save_leaves_the_old_file_alone(tmp_path):
    path = tmp_path / "tokenizer.json"
    tokenizer = WordTokenizer().fit(["a cat"])
    tokenizer.save(path)
    before = path.read_bytes()
    tokenizer.pattern = object()  # nothing that JSON can hold
    with pytest.raises(TypeError):
        tokenizer.save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_pipeline_of_cleaner_and_tokenizer():
    pipeline = make_pipeline(TextCleaner(), CharTokenizer())
    pipeline.set_params(chartokenizer__alphabet="spikedecoder")
    ids = clone(pipeline).fit_transform(["Hello, World!", "3 Cats?"])
    assert pipeline.fit(["x"]).named_steps["chartokenizer"].inverse_transform(ids) == [
        "hello world. ",
        " cats. ",
    ]


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

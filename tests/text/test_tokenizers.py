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
from sklearn.utils.validation import check_is_fitted

from snn_estimators.text import (
    BaseTokenizer,
    BPETokenizer,
    CharTokenizer,
    PretrainedTokenizer,
    TextCleaner,
    WordTokenizer,
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
GIVEN = [*TOKENIZERS[2:3], CharTokenizer("spikedecoder"), PretrainedTokenizer()]
"""Those whose parameters give the vocabulary."""
LEARN = [*TOKENIZERS[:2], *TOKENIZERS[3:-1]]
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


@pytest.mark.parametrize("tokenizer", LEARN, ids=repr, indirect=True)
def test_refuses_to_work_before_fit(tokenizer):
    tokenizer = clone(tokenizer.fit(DOCUMENTS))
    for call in (
        lambda: tokenizer.transform(DOCUMENTS),
        lambda: tokenizer.inverse_transform([[0]]),
        lambda: tokenizer.decode_stream([0]),
        lambda: tokenizer.to_dict(),
    ):
        with pytest.raises(NotFittedError):
            call()
    with pytest.raises(NotFittedError):
        check_is_fitted(tokenizer)


@pytest.mark.parametrize("tokenizer", GIVEN, ids=repr, indirect=True)
def test_a_given_vocabulary_needs_no_fit(tokenizer):
    documents = ["the cat", "on the mat"]
    fitted = clone(tokenizer).fit(documents)
    ids = fitted.transform(documents)
    check_is_fitted(tokenizer)
    assert not hasattr(tokenizer, "vocabulary_")
    for use in (
        lambda new: new.transform(documents),
        lambda new: new.inverse_transform(ids),
        lambda new: list(new.decode_stream(ids[1])),
        lambda new: new.to_dict(),
        lambda new: make_pipeline(new).transform(documents),
        lambda new: pickle.loads(pickle.dumps(new)).transform(documents),
    ):
        new = clone(tokenizer)
        assert repr(use(new)) == repr(use(fitted))
    assert new.set_params(**fitted.get_params()).fit(documents).n_tokens_ == fitted.n_tokens_


def test_a_given_vocabulary_that_is_none_is_refused_when_it_is_used():
    with pytest.raises(ValueError, match="alphabet='abca' repeats 'a'"):
        CharTokenizer("abca").transform(["a"])
    with pytest.raises(ValueError, match="'q'"):
        CharTokenizer("abc").transform(["q"])


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

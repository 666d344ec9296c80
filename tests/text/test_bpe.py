"""Byte-pair encoding: any text comes back, training is deterministic, streams are text."""

from __future__ import annotations

import copy
import json
import subprocess
import sys

import numpy as np
import pytest

from snn_estimators.text import BPETokenizer, tokenizer_from_dict

pytest.importorskip("tokenizers")

TEXT = "the cat sat on the mat, the dog saw the cat. naïve 日本語 日本 \U0001f600\U0001f600 " * 3


@pytest.fixture(scope="module")
def fitted() -> BPETokenizer:
    return BPETokenizer(vocab_size=280, special_tokens=("<end>",)).fit([TEXT])


def random_texts(rng: np.random.Generator) -> list[str]:
    """Characters of one to four bytes, without the surrogates."""
    texts = []
    for largest in (0x80, 0x800, 0x10000, 0x110000):
        points = rng.integers(largest, size=200)
        points = points[(points < 0xD800) | (points > 0xDFFF)]
        texts.append("".join(map(chr, points)))
    return texts


# Training


def test_the_vocabulary_is_special_tokens_then_bytes_then_joined_pairs(fitted):
    assert fitted.vocabulary_[0] == "<end>"
    assert {len(token) for token in fitted.vocabulary_[1:257]} == {1}
    assert all(len(token) > 1 for token in fitted.vocabulary_[257:])
    assert "Ġthe" in fitted.vocabulary_
    assert fitted.n_tokens_ == 280
    assert fitted.unknown_id_ is fitted.padding_id_ is None


def test_the_characters_of_the_training_text_are_told(fitted):
    assert fitted.characters_ == "".join(sorted(set(TEXT)))
    assert tokenizer_from_dict(fitted.to_dict()).characters_ == fitted.characters_


def test_the_smallest_vocabulary_is_the_bytes():
    tokenizer = BPETokenizer(vocab_size=256).fit([TEXT])
    assert tokenizer.n_tokens_ == 256
    assert [len(ids) for ids in tokenizer.transform(["abc", "ï", "日"])] == [3, 2, 3]


def test_frequent_pairs_are_joined_first():
    text = "ab " * 9 + "cd " * 5 + "ef"
    tokens = BPETokenizer().fit([text]).vocabulary_[256:]
    assert tokens == ["ab", "Ġab", "cd", "Ġcd"]
    assert BPETokenizer(min_frequency=6).fit([text]).vocabulary_[256:] == tokens[:2]
    assert BPETokenizer(max_token_length=2).fit([text]).vocabulary_[256:] == ["ab", "cd"]
    assert "ef" in BPETokenizer(min_frequency=1).fit([text]).vocabulary_


def test_more_tokens_make_shorter_documents():
    lengths = [len(BPETokenizer(n).fit_transform([TEXT])[0]) for n in (256, 270, 290)]
    assert lengths == sorted(set(lengths), reverse=True)


@pytest.mark.slow
def test_training_is_deterministic(fitted):
    again = BPETokenizer(vocab_size=280, special_tokens=["<end>"])
    assert again.fit([TEXT]).to_dict() == fitted.to_dict()
    assert again.fit(["other text"]).fit([TEXT]).to_dict() == fitted.to_dict()
    script = (
        "import json, sys; from snn_estimators.text import BPETokenizer;"
        "t = BPETokenizer(vocab_size=280, special_tokens=['<end>']).fit([sys.argv[1]]);"
        "print(json.dumps(t.to_dict()))"
    )
    told = subprocess.run(
        [sys.executable, "-c", script, TEXT], capture_output=True, text=True, check=True
    )
    assert json.loads(told.stdout) == fitted.to_dict()


@pytest.mark.slow
def test_a_fork_after_training_is_silent():
    script = (
        "import os; from snn_estimators.text import BPETokenizer;"
        "t = BPETokenizer().fit(['a cat, a cat']); child = os.fork();"
        "t.transform(['a cat']); BPETokenizer().fit(['a cat, a cat']);"
        "os.waitpid(child, 0) if child else os._exit(0)"
    )
    told = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, check=True
    )
    assert told.stdout + told.stderr == ""


def test_parameters_that_a_search_draws_are_fine():
    tokenizer = BPETokenizer(np.int64(257), np.int64(1), max_token_length=np.int64(9))
    d = json.loads(json.dumps(tokenizer.fit([TEXT]).to_dict()))
    assert tokenizer_from_dict(d).get_params() == {
        "vocab_size": 257,
        "min_frequency": 1,
        "max_token_length": 9,
        "special_tokens": [],
    }


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"vocab_size": 255}, "vocab_size=255 is too small: the 256 bytes and 0 .* at least 256"),
        ({"vocab_size": 256, "special_tokens": ["<a>"]}, "at least 257"),
        ({"vocab_size": 0}, "'vocab_size' parameter of BPETokenizer"),
        ({"vocab_size": 300.0}, "'vocab_size' parameter of BPETokenizer"),
        ({"min_frequency": 0}, "'min_frequency' parameter of BPETokenizer"),
        ({"max_token_length": 0}, "'max_token_length' parameter of BPETokenizer"),
        ({"special_tokens": "<a>"}, "'special_tokens' parameter of BPETokenizer"),
        ({"special_tokens": ["<a>", "<a>"]}, "special_tokens must be different"),
        ({"special_tokens": [""]}, "special_tokens must be different"),
        ({"special_tokens": ["Ġthe"]}, "ASCII"),
        ({"special_tokens": [3]}, "special_tokens must be different"),
    ],
)
def test_parameters_without_a_meaning_are_refused(parameters, message):
    with pytest.raises(ValueError, match=message):
        BPETokenizer(**parameters).fit([TEXT])


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(ImportError, match=r"pip install 'snn-estimators\[bpe\]'"):
        BPETokenizer().fit([TEXT])


# Encoding and decoding


@pytest.mark.slow
def test_any_text_comes_back(fitted):
    every_character = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x11000)]))
    spaces = [" ", "\n", "\r\n\t ", "  a  b ", "\x00", "\ufeff", "\ufffd\ufffd"]
    texts = [every_character, *spaces, *random_texts(np.random.default_rng(0)), "a<end>b"]
    assert fitted.inverse_transform(fitted.transform(texts)) == texts


def test_special_tokens_are_one_token_each(fitted):
    (ids,) = fitted.transform(["cat<end>cat"])
    assert (ids == 0).sum() == 1
    assert fitted.inverse_transform([ids]) == ["cat<end>cat"]


def test_streams_hold_whole_characters(fitted):
    text = "naïve \U0001f9e0日"
    (ids,) = fitted.transform([text])
    pieces = list(fitted.decode_stream(ids))
    assert "".join(pieces) == text
    assert "" in pieces  # a token that completes nothing waits for the next
    assert not any("\ufffd" in piece for piece in pieces)


def test_a_stream_cut_within_a_character_tells_it_at_the_end():
    tokenizer = BPETokenizer(vocab_size=256).fit([TEXT])
    (ids,) = tokenizer.transform(["a日"])
    for cut in (2, 3):
        pieces = list(tokenizer.decode_stream(ids[:cut]))
        assert pieces == ["a", *[""] * (cut - 1), "\ufffd"]
        assert tokenizer.inverse_transform([ids[:cut]]) == ["a\ufffd"]


def test_any_ids_decode_and_stream_as_the_library_decodes_them(fitted):
    rng = np.random.default_rng(0)
    for _ in range(200):
        ids = rng.integers(fitted.n_tokens_, size=30)
        expected = fitted.backend_.decode(ids.tolist(), skip_special_tokens=False)
        assert fitted.inverse_transform([ids]) == [expected]
        assert "".join(fitted.decode_stream(ids.tolist())) == expected


@pytest.mark.parametrize("call", ["fit", "transform"])
def test_half_a_character_is_named(call, fitted):
    with pytest.raises(
        ValueError, match=r"Document 1 has half a character \(U\+D83D\) at posit.* 2"
    ):
        getattr(copy.deepcopy(fitted), call)(["fine", "ab\ud83d"])


# Files


def test_files_hold_the_librarys_own_json(fitted, tmp_path):
    from tokenizers import Tokenizer

    fitted.save(tmp_path / "tokenizer.json")
    content = json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))
    theirs = Tokenizer.from_str(json.dumps(content["tokenizer"]))
    assert theirs.encode(TEXT).ids == fitted.transform([TEXT])[0].tolist()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"tokenizer": None}, "no JSON of the tokenizers library"),
        ({"tokenizer": {"model": {}}}, "no JSON of the tokenizers library"),
        ({"tokenizer": "text"}, "no JSON of the tokenizers library"),
        ({"unknown_id": 280}, "got 280"),
        ({"characters": None}, "'characters' must be those of the text"),
        ({"parameters": {"vocab_size": "many"}}, "'vocab_size' parameter"),
    ],
)
def test_a_damaged_dictionary_is_refused(damage, message, fitted):
    with pytest.raises(ValueError, match=message):
        tokenizer_from_dict({**fitted.to_dict(), **damage})


def test_wild_ids_in_a_file_do_not_fill_the_memory(fitted):
    d = copy.deepcopy(fitted.to_dict())
    d["tokenizer"]["model"]["vocab"]["a"] = 4_000_000_000
    with pytest.raises(ValueError, match="without gaps"):
        tokenizer_from_dict(d)


def test_deep_copies_are_fitted(fitted):
    other = copy.deepcopy(fitted)
    assert other.backend_ is not fitted.backend_
    assert other.transform([TEXT])[0].tolist() == fitted.transform([TEXT])[0].tolist()

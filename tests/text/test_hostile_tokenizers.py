"""Tokenizers from files that do not end, or make their library panic."""

from __future__ import annotations

import json
import time

import pytest

from snn_estimators.text import BPETokenizer, WordTokenizer, tokenizer_from_dict

pytest.importorskip("tokenizers")

SLOW = ["(a+)+$", "(x*)*y", "(?:a|a)*b", r"(\w+\s?)*!"]


def word(pattern):
    content = WordTokenizer().fit(["a word"]).to_dict()
    content["parameters"]["pattern"] = pattern
    return content


def pairs(**changes):
    content = BPETokenizer(vocab_size=260).fit(["to be or not to be"]).to_dict()
    for name, value in changes.items():
        content["tokenizer"][name] = value
    return content


def split(pattern):
    return pairs(
        pre_tokenizer={
            "type": "Split",
            "pattern": {"Regex": pattern},
            "behavior": "Isolated",
            "invert": False,
        }
    )


@pytest.mark.slow
@pytest.mark.parametrize("pattern", SLOW)
def test_a_pattern_without_bound(pattern):
    for content in (word(pattern), split(pattern)):
        try:
            tokenizer = tokenizer_from_dict(content)
        except ValueError as error:
            assert "takes more than 1 s" in str(error)
        else:  # an engine may have a remedy for it
            started = time.process_time()
            tokenizer.transform(["a" * 500 + "!", "xy" * 200])
            assert time.process_time() - started < 1


@pytest.mark.slow
@pytest.mark.parametrize("pattern", [r"\w+|\S", r"[a-z]+(?:-[a-z]+)*", r"\d{1,3}|[^\d\s]+"])
def test_patterns_of_ones_own(pattern):
    tokenizer = tokenizer_from_dict(word(pattern))
    assert tokenizer.transform(["a word"])[0].tolist() == [2, 3]
    assert tokenizer_from_dict(split(pattern)).transform(["to be"])


@pytest.mark.slow
@pytest.mark.parametrize("pattern", ["(", "(a)"])
def test_what_is_no_pattern(pattern):
    with pytest.raises(ValueError, match=r"pattern='\(a?\)?' (is no|has a)"):
        tokenizer_from_dict(word(pattern))


def test_a_panic_on_load():
    content = pairs()
    content["tokenizer"]["model"]["continuing_subword_prefix"] = "a long prefix"
    with pytest.raises(ValueError, match=r"no JSON of the tokenizers library: .* gave up"):
        tokenizer_from_dict(content)


def test_a_panic_in_use():
    tokenizer = tokenizer_from_dict(pairs(pre_tokenizer={"type": "FixedLength", "length": 0}))
    with pytest.raises(ValueError, match=r"Document 0 cannot be encoded: .* gave up"):
        tokenizer.transform(["to be"])
    strip = {"type": "Strip", "content": "a", "start": 5, "stop": 9}
    tokenizer = tokenizer_from_dict(pairs(decoder=strip))
    with pytest.raises(ValueError, match="gave up"):
        tokenizer.inverse_transform([list(range(256))])


def test_nesting(tmp_path):
    (tmp_path / "tokenizer.json").write_text(json.dumps("x").join(["[" * 5000, "]" * 5000]))
    with pytest.raises(ValueError, match="does not hold a tokenizer: it is nested"):
        WordTokenizer.load(tmp_path / "tokenizer.json")

"""Long documents in blocks: the same result, and no more memory than the blocks need."""

import json
import re
import tracemalloc

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from snn_estimators.text import (
    BPETokenizer,
    CharTokenizer,
    PretrainedTokenizer,
    TextCleaner,
    WordTokenizer,
    _blocks,
    spelling_bits,
)
from snn_estimators.text._blocks import AT_WHITE_SPACE, BETWEEN_WORDS, cut, distinct_characters
from snn_estimators.text._huggingface import _splits_words

TEXTS = st.text(st.sampled_from("ab Bé.,'\n\t\x1c\u3000-!1Σ字"), min_size=1, max_size=60)
LENGTHS = st.integers(1, 20)
SENTENCE = "It was. . . no\n\n\nPrince--so (Mr. A. B.) said 3.14   times!Well, he's 'ere \tagain; "


def whole_and_blocks(work, length, monkeypatch_context):
    """Return what `work` returns with documents as one block, and with blocks of a length."""
    whole = work()
    with monkeypatch_context() as patch:
        patch.setattr(_blocks, "BLOCK_LENGTH", length)
        return whole, work()


@given(TEXTS, LENGTHS, st.sampled_from([None, AT_WHITE_SPACE, BETWEEN_WORDS]))
def test_blocks_add_up_and_are_as_long_as_asked(text, length, places):
    blocks = list(cut(text, places, length=length))

    assert "".join(blocks) == text
    assert all(len(block) >= length for block in blocks[:-1])


def test_documents_are_cut_where_they_may_be():
    assert list(cut("to be or not", BETWEEN_WORDS, length=1)) == ["to", " be", " or", " not"]
    assert list(cut("a. b  c\nd", BETWEEN_WORDS, length=1)) == ["a. b  c\nd"]
    assert list(cut("a. b\nc\n\nd", AT_WHITE_SPACE, length=1)) == ["a.", " b", "\nc", "\n\nd"]


def test_texts_that_are_one_are_never_cut():
    blocks = cut("a b <x y> c d", BETWEEN_WORDS, never_within=["<x y>"], length=1)

    assert list(blocks) == ["a", " b <x y> c", " d"]


@given(st.lists(TEXTS))
def test_distinct_characters_are_sorted(documents):
    assert distinct_characters(documents) == sorted(set().union(*documents))


TOKENIZERS = {
    "char": CharTokenizer(),
    "word": WordTokenizer(min_frequency=2, lowercase=True),
    "white-space": WordTokenizer(pattern=r"\S+"),
    "user-defined": WordTokenizer(pattern=r"\w+(?: b)?|\s"),
    "bpe": BPETokenizer(270),
    "special": BPETokenizer(270, special_tokens=("a b", "b.", " a")),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", TOKENIZERS)
@given(text=TEXTS, length=LENGTHS)
@example(text=SENTENCE, length=7)
@settings(max_examples=40, deadline=None)
def test_ids_of_blocks_are_those_of_the_whole(name, text, length):
    documents = [text, SENTENCE, f"{text} a b c ab.  b a\nab {text}"]

    def work():
        tokenizer = TOKENIZERS[name].fit(documents)
        ids = [ids.tolist() for ids in tokenizer.transform(documents)]
        return tokenizer.to_dict(), ids, spelling_bits(tokenizer, documents).tolist()

    whole, blocks = whole_and_blocks(work, length, pytest.MonkeyPatch.context)

    assert blocks == whole


@given(text=TEXTS, length=LENGTHS)
@settings(max_examples=40, deadline=None)
def test_ids_of_blocks_of_pretrained_tokenizers_are_those_of_the_whole(backend, text, length):
    documents = [f"{text} a b c  d ab\n{text} ä b"]

    def work():
        return [ids.tolist() for ids in backend.transform(documents)]

    whole, blocks = whole_and_blocks(work, length, pytest.MonkeyPatch.context)

    assert blocks == whole


@pytest.fixture(params=["bert", "metaspace", "gpt2"], scope="module")
def backend(request, tmp_path_factory):
    """Return a tokenizer as published ones are made."""
    library = pytest.importorskip("tokenizers")
    normalizers, pre = library.normalizers, library.pre_tokenizers
    models = library.models
    parts = {
        "bert": (normalizers.BertNormalizer(), pre.BertPreTokenizer(), models.WordPiece),
        "metaspace": (normalizers.NFKC(), pre.Metaspace(), models.BPE),
        "gpt2": (None, pre.ByteLevel(add_prefix_space=True), models.BPE),
    }
    normalizer, splitter, model = parts[request.param]
    made = library.Tokenizer(model(unk_token="<unk>"))
    if normalizer is not None:
        made.normalizer = normalizer
    made.pre_tokenizer = splitter
    trainers = {models.BPE: library.trainers.BpeTrainer}
    trainer = trainers.get(model, library.trainers.WordPieceTrainer)
    options = {"vocab_size": 300, "special_tokens": ["<unk>", "<a b>"], "show_progress": False}
    made.train_from_iterator([SENTENCE, "a b c ab Bé 字"], trainer(**options))
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    made.save(str(path))
    tokenizer = PretrainedTokenizer(path).fit(["a"])
    assert tokenizer._splits_words
    return tokenizer


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ({"pre_tokenizer": {"type": "ByteLevel", "use_regex": True}}, True),
        ({"pre_tokenizer": {"type": "ByteLevel", "use_regex": False}}, False),
        ({"pre_tokenizer": {"type": "Metaspace", "split": False}}, False),
        ({"pre_tokenizer": None}, False),
        ({"pre_tokenizer": {"type": "WhitespaceSplit"}, "normalizer": {"type": "Strip"}}, False),
        (
            {
                "pre_tokenizer": {
                    "type": "Sequence",
                    "pretokenizers": [{"type": "WhitespaceSplit"}, {"type": "Metaspace"}],
                },
                "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}]},
            },
            True,
        ),
    ],
    ids=json.dumps,
)
def test_only_tokenizers_that_split_words_first_get_blocks(parts, expected):
    assert _splits_words(parts) is expected


RECIPES = {
    "spikedecoder": TextCleaner(),
    "words": TextCleaner("spikedecoder-words"),
    "nothing": TextCleaner(None),
    "across": TextCleaner(replacements={"a b": "c", "b ": "d"}),
    "initials": TextCleaner(replacements={" ": "Q."}, space_punctuation=True),
    "no-space": TextCleaner(None, keep="a-zé", filler="_"),
    "spaces": TextCleaner(None, collapse_spaces=True, final_replacements={" .": "."}),
    "sigma": TextCleaner(None, lowercase="first", space_punctuation=True),
}


@pytest.mark.parametrize("name", RECIPES)
@given(text=TEXTS, length=LENGTHS)
@example(text=SENTENCE, length=7)
@settings(max_examples=40, deadline=None)
def test_blocks_are_cleaned_like_the_whole(name, text, length):
    documents = [text, f"{text} a b ab a. b a b Q. b a b {text}"]

    whole, blocks = whole_and_blocks(
        lambda: RECIPES[name].transform(documents), length, pytest.MonkeyPatch.context
    )

    assert blocks == whole


@given(TEXTS)
def test_white_space_collapses_as_one_expects(text):
    cleaned = TextCleaner(None, collapse_spaces=True).transform([text])

    assert cleaned == [re.sub(r"\s+", " ", text)]


@pytest.mark.parametrize(
    ("tokenizer", "message"),
    [
        (CharTokenizer("ab "), "Document 1 has the character 'é' .* at position 8"),
        (
            WordTokenizer(unknown_token=None),
            r"Document 1 has the word 'é' at position 4 \(in words",
        ),
    ],
)
def test_errors_name_the_position_in_the_document(tokenizer, message, monkeypatch):
    monkeypatch.setattr(_blocks, "BLOCK_LENGTH", 3)
    tokenizer.fit(["a b a b"])

    with pytest.raises(ValueError, match=message):
        tokenizer.transform(["a", "a b a b é a"])


def test_half_characters_are_named_by_their_position_in_the_document(monkeypatch):
    monkeypatch.setattr(_blocks, "BLOCK_LENGTH", 2)

    with pytest.raises(ValueError, match=r"Document 1 .*U\+D800.*position 5"):
        BPETokenizer(270).fit(["a", "abcde\ud800"])


@pytest.mark.parametrize("name", ["char", "word"])
def test_memory_does_not_depend_on_how_text_is_cut_into_documents(name, monkeypatch):
    monkeypatch.setattr(_blocks, "BLOCK_LENGTH", 1000)
    lines = [f"{i % 97} words and {i % 89} more of them,\n" * 30 for i in range(60)]
    tokenizer, peaks = TOKENIZERS[name], []
    for documents in (lines, ["".join(lines)]):
        tokenizer.fit(documents)
        tracemalloc.start()
        n_tokens = sum(map(len, tokenizer.transform(documents)))
        peaks.append(tracemalloc.get_traced_memory()[1] / n_tokens)
        tracemalloc.stop()

    assert peaks[1] < 2.5 * peaks[0]  # parts and the whole that they are joined to


def test_no_block_that_the_library_sees_grows_with_the_document(monkeypatch):
    monkeypatch.setattr(_blocks, "BLOCK_LENGTH", 100)
    tokenizer = BPETokenizer(270).fit(["a word and another one\n" * 100])
    seen = []
    encoder = tokenizer._encoder()

    def encode(block, index):
        seen.append(len(block))
        return encoder(block, index)

    monkeypatch.setattr(tokenizer, "_encoder", lambda: encode)
    ids = tokenizer.transform(["a word and another one\n" * 300])

    assert max(seen) < 120
    assert len(ids[0]) > 1000

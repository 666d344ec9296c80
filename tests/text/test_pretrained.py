"""Tokenizers of others: as they are, from folders and files, and without network."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from snn_estimators.text import PretrainedTokenizer, tokenizer_from_dict

tokenizers = pytest.importorskip("tokenizers")

PROSE = "The cat sat on the mat. The dog, naïve as he was, saw the cat and the mat. " * 3


@pytest.fixture(scope="module")
def fitted(pretrained_folder) -> PretrainedTokenizer:
    return PretrainedTokenizer(pretrained_folder).fit([PROSE])


@pytest.mark.slow
def test_documents_are_encoded_whole_and_nothing_is_added(fitted):
    texts = [PROSE, "cat", ""]
    ids = fitted.transform(texts)
    assert len(ids[0]) > 6  # the folder's own setting cuts to 6, pads to 6 and appends <end>
    assert len(ids[2]) == 0
    assert not any(np.isin(document, [0, 1]).any() for document in ids)
    assert fitted.inverse_transform(ids) == texts


@pytest.mark.slow
def test_fit_learns_nothing_from_the_documents(fitted, pretrained_folder):
    other = PretrainedTokenizer(str(pretrained_folder)).fit(["zzz"])
    assert other.vocabulary_ == fitted.vocabulary_
    assert (fitted.n_tokens_, fitted.padding_id_, fitted.unknown_id_) == (290, 0, None)
    with pytest.raises(TypeError, match="single string"):
        other.fit("zzz")


def test_a_tokenizer_json_is_enough(fitted, pretrained_folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    from_file = PretrainedTokenizer(pretrained_folder / "tokenizer.json").fit([PROSE])
    assert from_file.vocabulary_ == fitted.vocabulary_
    assert from_file.padding_id_ == 0
    assert from_file.transform([PROSE])[0].tolist() == fitted.transform([PROSE])[0].tolist()


def test_a_saved_one_needs_neither_folder_nor_transformers(fitted, tmp_path, monkeypatch):
    fitted.save(tmp_path / "tokenizer.json")
    monkeypatch.setitem(sys.modules, "transformers", None)
    loaded = PretrainedTokenizer.load(tmp_path / "tokenizer.json")
    assert loaded.transform([PROSE])[0].tolist() == fitted.transform([PROSE])[0].tolist()
    assert loaded.name_or_path == str(fitted.name_or_path)
    d = {**fitted.to_dict(), "parameters": {"name_or_path": "/gone"}}
    gone = tokenizer_from_dict(json.loads(json.dumps(d)))
    assert gone.inverse_transform(gone.transform([PROSE])) == [PROSE]
    with pytest.raises(ValueError, match="name_or_path='/gone': there is no such folder"):
        gone.fit([PROSE])


# What cannot be had


@pytest.mark.parametrize("path", ["./nothing", "~/nothing-at-all", Path("nothing")])
def test_a_path_that_is_not_there(path):
    with pytest.raises(ValueError, match=r"name_or_path=.*nothing.*no such folder or file"):
        PretrainedTokenizer(path).fit([PROSE])


@pytest.mark.parametrize("name", ["no-such-tokenizer-here", "no/such/name", ""])
def test_a_name_that_cannot_be_had(name):
    pytest.importorskip("transformers")
    with pytest.raises(ValueError, match=r"name_or_path=.*(cannot be loaded|no such)"):
        PretrainedTokenizer(name, local_files_only=True).fit([PROSE])


def test_a_folder_or_a_file_without_a_tokenizer(tmp_path):
    pytest.importorskip("transformers")
    with pytest.raises(ValueError, match=r"name_or_path=.*cannot be loaded"):
        PretrainedTokenizer(tmp_path).fit([PROSE])
    for content in (b"", b"{}", b"\xff"):
        (tmp_path / "t.json").write_bytes(content)
        with pytest.raises(ValueError, match=r"name_or_path=.*t\.json' does not hold a tokenizer"):
            PretrainedTokenizer(tmp_path / "t.json").fit([PROSE])


def test_code_that_comes_with_a_tokenizer_is_not_run(pretrained_folder, tmp_path):
    pytest.importorskip("transformers")
    (tmp_path / "evil.py").write_text("raise SystemExit('was run')")
    config = {"auto_map": {"AutoTokenizer": ["evil.Evil", "evil.Evil"]}, "tokenizer_class": "Evil"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="cannot be loaded"):
        PretrainedTokenizer(tmp_path).fit([PROSE])


def test_one_that_runs_in_python_alone_is_refused(tmp_path):
    transformers = pytest.importorskip("transformers")
    transformers.ByT5Tokenizer().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="ByT5Tokenizer, which runs in Python alone"):
        PretrainedTokenizer(tmp_path).fit([PROSE])


def test_without_the_packages_the_extras_are_named(pretrained_folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match=r"name_or_path='gpt2'.*snn-estimators\[hub\]"):
        PretrainedTokenizer().fit([PROSE])
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(ImportError, match=r"snn-estimators\[bpe\]"):
        PretrainedTokenizer(pretrained_folder / "tokenizer.json").fit([PROSE])


@pytest.mark.parametrize(
    "parameters", [{"name_or_path": 3}, {"revision": 1}, {"local_files_only": "yes"}]
)
def test_parameters_without_a_meaning_are_refused(parameters):
    (name,) = parameters
    with pytest.raises(ValueError, match=f"'{name}' parameter of PretrainedTokenizer"):
        PretrainedTokenizer(**parameters).fit([PROSE])


# Other kinds of tokenizers


def word_piece():
    t = tokenizers.Tokenizer(tokenizers.models.WordPiece(unk_token="[UNK]"))
    t.normalizer = tokenizers.normalizers.BertNormalizer()
    t.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    t.decoder = tokenizers.decoders.WordPiece()
    return t, tokenizers.trainers.WordPieceTrainer(
        vocab_size=60, special_tokens=["[UNK]"], show_progress=False
    )


def unigram():
    t = tokenizers.Tokenizer(tokenizers.models.Unigram())
    t.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    t.decoder = tokenizers.decoders.Metaspace()
    return t, tokenizers.trainers.UnigramTrainer(
        vocab_size=60, unk_token="<unk>", special_tokens=["<unk>"], show_progress=False
    )


def byte_fallback():
    t = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token="<unk>", byte_fallback=True))
    t.normalizer = tokenizers.normalizers.Sequence(
        [tokenizers.normalizers.Prepend("▁"), tokenizers.normalizers.Replace(" ", "▁")]
    )
    t.decoder = tokenizers.decoders.Sequence(
        [
            tokenizers.decoders.Replace("▁", " "),
            tokenizers.decoders.ByteFallback(),
            tokenizers.decoders.Fuse(),
            tokenizers.decoders.Strip(" ", 1, 0),
        ]
    )
    fallback = [f"<0x{byte:02X}>" for byte in range(256)]
    return t, tokenizers.trainers.BpeTrainer(
        vocab_size=320, special_tokens=["<unk>", *fallback], show_progress=False
    )


def words_with_ends():
    t = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    t.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    t.decoder = tokenizers.decoders.BPEDecoder()
    return t, tokenizers.trainers.BpeTrainer(
        vocab_size=80, special_tokens=["<unk>"], end_of_word_suffix="</w>", show_progress=False
    )


@pytest.mark.parametrize("make", [word_piece, unigram, byte_fallback, words_with_ends])
def test_they_decode_and_stream_as_the_library_decodes(make, tmp_path):
    backend, trainer = make()
    backend.train_from_iterator([PROSE], trainer)
    backend.save(str(tmp_path / "tokenizer.json"))
    tokenizer = PretrainedTokenizer(tmp_path / "tokenizer.json").fit([PROSE])
    assert tokenizer.unknown_id_ == 0
    for text in (PROSE, "the matted dogs, he", "mat 日本\U0001f600 naïve cat"):
        (ids,) = tokenizer.transform([text])
        expected = backend.decode(ids.tolist(), skip_special_tokens=False)
        pieces = list(tokenizer.decode_stream(ids))
        assert len(pieces) == len(ids)
        assert "".join(pieces) == tokenizer.inverse_transform([ids])[0] == expected


def test_bytes_that_are_no_character_do_not_pile_up(tmp_path):
    backend, trainer = byte_fallback()
    backend.train_from_iterator([PROSE], trainer)
    backend.save(str(tmp_path / "tokenizer.json"))
    tokenizer = PretrainedTokenizer(tmp_path / "tokenizer.json").fit([PROSE])
    half = backend.token_to_id("<0x80>")
    pieces = list(tokenizer.decode_stream([half] * 40))
    assert max(map(len, pieces)) <= 4
    assert set("".join(pieces)) == {"\ufffd"}


def test_ids_without_a_token_decode_to_nothing(tmp_path):
    model = {"type": "WordLevel", "vocab": {"a": 0, "b": 1, "c": 3}, "unk_token": "a"}
    content = {"version": "1.0", "added_tokens": [], "model": model, "decoder": {"type": "Fuse"}}
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    tokenizer = PretrainedTokenizer(tmp_path / "tokenizer.json").fit([PROSE])
    assert tokenizer.vocabulary_ == ["a", "b", "<none:2>", "c"]
    assert tokenizer.inverse_transform([[1, 2, 3]]) == ["bc"]
    assert "".join(tokenizer.decode_stream([1, 2, 3])) == "bc"

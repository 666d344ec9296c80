"""Corpora that are read when they are asked for."""

import pickle
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snn_estimators.estimators import NGramLM
from snn_estimators.persistence.hashing import hash_documents
from snn_estimators.text import BPETokenizer, CharTokenizer, WordTokenizer, _streams, load_corpus

LINES = ["to be\n", "or not\n", "\n", "that is the question\n", "whether 'tis nobler"]


@pytest.fixture(autouse=True)
def _short_parts(monkeypatch):
    monkeypatch.setattr(_streams, "PART_LENGTH", 8)


@pytest.fixture
def path(tmp_path):
    """Return a file of a few lines."""
    path = tmp_path / "text.txt"
    path.write_text("".join(LINES), encoding="utf-8-sig")
    return path


def test_a_file_comes_in_parts_that_end_with_a_line(path):
    stream = load_corpus(path, stream=True)

    assert stream[0] == "to be\nor not\n"
    assert "".join(stream) == load_corpus(path)[0]
    assert stream[1] == "\nthat is the que"  # a line that is too long


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
@given(text=st.text(st.sampled_from("ab é\n\r"), min_size=1, max_size=60))
@settings(max_examples=30, deadline=None)
def test_parts_add_up_in_any_encoding(encoding, text, tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_bytes(text.encode(encoding))
    stream = load_corpus(path, stream=True, encoding=encoding)

    assert "".join(stream) == load_corpus(path, encoding=encoding)[0]
    assert [stream[i] for i in reversed(range(len(stream)))] == list(stream)[::-1]
    assert all(len(part) <= 16 for part in stream)


def test_a_folder_comes_file_by_file(tmp_path):
    for name in ("b.txt", "a.txt", "c.md"):
        (tmp_path / name).write_text(f"the file {name}\nand more")
    stream = load_corpus(tmp_path, stream=True)

    assert "".join(stream) == "".join(load_corpus(tmp_path))
    assert len(stream) == 4


def test_no_more_than_a_part_is_read_at_once(path, monkeypatch):
    lengths = []
    read = _streams._read_part
    monkeypatch.setattr(
        _streams, "_read_part", lambda file: lengths.append(len(part := read(file))) or part
    )
    monkeypatch.setattr(Path, "read_text", lambda *args, **options: pytest.fail("read as a whole"))
    stream = load_corpus(path, stream=True)
    BPETokenizer(270).fit(stream).encode(stream)

    assert sum(lengths) > 2 * sum(map(len, LINES))
    assert max(lengths) <= 16


@pytest.mark.parametrize("tokenizer", [CharTokenizer(), WordTokenizer(), BPETokenizer(270)])
def test_streams_are_documents(tokenizer, path):
    stream, documents = load_corpus(path, stream=True), list(load_corpus(path, stream=True))
    ids = tokenizer.fit(stream).encode(stream)

    assert tokenizer.to_dict() == tokenizer.fit(documents).to_dict()
    assert [one.tolist() for one in ids] == [one.tolist() for one in tokenizer.encode(documents)]
    assert hash_documents(stream) == hash_documents(documents)
    assert NGramLM(2, tokenizer=tokenizer).fit(stream).score(stream) == NGramLM(
        2, tokenizer=tokenizer
    ).fit(documents).score(documents)


def test_a_stream_travels_without_its_text(path):
    stream = pickle.loads(pickle.dumps(load_corpus(path, stream=True)))

    assert "".join(stream) == "".join(LINES)


def test_corpora_that_are_small_come_as_they_are():
    assert load_corpus("alphabet", stream=True) == load_corpus("alphabet")


@pytest.mark.parametrize("kind", ["not-text", "encoding", "empty", "stream"])
def test_what_is_wrong_is_said_before_any_work(kind, tmp_path):
    path, options = tmp_path / "text.txt", {"stream": True}
    path.write_bytes(b"" if kind == "empty" else b"a\n" * 100 + b"\xff")
    if kind == "encoding":
        options["encoding"] = "no-such"
    if kind == "stream":
        options["stream"] = "yes"
    message = {
        "not-text": "is not text in the encoding utf-8-sig",
        "encoding": "encoding='no-such' is not known",
        "empty": "are empty",
        "stream": "stream must be True or False, got 'yes'",
    }[kind]
    with pytest.raises((TypeError, ValueError), match=message):
        load_corpus(path, **options)


@pytest.mark.slow
def test_rows_of_a_data_set_are_read_in_order(tmp_path):
    datasets = pytest.importorskip("datasets")
    rows = [f"row {i}" for i in range(2500)]
    datasets.Dataset.from_dict({"text": rows}).save_to_disk(str(tmp_path / "rows"))
    stream = load_corpus(f"hub:{tmp_path / 'rows'}", stream=True)

    assert list(stream) == rows
    assert stream[7] == rows[7]
    assert stream[-2:] == rows[-2:]

    datasets.Dataset.from_dict({"text": ["a", None]}).save_to_disk(str(tmp_path / "gaps"))
    gaps = load_corpus(f"hub:{tmp_path / 'gaps'}", stream=True)
    with pytest.raises(ValueError, match="Row 1 of the data set has no text"):
        CharTokenizer().fit(gaps)

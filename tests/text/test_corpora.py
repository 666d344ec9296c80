"""Corpora: embedded, synthetic, from files and through `datasets`."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from snn_estimators.text import available_corpora, load_corpus


def test_python_docs_is_the_default():
    documents = load_corpus()
    assert documents == load_corpus("python-docs")
    assert len(documents) > 50
    assert sum(map(len, documents)) > 300_000


@pytest.mark.parametrize("length", [1, 20, 26, 27, 128])
def test_alphabet_wraps_around(length):
    windows = load_corpus("alphabet", length=length)
    assert len(windows) == 26
    assert {len(w) for w in windows} == {length}
    for start, window in enumerate(windows):
        assert [ord(c) - ord("a") for c in window] == [(start + i) % 26 for i in range(length)]


def test_random_is_uniform_and_seeded():
    (text,) = load_corpus("random", n_characters=29_000, random_state=1)
    assert [text] == load_corpus("random", n_characters=29_000, random_state=1)
    assert [text] != load_corpus("random", n_characters=29_000, random_state=2)
    characters, counts = np.unique(list(text), return_counts=True)
    assert "".join(characters) == " '.abcdefghijklmnopqrstuvwxyz"
    assert counts.min() > 800
    assert counts.max() < 1200


def test_random_leaves_the_global_generator_alone():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    load_corpus("random", n_characters=10)
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def test_a_file_is_one_document(tmp_path):
    path = tmp_path / "book.txt"
    path.write_bytes("\ufeffnaïve\r\ntext".encode())
    assert load_corpus(path) == load_corpus(str(path)) == ["naïve\ntext"]
    path.write_bytes("naïve".encode("latin-1"))
    assert load_corpus(path, encoding="latin-1") == ["naïve"]
    with pytest.raises(ValueError, match=r"book\.txt is not text in the encoding utf-8.*latin-1"):
        load_corpus(path)
    with pytest.raises(ValueError, match="encoding='utf-88' is not known"):
        load_corpus(path, encoding="utf-88")


def test_a_folder_is_a_document_a_file(tmp_path):
    for name in ("b.txt", "a.txt", "c.md"):
        (tmp_path / name).write_text(f"text of {name}")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "d.txt").write_text("text of d.txt")
    assert load_corpus(tmp_path) == ["text of a.txt", "text of b.txt"]
    assert load_corpus(tmp_path, pattern="*.md") == ["text of c.md"]
    assert len(load_corpus(tmp_path, pattern="**/*.txt")) == 3


def test_what_is_not_there_is_said(tmp_path):
    with pytest.raises(ValueError, match=r"no corpus, file or folder 'python-doc'.*python-docs"):
        load_corpus("python-doc")
    with pytest.raises(ValueError, match="no file that matches"):
        load_corpus(tmp_path)
    (tmp_path / "empty.txt").touch()
    for path in (tmp_path, tmp_path / "empty.txt"):
        with pytest.raises(ValueError, match="are empty"):
            load_corpus(path)
    with pytest.raises(TypeError, match="string or a path"):
        load_corpus(3)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("python-docs", "has no option size: there is none"),
        ("alphabet", "has no option size: choose one of .*length"),
        ("random", "choose one of .*n_characters.*random_state"),
        (".", "choose one of .*pattern.*encoding"),
    ],
)
def test_unknown_options_are_refused(name, message):
    with pytest.raises(TypeError, match=message):
        load_corpus(name, size=3)


@pytest.mark.parametrize(
    ("name", "option"), [("alphabet", {"length": 0}), ("random", {"n_characters": 0})]
)
def test_sizes_are_positive(name, option):
    with pytest.raises(ValueError, match="must be at least 1"):
        load_corpus(name, **option)


def test_available_corpora_can_be_loaded():
    table = available_corpora()
    assert list(table.columns) == ["name", "description", "options"]
    for name in table["name"]:
        if name.islower():  # the others stand for names of the user's
            assert load_corpus(name)


class TestHub:
    """Local data sets only: they take the same road."""

    @pytest.fixture
    def datasets(self, tmp_path, monkeypatch):
        datasets = pytest.importorskip("datasets")
        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
        datasets.disable_progress_bars()
        yield datasets
        datasets.enable_progress_bars()

    def test_a_folder_of_csv(self, datasets, tmp_path):
        folder = tmp_path / "data"
        folder.mkdir()
        (folder / "train.csv").write_text("label,text,title\n0,a cat,x\n1,a dog,y\n")
        (folder / "test.csv").write_text("label,text,title\n0,a bird,z\n")
        assert load_corpus(f"hub:{folder}") == ["a cat", "a dog"]
        assert load_corpus(f"hub:{folder}", split="test") == ["a bird"]
        assert load_corpus(f"hub:{folder}", column="title") == ["x", "y"]
        with pytest.raises(ValueError, match=r"no column of strings called 'label'.*'title'"):
            load_corpus(f"hub:{folder}", column="label")
        with pytest.raises(ValueError, match="split='validation'"):
            load_corpus(f"hub:{folder}", split="validation")

    def test_a_folder_of_save_to_disk(self, datasets, tmp_path):
        table = datasets.Dataset.from_dict({"sentence": ["a cat", "a dog"], "label": [0, 1]})
        table.save_to_disk(tmp_path / "one")
        datasets.DatasetDict({"test": table}).save_to_disk(tmp_path / "many")
        assert load_corpus(f"hub:{tmp_path / 'one'}") == ["a cat", "a dog"]
        assert load_corpus(f"hub:{tmp_path / 'many'}", split="test") == ["a cat", "a dog"]
        with pytest.raises(ValueError, match="split='train'"):
            load_corpus(f"hub:{tmp_path / 'many'}")

    def test_missing_documents_are_named(self, datasets, tmp_path):
        datasets.Dataset.from_dict({"text": ["a cat", None]}).save_to_disk(tmp_path / "one")
        with pytest.raises(ValueError, match=r"Document 1 of corpus .* is missing"):
            load_corpus(f"hub:{tmp_path / 'one'}")

    def test_a_folder_that_holds_nothing(self, datasets, tmp_path):
        (tmp_path / "empty").mkdir()
        with pytest.raises(ValueError, match="cannot be loaded"):
            load_corpus(f"hub:{tmp_path / 'empty'}")

    def test_without_datasets_the_extra_is_named(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "datasets", None)
        with pytest.raises(ImportError, match=r"snn-estimators\[hub\]"):
            load_corpus("hub:anything")

"""Many ids are in a file, of which windows are drawn, and that does not outlive them."""

import gc
import os
import pickle
import tempfile
from pathlib import Path

import joblib
import numpy as np
import pytest

from snn_estimators.estimators import NGramLM, SpikeGPTLM
from snn_estimators.estimators.token_windows import TokenWindows
from snn_estimators.text import BPETokenizer, CharTokenizer, WordTokenizer, _blocks, _ids, _mapped

DOCUMENTS = ["to be or not to be", "", "that is the question", "x"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Map more than twenty bytes, into a folder of the test's own."""
    monkeypatch.setattr(_ids, "MAPPED_BEYOND", 20)
    monkeypatch.setattr(_blocks, "BLOCK_LENGTH", 5)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("tokenizer", [CharTokenizer(), WordTokenizer(), BPETokenizer(270)])
def test_mapped_ids_are_those_in_memory(tokenizer, folder, monkeypatch):
    documents = DOCUMENTS * 3
    mapped = tokenizer.fit(documents).encode(documents)
    assert all(isinstance(ids, np.memmap) for ids in mapped if len(ids))
    assert len(list(folder.iterdir())) == 1

    monkeypatch.setattr(_ids, "MAPPED_BEYOND", 10_000)
    in_memory = tokenizer.encode(documents)
    assert not any(isinstance(ids, np.memmap) for ids in in_memory)
    assert [ids.tolist() for ids in mapped] == [ids.tolist() for ids in in_memory]
    assert [ids.dtype for ids in mapped] == [ids.dtype for ids in in_memory]


@pytest.mark.slow
def test_the_file_goes_with_the_last_array(folder):
    ids = CharTokenizer().fit(DOCUMENTS).encode(DOCUMENTS)
    last = ids[2][3:7]
    wanted = last.tolist()
    del ids
    gc.collect()
    assert len(list(folder.iterdir())) == 1
    assert last.tolist() == wanted

    del last
    gc.collect()
    assert not list(folder.iterdir())


@pytest.mark.slow
def test_no_file_is_left_of_text_that_cannot_be_encoded(folder):
    tokenizer = CharTokenizer(handle_unknown="error").fit(DOCUMENTS)
    with pytest.raises(ValueError, match="not in the alphabet"):
        tokenizer.encode([*DOCUMENTS, "?"])
    gc.collect()

    assert not list(folder.iterdir())


def test_a_forked_process_does_not_remove_the_file(folder):
    path = folder / "some.ids"
    path.touch()
    _mapped._remove(path, os.getpid() + 1)
    assert path.exists()
    _mapped._remove(path, os.getpid())
    assert not path.exists()


def test_memory_does_not_grow_with_the_text(monkeypatch):
    monkeypatch.setattr(_ids, "MAPPED_BEYOND", 1000)
    held = []
    add = _ids.IdsOfDocuments.add

    def counting(self, ids):
        add(self, ids)
        held.append(sum(part.nbytes for part in [*self._documents, *self._parts]))

    monkeypatch.setattr(_ids.IdsOfDocuments, "add", counting)
    documents = ["to be or not to be " * 500, *DOCUMENTS * 100]
    ids = CharTokenizer().fit(documents).encode(documents)

    assert sum(map(len, ids)) == sum(map(len, documents)) > 10 * max(held)
    assert max(held) <= 1000


def _describe(ids):
    return type(ids).__name__, getattr(ids, "filename", None), ids.tolist()


@pytest.mark.slow
def test_workers_of_joblib_share_the_file(folder):
    ids = CharTokenizer().fit(DOCUMENTS).encode(DOCUMENTS)
    (path,) = folder.iterdir()
    found = joblib.Parallel(n_jobs=2)(joblib.delayed(_describe)(one) for one in (ids[0], ids[2]))

    assert found == [("memmap", path, ids[i].tolist()) for i in (0, 2)]


def test_so_many_documents_that_maps_would_run_out_are_copied(monkeypatch):
    monkeypatch.setattr(_mapped, "MOST_SHARED", 3)
    ids = CharTokenizer().fit(DOCUMENTS).encode(DOCUMENTS)

    assert not any(isinstance(one, np.memmap) for one in ids)
    assert not any(one.flags.writeable for one in ids)
    assert "".join(CharTokenizer().fit(DOCUMENTS).inverse_transform(ids)) == "".join(DOCUMENTS)


@pytest.mark.slow
def test_pickled_ids_need_no_file(folder):
    ids = CharTokenizer().fit(DOCUMENTS).encode(DOCUMENTS)
    content, wanted = pickle.dumps(ids), [one.tolist() for one in ids]
    del ids
    gc.collect()
    assert not list(folder.iterdir())

    assert [one.tolist() for one in pickle.loads(content)] == wanted


def test_windows_are_drawn_from_the_file():
    ids = CharTokenizer().fit(DOCUMENTS).encode(DOCUMENTS)
    windows = TokenWindows(ids, 7)

    assert all(ours is mapped for ours, mapped in zip(windows.documents, ids, strict=True))
    assert windows[0][0].tolist() == ids[0][:7].tolist()


@pytest.mark.slow
def test_models_of_mapped_ids_are_those_of_ids_in_memory(folder, monkeypatch):
    def figures():
        options = {"module__n_embd": 8, "module__n_layer": 1, "module__ctx_len": 6}
        model = SpikeGPTLM(max_steps=3, random_state=0, **options).fit(DOCUMENTS)
        return model.score_samples(DOCUMENTS).tolist(), NGramLM(2).fit(DOCUMENTS).score(DOCUMENTS)

    mapped = figures()
    gc.collect()
    assert not list(folder.glob("*.ids"))
    monkeypatch.setattr(_ids, "MAPPED_BEYOND", 10_000)

    assert figures() == mapped


def test_a_folder_without_room_is_named(folder, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(OSError, match=r"No space left on device\. Set .*TMPDIR"):
        CharTokenizer().fit(DOCUMENTS).encode(DOCUMENTS)

"""Nothing waits for what never comes: pipes, links to nothing, folders of other users."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from pathlib import Path

import pytest
from named_runs import cut_at

from snn_estimators.estimators import SpikeDecoderLM
from snn_estimators.persistence.atomic_folder import locked_folder, recover_folder
from snn_estimators.persistence.catalog import saved_models
from snn_estimators.persistence.file_lock import hold_lock, is_locked
from snn_estimators.persistence.run_folder import ERRORS

pytestmark = pytest.mark.skipif(os.name != "posix", reason="there are no pipes")


@pytest.fixture(autouse=True)
def _in_time():
    """End the process of a test that waits."""
    timer = threading.Timer(60, os._exit, [1])
    timer.start()
    yield
    timer.cancel()


def test_a_lock_that_is_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "lock")
    assert not is_locked(tmp_path / "lock")
    with pytest.raises(OSError, match=r"cannot be a lock: delete it.*lock"):
        hold_lock(tmp_path / "lock").__enter__()


@pytest.mark.parametrize("name", [".lock", "log.csv", ERRORS])
def test_a_run_with_a_pipe_in_it(run, model, texts, name):
    cut_at(run, 5)
    (run.folder / name).unlink(missing_ok=True)
    os.mkfifo(run.folder / name)
    assert saved_models()["name"].tolist() == ["GPT-1"]
    assert SpikeDecoderLM.from_pretrained("GPT-1").n_steps_ == 5
    if name == ".lock":
        with pytest.raises(OSError, match="cannot be a lock"):
            model.fit(texts, resume=True)
    else:
        assert model.fit(texts, resume=True).n_steps_ == 6


def test_a_checkpoint_that_is_a_link_to_nothing(run, model, texts):
    newest = run.checkpoint(6)
    shutil.rmtree(newest)
    newest.symlink_to(run.folder / "nowhere")
    with pytest.raises(FileNotFoundError, match="step-00000006 is a link to nothing: delete it"):
        SpikeDecoderLM.from_pretrained("GPT-1")
    with pytest.warns(UserWarning, match="resumes from step 5"):
        assert model.fit(texts, resume=True).n_steps_ == 6


def test_a_checkpoint_of_another_user(run, monkeypatch):
    newest, stat, listdir = str(run.checkpoint(6)), Path.stat, os.listdir

    def refusing(function):
        def call(path, *args, **kwargs):
            if str(path) == newest:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            return function(path, *args, **kwargs)

        return call

    monkeypatch.setattr(Path, "stat", refusing(stat))
    monkeypatch.setattr(os, "listdir", refusing(listdir))
    with pytest.raises(PermissionError, match="step-00000006 cannot be read: Permission denied"):
        SpikeDecoderLM.from_pretrained("GPT-1")


@pytest.mark.parametrize("kind", ["file", "link"])
def test_something_else_in_the_place_of_a_backup(tmp_path, kind):
    backup = tmp_path / ".x.deadbeef.old"
    backup.mkdir()
    (backup / "kept").touch()
    if kind == "file":
        (tmp_path / "x").touch()
    else:
        (tmp_path / "x").symlink_to("nowhere")
    assert not recover_folder(tmp_path / "x")
    if kind == "file":
        with locked_folder(tmp_path / "x"):
            pass
        assert (backup / "kept").exists()
        (tmp_path / "x").unlink()
        assert recover_folder(tmp_path / "x")
        assert (tmp_path / "x" / "kept").exists()


def test_a_backup_that_is_no_folder(tmp_path):
    (tmp_path / ".x.deadbeef.old").touch()
    assert not recover_folder(tmp_path / "x")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "history.json"])
def test_a_sparse_file(run, name):
    path = run.checkpoint(6) / name
    with path.open("r+b") as file:
        file.truncate(10**11)
    with pytest.raises(ValueError, match=f"{name} is damaged: of its 100,000,000,000 bytes all"):
        SpikeDecoderLM.from_pretrained("GPT-1")


def test_a_sparse_state(run, model, texts):
    with (run.checkpoint(6) / "training.safetensors").open("r+b") as file:
        file.truncate(10**11)
    with pytest.warns(UserWarning, match=r"resumes from step 5.*training.safetensors is damaged"):
        assert model.fit(texts, resume=True).n_steps_ == 6

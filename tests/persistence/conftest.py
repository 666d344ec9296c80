"""A named fit, whose folder tests change; a folder of cached fits, and notes of trainings."""

from __future__ import annotations

import shutil

import pytest
import torch
from skorch.dataset import ValidSplit
from tiny_language_model import TEXTS, tiny_model

from snn_estimators.persistence.run_folder import RunFolder


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SNN_ESTIMATORS_HOME", str(tmp_path))
    monkeypatch.setattr("snn_estimators._files.sync", lambda _: None)  # slow
    return tmp_path / "models"


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """The folder of a fit of six steps that was saved after each."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SNN_ESTIMATORS_HOME", str(home))
        model = tiny_model(
            name="GPT-1", save_every_n_steps=1, keep_checkpoints=9, train_split=ValidSplit(3),
            steps_per_epoch=3, max_epochs=2, evaluate_every_n_steps=2,
        ).fit(TEXTS)  # fmt: skip
    return home / "models" / "GPT-1", model


@pytest.fixture
def run(whole, home):
    """A copy of that folder, to be changed."""
    shutil.copytree(whole[0], home / "GPT-1")
    return RunFolder(home / "GPT-1")


@pytest.fixture
def model(whole):
    return tiny_model(**whole[1].get_params())


@pytest.fixture
def one_thread(monkeypatch):
    """Children of a fork must not share a pool of threads, and all sums have one order."""
    monkeypatch.setattr("snn_estimators._files.sync", lambda _: None)  # slow
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "memory"


@pytest.fixture
def notes(tmp_path):
    return tmp_path / "notes.txt"

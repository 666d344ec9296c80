"""A memory with fits that are damaged, interrupted, or cannot be written."""

from __future__ import annotations

import shutil
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from cached_fits import (
    Counter,
    Noted,
    finished,
    holds,
    key,
    outcome,
    trainings,
    without_times,
)
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Callback
from skorch.dataset import ValidSplit
from tiny_language_model import TEXTS, tiny_model

from snn_estimators.nn import SpikingDecoder
from snn_estimators.persistence.fit_cache import FitCache

pytestmark = pytest.mark.usefixtures("one_thread")


def halved(data):
    return data[: len(data) // 2]


def flipped(data):
    return data[:-100] + bytes([data[-100] ^ 1]) + data[-99:]


@pytest.mark.slow
@pytest.mark.parametrize(
    "damage", [halved, flipped, lambda data: b"", lambda data: b"{}", lambda data: data * 2]
)
def test_a_damaged_file_is_fitted_again(damage, folder, notes):
    make = partial(tiny_model, memory=folder, callbacks=[Noted(str(notes))], max_epochs=1)
    first = outcome(make().fit(TEXTS))
    (file,) = finished(folder)
    file.write_bytes(damage(file.read_bytes()))
    with pytest.warns(UserWarning, match="is damaged"):
        assert outcome(make().fit(TEXTS)) == first
    assert outcome(make().fit(TEXTS)) == first
    assert len(trainings(notes)) == 2


@pytest.mark.slow
def test_a_file_of_another_fit_is_not_trusted(folder):
    tiny_model(memory=folder).fit(TEXTS)
    (file,) = finished(folder)
    expected = outcome(tiny_model(lr=0.2).fit(TEXTS))
    shutil.copy(file, FitCache(folder).finished(key(folder, lr=0.2)))
    with pytest.warns(UserWarning, match="is of another fit"):
        assert outcome(tiny_model(lr=0.2, memory=folder).fit(TEXTS)) == expected


class Stop(Callback):
    """Interrupts, or fails, after some steps of its first life."""

    def __init__(self, path, step, error):
        self.path, self.step, self.error = path, step, error

    def on_batch_begin(self, net, training=False, **kwargs):
        if training and net._position.steps == self.step and not Path(self.path).exists():
            Path(self.path).touch()
            raise self.error


@pytest.mark.slow
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_what_did_not_end_is_not_finished_and_goes_on(error, folder, tmp_path):
    stop = Stop(str(tmp_path / "stopped"), 4, error)
    make = partial(
        tiny_model, memory=folder, callbacks=[stop, Counter()], save_every_n_steps=3,
        module__mlp_dropout=0.2,
    )  # fmt: skip
    model = make()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Training was interrupted")
        with pytest.raises(error, match="resumes from" if error is KeyboardInterrupt else ""):
            model.fit(TEXTS)
    assert model.interrupted_ == (error is KeyboardInterrupt)
    assert np.isfinite(model.score(TEXTS))  # usable as it stands
    assert finished(folder) == []
    assert not holds(make(), TEXTS)
    (unfinished,) = (folder / "fits").glob("*.unfinished.safetensors")
    resumed = make().fit(TEXTS)
    whole = make(memory=None, save_every_n_steps=None).fit(TEXTS)
    assert outcome(resumed) == outcome(whole)
    assert without_times(resumed.history_) == without_times(whole.history_)
    assert not unfinished.exists()
    assert outcome(make().fit(TEXTS)) == outcome(whole)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Training was interrupted", "ignore:.*tokens of X are unknown")
def test_ctrl_c_ends_a_search(folder, tmp_path):
    """skorch swallows it, and the search would score the half-trained and begin the next fit."""
    stop = Stop(str(tmp_path / "stopped"), 2, KeyboardInterrupt)
    model = tiny_model(memory=folder, callbacks=[stop])
    search = GridSearchCV(model, {"lr": [0.01, 0.02]}, cv=2)
    with pytest.raises(KeyboardInterrupt):
        search.fit(TEXTS)
    assert finished(folder) == []
    scores = search.fit(TEXTS).cv_results_["mean_test_score"]
    whole = clone(search).set_params(estimator__memory=None).fit(TEXTS)
    assert scores.tolist() == whole.cv_results_["mean_test_score"].tolist()


@pytest.mark.slow
def test_damage_to_an_unfinished_fit(folder, tmp_path):
    stop = Stop(str(tmp_path / "stopped"), 5, RuntimeError)
    make = partial(tiny_model, memory=folder, callbacks=[stop], save_every_n_steps=1)
    with pytest.raises(RuntimeError):
        make().fit(TEXTS)
    (unfinished,) = (folder / "fits").glob("*.unfinished.safetensors")
    unfinished.write_bytes(halved(unfinished.read_bytes()))
    with pytest.warns(UserWarning, match="is damaged"):
        resumed = make().fit(TEXTS)
    assert outcome(resumed) == outcome(tiny_model(callbacks=[stop]).fit(TEXTS))


@pytest.mark.slow
def test_a_split_that_changes_begins_anew(folder, tmp_path, monkeypatch):
    stop = Stop(str(tmp_path / "stopped"), 3, RuntimeError)
    split = ValidSplit(2, stratified=False, random_state=None)
    make = partial(
        tiny_model, memory=folder, callbacks=[stop], save_every_n_steps=1, train_split=split
    )
    with pytest.raises(RuntimeError):
        make().fit(TEXTS)
    monkeypatch.setattr("snn_estimators.persistence.checkpointing.hash_split", lambda _: "other")
    with pytest.warns(UserWarning, match="the fit starts from scratch.*random_state"):
        model = make().fit(TEXTS)
    assert model.n_steps_ == model.planned_steps_


class Sparse(SpikingDecoder):
    """Holds what no safetensors file can."""

    def __init__(self, vocab_size, **parameters):
        super().__init__(vocab_size, **parameters)
        self.register_buffer("eye", torch.eye(2).to_sparse())


def test_a_module_that_cannot_be_saved_costs_a_warning_and_not_the_fit(folder):
    with pytest.warns(UserWarning, match="could not be saved, and continues without"):
        assert tiny_model(module=Sparse, memory=folder).fit(TEXTS).n_steps_ == 6
    assert not finished(folder)


@pytest.mark.slow
def test_a_full_disk_costs_a_warning_and_not_the_fit(folder, monkeypatch):
    expected = outcome(tiny_model().fit(TEXTS))
    whole = Path.write_bytes

    def full(path, content):
        if path.name.endswith(".tmp") and "safetensors" in path.name:
            whole(path, content[:100])
            raise OSError(28, "No space left on device")
        return whole(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.warns(UserWarning, match="could not be saved.*No space left") as told:
            model = tiny_model(memory=folder, save_every_n_steps=1).fit(TEXTS)
    assert len(told) == 1
    assert outcome(model) == expected
    assert list((folder / "fits").iterdir()) == []
    assert outcome(tiny_model(memory=folder).fit(TEXTS)) == expected
    assert len(finished(folder)) == 1


@pytest.mark.slow
def test_a_memory_that_may_only_be_read(folder, monkeypatch):
    first = tiny_model(memory=folder).fit(TEXTS)

    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("snn_estimators.persistence.fit_cache.hold_lock", refuse)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert outcome(tiny_model(memory=folder).fit(TEXTS)) == outcome(first)
    with pytest.warns(UserWarning, match="others may do the same fit"):
        tiny_model(memory=folder, lr=0.2).fit(TEXTS)


def test_a_memory_that_cannot_be_made(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(PermissionError):
        tiny_model(memory=tmp_path / "new").fit(TEXTS)


class Opaque(Callback):
    def on_train_begin(self, net, **kwargs):
        self._file = object()


def test_a_callback_that_no_file_can_hold(folder):
    with pytest.warns(UserWarning, match="not kept, as no file can hold '_file' of the callback"):
        tiny_model(memory=folder, callbacks=[Opaque()]).fit(TEXTS)
    assert finished(folder) == []

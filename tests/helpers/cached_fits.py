"""Fits that a memory keeps: what is noted of them, and what equal ones have in common."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from skorch.callbacks import Callback
from tiny_language_model import TEXTS, flat, tiny_model

from snn_estimators.estimators import SpikeGPTClassifier
from snn_estimators.persistence.fit_cache import FitCache

LABELS = ["good", "bad", "good", "bad"]
posix = pytest.mark.skipif(os.name != "posix", reason="locks and SIGKILL are POSIX's")


def holds(estimator, X, y=None):
    """Whether a fit would be loaded."""
    trial = clone(estimator)
    key, memory = trial._key_of_fit(X, y, {}), FitCache.of(trial.memory)
    return None not in (key, memory) and memory.finished(key).is_file()


def key(memory, **parameters):
    return tiny_model(memory=memory, **parameters)._key_of_fit(TEXTS, None, {})


class Noted(Callback):
    """Leaves a line for every training, and may end its process in the middle of one."""

    def __init__(self, path, kill_in_epoch=None):
        self.path = path
        self.kill_in_epoch = kill_in_epoch

    def on_train_begin(self, net, **kwargs):
        with Path(self.path).open("a") as file:
            file.write(f"{net.lr}\n")

    def on_epoch_end(self, net, **kwargs):
        mark = Path(f"{self.path}.killed")
        if len(net.history) == self.kill_in_epoch and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)


class Counter(Callback):
    """Has a state."""

    def initialize(self):
        self.seen_ = np.zeros(2)
        return self

    def on_batch_end(self, net, **kwargs):
        self.seen_ += 1


def tiny_classifier(kind=SpikeGPTClassifier, **parameters):
    sizes = {"module__n_layer": 1, "module__n_embd": 8, "max_epochs": 2, "random_state": 0}
    return kind(**{**({} if "pretrained" in parameters else sizes), **parameters})


def trainings(notes):
    return notes.read_text().split() if notes.exists() else []


def finished(folder):
    files = (folder / "fits").glob("*.safetensors")
    return sorted(path for path in files if ".unfinished" not in path.name)


def outcome(model):
    """All that equal fits have in common, as plain values."""
    states = [part.state_dict() for part in (model.module_, model.optimizer_)]
    counts = model.n_iter_, model.n_steps_, model.planned_steps_, model.interrupted_
    callbacks = dict(model.callbacks_)
    stateful = [vars(callbacks[n]) for n in ("Counter", "EarlyStopping") if n in callbacks]
    return repr((flat(states), counts, model._states_after_training[0].tolist(), stateful))


def without_times(history):
    return [{k: v for k, v in epoch.items() if k != "dur"} for epoch in history]

"""A memory that searches and several processes share."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from cached_fits import (
    Noted,
    outcome,
    posix,
    trainings,
)
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Callback, EarlyStopping
from skorch.dataset import ValidSplit
from tiny_language_model import TEXTS, tiny_model

from snn_estimators.text import CharTokenizer

pytestmark = pytest.mark.usefixtures("one_thread")


def search(memory, notes, n_jobs=None, rates=(0.01, 0.02, 0.03), **settings):
    callbacks = [Noted(str(notes), **settings), EarlyStopping(sink=print, patience=9)]
    model = tiny_model(
        memory=memory, callbacks=callbacks, max_epochs=3, train_split=ValidSplit(2), verbose=0,
        tokenizer=CharTokenizer(handle_unknown="token"),
    )  # fmt: skip
    return GridSearchCV(model, {"lr": list(rates)}, cv=2, n_jobs=n_jobs, refit=False)


def scores(found):
    names = [name for name in found.cv_results_ if name.startswith(("split", "param"))]
    return [np.asarray(found.cv_results_[name]).tolist() for name in names]


@pytest.mark.parametrize("n_jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_search_is_not_done_twice(n_jobs, folder, notes):
    first = search(folder, notes, n_jobs).fit(TEXTS)
    assert len(trainings(notes)) == 6
    again = search(folder, notes, 1).fit(TEXTS)
    assert len(trainings(notes)) == 6
    assert scores(again) == scores(first)
    search(folder, notes, 1, rates=[0.02, 0.04]).fit(TEXTS)
    assert len(trainings(notes)) == 8


def in_child(function, *args):
    process = multiprocessing.get_context("fork").Process(target=function, args=args)
    process.start()
    return process


@pytest.mark.slow
@posix
def test_a_search_that_was_killed(folder, notes, tmp_path):
    plain = search(None, tmp_path / "others.txt").fit(TEXTS)
    killed = in_child(lambda: search(folder, notes, kill_in_epoch=2).fit(TEXTS))
    killed.join(60)
    assert killed.exitcode == -signal.SIGKILL
    assert len(trainings(notes)) == 1
    again = search(folder, notes, kill_in_epoch=2).fit(TEXTS)
    assert scores(again) == scores(plain)
    assert len(trainings(notes)) == 7
    assert len(list((folder / "fits").iterdir())) == 6


@pytest.mark.slow
@posix
def test_killed_in_the_middle_of_a_save(folder):
    def fit():
        whole = Path.write_bytes

        def half(path, content):
            if "unfinished" in path.name:
                whole(path, content[: len(content) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            return whole(path, content)

        Path.write_bytes = half
        tiny_model(memory=folder, save_every_n_steps=2).fit(TEXTS)

    fit = in_child(fit)
    fit.join(60)
    assert fit.exitcode == -signal.SIGKILL
    assert len([p for p in (folder / "fits").iterdir() if p.name.endswith(".tmp")]) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        model = tiny_model(memory=folder).fit(TEXTS)
    assert outcome(model) == outcome(tiny_model().fit(TEXTS))
    assert len(list((folder / "fits").iterdir())) == 1


class Slow(Callback):
    def on_batch_end(self, net, training=False, **kwargs):
        time.sleep(0.05)


@pytest.mark.slow
@posix
def test_of_processes_at_the_same_fit_one_trains(folder, notes, tmp_path):
    def fit(number):
        model = tiny_model(memory=folder, callbacks=[Noted(str(notes)), Slow()])
        (tmp_path / f"{number}.txt").write_text(outcome(model.fit(TEXTS)))

    processes = [in_child(fit, number) for number in range(3)]
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert len(trainings(notes)) == 1
    assert len({(tmp_path / f"{number}.txt").read_text() for number in range(3)}) == 1
    assert len(list((folder / "fits").iterdir())) == 1


class Stuck(Callback):
    """Never comes back from the second epoch of its first life."""

    def __init__(self, path):
        self.path = path

    def on_epoch_begin(self, net, **kwargs):
        if len(net.history) == 2 and not Path(self.path).exists():
            Path(self.path).touch()
            time.sleep(100)


@pytest.mark.slow
@posix
def test_a_killed_process_keeps_nobody_waiting(folder, notes, tmp_path):
    mark = tmp_path / "stuck"
    callbacks = [Noted(str(notes)), Stuck(str(mark))]
    make = partial(tiny_model, memory=folder, callbacks=callbacks, save_every_n_steps=3)
    first = in_child(lambda: make().fit(TEXTS))
    deadline = time.monotonic() + 60
    while not mark.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    start = time.monotonic()
    threading.Timer(0.2, first.kill).start()
    model = make().fit(TEXTS)
    assert 0.2 < time.monotonic() - start < 50
    assert outcome(model) == outcome(tiny_model().fit(TEXTS))
    assert len(trainings(notes)) == 2

"""Data loaders' workers: by forkserver in a process of one's own, none in a worker of a search."""

from __future__ import annotations

import json
import multiprocessing
import warnings
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.forkserver import _forkserver

import joblib
import pytest
from tiny_classifiers import tiny_classifier
from tiny_language_model import TEXTS, tiny_model
from torch.utils.data import DataLoader
from warm_process import running

from snn_estimators import _warnings
from snn_estimators.estimators.net.loader_workers import loader_parameters

WORKERS = {
    "iterator_train__num_workers": 1,
    "iterator_train__persistent_workers": True,
    "iterator_valid__num_workers": 1,
    "iterator_valid__prefetch_factor": 2,
}
pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _nothing_was_told(monkeypatch):
    monkeypatch.setattr(_warnings, "_issued", set())


@pytest.fixture(scope="module")
def expected():
    return tiny_model().fit(TEXTS).score(TEXTS)


def two_fits():
    """Return the score of two fits whose loaders ask for workers, and the warnings."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        scores = [tiny_model(**WORKERS).fit(TEXTS).score(TEXTS) for _ in range(2)]
    return scores, [str(one.message) for one in told]


def check(outcome, expected, worker):
    scores, told = outcome
    assert scores == [expected, expected]
    (message,) = [one for one in told if "num_workers" in one]
    assert f"num_workers=1 of the data loader has no effect in {worker}" in message


def test_threads(expected):
    with ThreadPoolExecutor(1) as pool:
        check(pool.submit(two_fits).result(), expected, "a thread")


def test_processes_of_loky(expected):
    outcomes = joblib.Parallel(n_jobs=2)(joblib.delayed(two_fits)() for _ in range(2))
    check(outcomes[0], expected, "a process of loky")


def write_outcome(path):
    multiprocessing.current_process()._config["daemon"] = True
    path.write_text(json.dumps(two_fits()))


def test_daemonic_processes(expected, tmp_path):
    path = tmp_path / "outcome.json"
    with running(write_outcome, path) as process:
        process.join(100)
    check(json.loads(path.read_text()), expected, "a daemonic process")


def test_workers_by_forkserver_change_no_score(expected):
    _forkserver.ensure_running()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = tiny_model(iterator_train__num_workers=1, iterator_valid__num_workers=1)
        assert model.fit(TEXTS).score(TEXTS) == expected


@pytest.mark.parametrize("make", [tiny_model, tiny_classifier])
def test_how_workers_start(make, monkeypatch):
    started = []

    class Watched(DataLoader):
        def __init__(self, *args, **options):
            started.append(options.pop("multiprocessing_context", None))
            super().__init__(*args, **options | {"num_workers": 0})

    labels = ["cat", "dog", "dog", "cat"]
    parameters = {"iterator_train": Watched, "iterator_train__num_workers": 1}
    make(**parameters).fit(TEXTS, labels)
    assert {context.get_start_method() for context in started} == {"forkserver"}
    started.clear()
    make(**parameters, iterator_train__multiprocessing_context="spawn").fit(TEXTS, labels)
    assert set(started) == {"spawn"}


def test_other_iterators_are_left_alone():
    given = {"num_workers": 2}
    assert loader_parameters(lambda data, num_workers: data, given) == given

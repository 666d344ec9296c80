"""Sweeps on a real Ray cluster of this machine, some of whose processes die."""

from __future__ import annotations

import os
import signal
import socket
import time
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
from joblib import delayed
from skorch.callbacks import Callback

ray = pytest.importorskip("ray")

from sklearn.exceptions import FitFailedWarning  # noqa: E402

from snn_estimators.model_selection import Sweep, engines, ray_backend, sweep_model  # noqa: E402
from snn_estimators.model_selection.engines import check_engine, open_engine  # noqa: E402

TALE = {"tale": ["The cat sat on the mat. A dog ran to the tree! " * 12]}
TINY = {"length": 16, "blocks": 1, "timesteps": 1, "heads": 1, "max_steps": 2, "batch_size": 4}


@pytest.fixture(scope="module", autouse=True)
def no_usage_reports():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.delenv("RAY_ADDRESS", raising=False)
        yield


def processes():
    """Return Ray's servers of this machine."""
    found = psutil.process_iter(["pid", "name"])
    return {one.info["pid"] for one in found if one.info["name"] in ("raylet", "gcs_server")}


@pytest.fixture(scope="module")
def cluster(no_usage_reports):
    """A cluster that stays for several sweeps, which find it by themselves."""
    before = processes()
    with open_engine("ray", 2, []):
        assert processes() > before
        yield
    assert processes() <= before


class Assassin(Callback):
    """Kills the process that trains a model with two heads, once; with five heads each time."""

    def __init__(self, mark):
        self.mark = mark

    def on_train_begin(self, net, **kwargs):
        if net.module__heads == 2 and not Path(self.mark).exists():
            Path(self.mark).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if net.module__heads == 5:
            os._exit(1)


def run(mark, heads, **options):
    model = sweep_model(**TINY, callbacks=[("assassin", Assassin(str(mark)))])
    table = Sweep({"heads": heads}, TALE, estimator=model, length=16, **options).run().table
    return table.drop(columns=["fit_time", "fit_time_std"])


def test_processes_that_die_change_nothing_but_the_rows_they_cannot_do(
    cluster, tmp_path, monkeypatch
):
    monkeypatch.setattr(ray_backend, "RETRIES", 1)
    mark = tmp_path / "mark"
    with pytest.warns(FitFailedWarning, match="WorkerCrashedError"):
        table = run(mark, [1, 2, 5], engine="ray", output=tmp_path / "out")
    assert mark.exists()
    assert table["heads"].tolist()[2] == 5
    assert table["failure"][2].startswith("WorkerCrashedError")
    assert len(pd.read_csv(tmp_path / "out" / "fits.csv")) == 6
    here = run(mark, [1, 2], n_jobs=1)
    assert_same = partial(pd.testing.assert_frame_equal, check_dtype=False)
    assert_same(table[:2].drop(columns="failure"), here.drop(columns="failure"))


def look(number, text):
    """Return what a worker sees, the first of them at length."""
    if number == 0:
        time.sleep(1)
    return number, (text.__array_interface__["data"][1], os.getpid(), text.sum())


def test_results_come_as_they_are_and_data_is_shared(cluster):
    text = np.arange(100, dtype=np.uint8)
    with open_engine("ray", 2, [text]) as work:
        seen = list(work(delayed(look)(number, text) for number in range(6)))
    assert [number for number, _ in seen][-1] == 0
    assert {(read_only, total) for _, (read_only, _, total) in seen} == {(True, text.sum())}
    assert os.getpid() not in {process for _, (_, process, _) in seen}


def test_something_else_that_answers_is_told_within_seconds(monkeypatch):
    monkeypatch.setattr(engines, "ANSWER_WITHIN", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        engine = f"ray://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(ConnectionError, match="does not answer"):
            check_engine(engine)

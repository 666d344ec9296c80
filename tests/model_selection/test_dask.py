"""Sweeps on a real Dask cluster of two processes, some of which die."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from joblib import delayed
from skorch.callbacks import Callback

distributed = pytest.importorskip("distributed")

from sklearn.exceptions import FitFailedWarning  # noqa: E402

from snn_estimators.model_selection import Sweep, cluster_backend, sweep_model  # noqa: E402
from snn_estimators.model_selection.engines import check_engine, open_engine  # noqa: E402

TALE = {"tale": ["The cat sat on the mat. A dog ran to the tree! " * 12]}
TINY = {"length": 16, "blocks": 1, "timesteps": 1, "heads": 1, "max_steps": 2, "batch_size": 4}


@pytest.fixture(scope="module")
def local():
    """A cluster whose workers come back when they die."""
    import dask

    patience = {"distributed.scheduler.allowed-failures": 1}
    with (
        dask.config.set(patience),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, memory_limit=0
        ) as local,
    ):
        yield local


@pytest.fixture(scope="module")
def cluster(local):
    """Its address."""
    return address(local)


def address(local):
    return local.scheduler_address.replace("tcp", "dask")


class Assassin(Callback):
    """Kills the process that trains a model with `heads` heads; once if there is a file to mark."""

    def __init__(self, heads, mark=None):
        self.heads = heads
        self.mark = mark

    def on_train_begin(self, net, **kwargs):
        if net.module__heads != self.heads or (self.mark and Path(self.mark).exists()):
            return
        if self.mark:
            Path(self.mark).touch()
        os.kill(os.getpid(), signal.SIGKILL)


def run(callback, grid, **options):
    model = sweep_model(**TINY, callbacks=[("assassin", callback)])
    table = Sweep(grid, TALE, estimator=model, length=16, **options).run().table
    return table.drop(columns=["fit_time", "fit_time_std"])


def test_a_worker_killed_in_mid_sweep_changes_nothing(cluster, tmp_path):
    mark = tmp_path / "mark"
    grid = {"heads": [1, 2, 5], "timesteps": [1, 2]}
    table = run(Assassin(2, str(mark)), grid, engine=cluster, output=tmp_path / "out")
    assert mark.exists()
    pd.testing.assert_frame_equal(table, run(Assassin(2, str(mark)), grid, n_jobs=1))


def test_a_fit_that_kills_its_workers_costs_its_rows_alone(cluster):
    with pytest.warns(FitFailedWarning, match="KilledWorker"):
        table = run(Assassin(2), {"heads": [1, 2]}, engine=cluster)
    assert table["heads"].tolist() == [1, 2]
    assert table["perplexity"].notna().tolist() == [True, False]
    assert table["failure"][1].startswith("KilledWorker")


def count_texts(number, text):
    worker = distributed.get_worker()
    texts = [value for value in worker.data.values() if isinstance(value, np.ndarray)]
    return number, (worker.address, len(texts))


def test_data_goes_to_each_worker_once(cluster):
    text = np.arange(100, dtype=np.uint8)
    with open_engine(cluster, None, [text]) as work:
        seen = dict(work(delayed(count_texts)(number, text) for number in range(8)))
    assert {count for _, count in seen.values()} == {1}


def test_a_cluster_that_is_there_is_accepted(cluster):
    check_engine(cluster)


def linger(number, text):
    time.sleep(0.5)
    return number, os.getpid()


def test_workers_that_join_late_get_work(local, cluster):
    text = np.zeros(1, np.uint8)
    with open_engine(cluster, None, [text]) as work:
        results = work(delayed(linger)(number, text) for number in range(30))
        first = next(results)
        local.scale(4)
        pids = dict([first, *results])
    local.scale(2)
    assert sorted(pids) == list(range(30))
    assert len(set(pids.values())) == 4


@pytest.fixture
def bare():
    """A scheduler, and what starts workers for it that nobody brings back."""
    local = distributed.LocalCluster(n_workers=0, dashboard_address=":0")
    command = [sys.executable, "-m", "distributed.cli.dask_worker", local.scheduler_address]
    command += ["--no-nanny", "--nthreads", "1", "--memory-limit", "0", "--no-dashboard"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    workers = []

    def start(count):
        for _ in range(count):
            workers.append(subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL))
        with distributed.Client(local) as client:
            client.wait_for_workers(count, timeout=60)

    with local:
        yield local, start
        for worker in workers:
            worker.kill()
            worker.wait()


def test_a_sweep_whose_workers_are_gone_ends_and_can_go_on(bare, tmp_path, monkeypatch):
    local, start = bare
    monkeypatch.setattr(cluster_backend, "PATIENCE", 1.0)
    mark = tmp_path / "mark"
    options = {"engine": address(local), "output": tmp_path / "out"}
    start(1)
    with pytest.raises(ConnectionError, match="2 of 4 fits are done and kept") as told:
        run(Assassin(2, str(mark)), {"heads": [1, 2]}, **options)
    assert "tale,heads=2,seed=0,fold=0" in str(told.value)
    start(1)
    table = run(Assassin(2, str(mark)), {"heads": [1, 2]}, **options)
    pd.testing.assert_frame_equal(table, run(Assassin(2, str(mark)), {"heads": [1, 2]}, n_jobs=1))

"""Sweeps on a real Ray cluster of this machine, some of whose processes die."""

from __future__ import annotations

import os
import socket
import threading
import time

import numpy as np
import pandas as pd
import psutil
import pytest
from assassin import Assassin
from tiny_sweep import TALE, TINY, timeless

ray = pytest.importorskip("ray")

from snn_estimators.sweep import Sweep, sweep_model  # noqa: E402
from snn_estimators.sweep.executors import base, check_engine, open_executor  # noqa: E402
from snn_estimators.sweep.executors.base import Task, pull  # noqa: E402

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module", autouse=True)
def no_usage_reports():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.delenv("RAY_ADDRESS", raising=False)
        yield


def processes():
    """Return Ray's servers that this process has started: others have their own."""
    found = psutil.Process().children(recursive=True)
    return {
        one.pid
        for one in found
        if one.name() in ("raylet", "gcs_server") and one.status() != psutil.STATUS_ZOMBIE
    }


@pytest.fixture(scope="module")
def cluster(no_usage_reports):
    """A cluster that stays for several sweeps, which find it by themselves."""
    with pytest.MonkeyPatch.context() as patch, open_executor("ray", 2):
        patch.setattr("snn_estimators.sweep.executors.ray.RETRIES", 1)
        assert processes()
        yield
    assert not processes()


def test_a_process_killed_in_mid_sweep_changes_nothing(cluster, tmp_path):
    mark = tmp_path / "mark"
    model = sweep_model(**TINY, callbacks=[("assassin", Assassin(str(mark)))])

    def run(**where):
        sweep = Sweep({"heads": [1, 2]}, TALE, baselines=False, estimator=model, length=16, **where)
        return timeless(sweep.run().table)

    table = run(engine="ray", output=tmp_path / "out")
    assert mark.exists()
    pd.testing.assert_frame_equal(table, run(n_jobs=1))


def test_results_come_as_they_are_and_data_is_shared(cluster, tmp_path):
    text = np.arange(100, dtype=np.uint8)

    def look(number, text, mark):
        """Return what a worker sees, the first of them when another is done."""
        deadline = time.monotonic() + 60
        while number == 0 and not mark.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        if number == 5:
            mark.touch()
        return text.flags.writeable, os.getpid(), text.sum()

    with open_executor("ray", 2) as executor:
        shared = executor.share(text)
        tasks = [Task(n, look, (n, shared, tmp_path / "mark")) for n in range(6)]
        tasks += [Task(6, os._exit, (1,)), Task(7, repr, (threading.Lock(),))]
        done = list(pull(executor, tasks))
    numbers = [one.number for one in done]
    assert sorted(numbers) == list(range(8))
    assert numbers.index(0) > max(numbers.index(number) for number in (1, 2, 3, 4))
    by_number = {one.number: one for one in done}
    assert type(by_number.pop(6).error).__name__ == "WorkerCrashedError"
    assert isinstance(by_number.pop(7).error, TypeError)
    seen = [one.result for one in by_number.values()]
    assert {(writeable, total) for writeable, _, total in seen} == {(False, text.sum())}
    assert os.getpid() not in {process for _, process, _ in seen}


def test_something_else_that_answers_is_reported_within_seconds(monkeypatch):
    monkeypatch.setattr(base, "ANSWER_WITHIN", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        engine = f"ray://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(ConnectionError, match="does not answer"):
            check_engine(engine)

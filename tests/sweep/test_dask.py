"""Sweeps on real Dask clusters of this machine, some of whose workers die.

Tasks that import no torch keep the tests of the executor alone fast.
"""

from __future__ import annotations

import os
import random
import threading
import time
from contextlib import ExitStack

import numpy as np
import pandas as pd
import pytest
from assassin import Assassin
from skorch.callbacks import Callback
from tiny_sweep import TALE, TINY, timeless
from warm_process import all_running, run_module, run_script, running

distributed = pytest.importorskip("distributed")

from snn_estimators.sweep import Sweep, sweep_model  # noqa: E402
from snn_estimators.sweep.executors import base, check_engine, open_executor  # noqa: E402
from snn_estimators.sweep.executors.base import Task, WorkersLostError, pull  # noqa: E402
from snn_estimators.sweep.executors.dask import DaskExecutor  # noqa: E402

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module", autouse=True)
def warm():
    """Workers are forks of the server, but for those of a script of its own."""
    import dask

    all_running()  # before Dask starts a server that has imported less
    with dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"}):
        yield


def address(local):
    return local.scheduler_address.replace("tcp", "dask")


@pytest.fixture(scope="module")
def local(warm):
    """A cluster of one worker, which comes back once when a task kills it."""
    import dask

    patience = {
        "distributed.scheduler.allowed-failures": 1,
        "distributed.deploy.lost-worker-timeout": "120s",  # a busy machine restarts slowly
    }
    options = {"threads_per_worker": 1, "dashboard_address": ":0", "memory_limit": 0}
    with dask.config.set(patience), distributed.LocalCluster(n_workers=1, **options) as local:
        yield local


def test_data_goes_to_each_worker_once_and_those_that_join_late_get_work(local, tmp_path):
    def look(text, folder):
        worker = distributed.get_worker()
        (folder / str(os.getpid())).touch()
        deadline = time.monotonic() + 60
        while len(list(folder.iterdir())) < 3 and time.monotonic() < deadline:
            time.sleep(0.05)
        texts = [value for value in worker.data.values() if isinstance(value, np.ndarray)]
        return os.getpid(), len(texts)

    with open_executor(address(local), None) as executor:
        text = executor.share(np.arange(100, dtype=np.uint8))
        results = pull(executor, [Task(number, look, (text, tmp_path)) for number in range(8)])
        local.scale(3)
        seen = {one.number: one.result for one in results}
    local.scale(1)
    assert sorted(seen) == list(range(8))
    assert len({process for process, _ in seen.values()}) == 3
    assert {count for _, count in seen.values()} == {1}


def test_tasks_that_kill_their_workers_or_cannot_be_sent_cost_themselves_alone(local):
    tasks = [
        Task(0, os._exit, (1,)),
        *(Task(number, repr, (threading.Lock(),)) for number in (1, 2, 3)),
        Task(4, repr, ("fine",)),
    ]
    with open_executor(address(local), None) as executor:
        done = {one.number: one for one in pull(executor, tasks)}
    assert sorted(done) == [0, 1, 2, 3, 4]
    assert done[4].result == "'fine'"
    assert type(done[0].error).__name__ == "KilledWorker"
    assert all(isinstance(done[number].error, TypeError) for number in (1, 2, 3))


def test_a_sweep_that_is_given_up_takes_its_tasks_back(local, tmp_path):
    def wait(number, folder):
        (folder / f"started-{number}").touch()
        while number and not (folder / "end").exists():
            time.sleep(0.05)

    with open_executor(address(local), None) as executor:
        results = pull(executor, [Task(number, wait, (number, tmp_path)) for number in range(9)])
        assert next(results) == (0, None, None)
        results.close()
        deadline = time.monotonic() + 10
        while local.scheduler.tasks and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not local.scheduler.tasks
    (tmp_path / "end").touch()
    assert len(list(tmp_path.glob("started-*"))) <= 2


def test_fits_are_kept_although_the_workers_own_thread_draws_random_numbers(local, tmp_path):
    class Patient(Callback):
        """Waits until Dask has drawn from Python's global generator, as it does in long fits."""

        def on_train_begin(self, net, **kwargs):
            before, deadline = random.getstate(), time.monotonic() + 10
            while random.getstate() == before and time.monotonic() < deadline:
                time.sleep(0.05)

    model = sweep_model(**TINY, callbacks=[("patient", Patient())])
    options = {"estimator": model, "length": 16, "output": tmp_path / "out"}
    Sweep({"heads": [1]}, TALE, baselines=False, engine=address(local), **options).run()
    assert len(list((tmp_path / "out").rglob("*.safetensors"))) == 2


SCRIPT = """
import os
import signal
import sys
from pathlib import Path

import pandas as pd
from skorch.callbacks import Callback
from snn_estimators.sweep import Sweep, sweep_model


class Assassin(Callback):
    def on_train_begin(self, net, **kwargs):
        mark = Path("mark")
        if net.module__heads == 2 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)


def run(**options):
    model = sweep_model(**{tiny}, callbacks=[("assassin", Assassin())])
    options |= dict(estimator=model, length=16, baselines=False)
    sweep = Sweep({{"heads": [1, 2]}}, {tale}, **options)
    return sweep.run().table.drop(columns=["fit_time", "fit_time_std"])


table = run(engine="dask", n_jobs=1, output="out")
assert Path("mark").exists()
assert len(list(Path("out").rglob("*.safetensors"))) == 4  # all fits are kept
pd.testing.assert_frame_equal(table, run(n_jobs=1))
"""


def test_a_plain_script_needs_no_guard_and_a_worker_that_is_killed_changes_nothing(tmp_path):
    script = tmp_path / "plain.py"
    script.write_text(SCRIPT.format(tiny=TINY, tale=TALE))
    said = tmp_path / "said.txt"
    with running(run_script, script, output=said) as process:
        process.join(600)
    assert process.exitcode == 0, said.read_text()
    assert "Traceback" not in said.read_text()


@pytest.fixture
def bare():
    """A scheduler, and what starts a worker for it that nobody brings back."""
    with (
        distributed.LocalCluster(n_workers=0, dashboard_address=":0") as local,
        ExitStack() as workers,
    ):

        def start():
            options = ["--no-nanny", "--nthreads", "1", "--memory-limit", "0", "--no-dashboard"]
            command = ["distributed.cli.dask_worker", local.scheduler_address, *options]
            workers.enter_context(running(run_module, *command))
            with distributed.Client(local) as client:
                client.wait_for_workers(1, timeout=60)

        yield local, start


def test_a_sweep_without_workers_ends_and_can_go_on(bare, tmp_path, monkeypatch):
    local, start = bare
    engine = address(local)
    check_engine(engine)  # is there, if only to get workers when there is work
    assassin = Assassin(str(tmp_path / "mark"), table=str(tmp_path / "out" / "results.csv"))
    model = sweep_model(**TINY, callbacks=[("assassin", assassin)])
    options = {"estimator": model, "length": 16}

    def run(**where):
        table = Sweep({"heads": [1, 2]}, TALE, baselines=False, **options, **where).run().table
        return timeless(table)

    with monkeypatch.context() as patch:
        patch.setattr(base, "PATIENCE", 1.0)
        with pytest.raises(ConnectionError, match=r"has no workers.* 0 of 4 fits are done"):
            run(engine=engine)
        start()
        with pytest.raises(ConnectionError, match="2 of 4 fits are done and kept") as error:
            run(engine=engine, output=tmp_path / "out")
    assert "tale,heads=2,seed=0,fold=0" in str(error.value)
    local.adapt(minimum=0, maximum=1, interval="100ms")
    table = run(engine=engine, output=tmp_path / "out")
    pd.testing.assert_frame_equal(table, run(n_jobs=1))


def test_a_lost_scheduler_leaves_the_names_of_all_that_was_pending(monkeypatch):
    monkeypatch.setattr(base, "ANSWER_WITHIN", 1.0)
    monkeypatch.setattr(DaskExecutor, "slots", lambda self: 2)
    with (
        distributed.LocalCluster(n_workers=0, dashboard_address=":0") as local,
        open_executor(address(local), None) as executor,
    ):
        results = pull(executor, [Task(number, time.sleep, (60,)) for number in range(9)])
        threading.Timer(1.0, local.close).start()
        with pytest.raises(WorkersLostError) as error:
            next(results)
    assert error.value.numbers == [0, 1]

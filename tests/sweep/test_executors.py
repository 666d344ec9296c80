from __future__ import annotations

import importlib.util
import os
import socket
import sys
import threading
import time
from concurrent.futures import Future

import joblib
import numpy as np
import psutil
import pytest
import torch
from joblib.externals.loky import BrokenProcessPool
from warm_process import cold_workers, running, warm_workers

from snn_estimators.sweep.executors import base, check_engine, loky, open_executor
from snn_estimators.sweep.executors.base import (
    Task,
    TaskNotStartedError,
    WorkerDiedError,
    pull,
    threads_per_worker,
)
from snn_estimators.sweep.gpus import claimed_gpu


@pytest.fixture
def cold():
    """Processes of loky that start as they do for users."""
    cold_workers()
    yield
    warm_workers()


@pytest.mark.slow
def test_loky_maps_data_and_pins_threads(cold, monkeypatch):
    def look(text):
        return type(text).__name__, text.filename, os.environ["OMP_NUM_THREADS"]

    monkeypatch.setenv("OMP_NUM_THREADS", "7")  # of this process, not of the workers
    with open_executor("loky", 2) as executor:
        text = executor.share(np.arange(50, dtype=np.uint8))
        done = list(pull(executor, [Task(number, look, (text,)) for number in range(3)]))
    assert sorted(one.number for one in done) == [0, 1, 2]
    threads = str(threads_per_worker(2))
    ((kind, _, pinned),) = {one.result for one in done}  # one file for all of them
    assert (kind, pinned) == ("memmap", threads)


@pytest.mark.slow
def test_tasks_of_a_pool_that_breaks_are_retried_one_by_one(cold, tmp_path):
    def die_once():
        mark = tmp_path / "mark"
        if not mark.exists():
            mark.touch()
            os._exit(1)
        return "survived"

    tasks = [
        Task(0, os._exit, (1,)),
        Task(1, die_once, ()),
        *(Task(number, abs, (-number,)) for number in (2, 3, 4)),
        Task(5, abs, ("a",)),
        Task(6, abs, (threading.Lock(),)),  # cannot be pickled
    ]
    with open_executor("loky", 2) as executor:
        done = {one.number: one for one in pull(executor, tasks)}
    assert sorted(done) == list(range(7))
    assert isinstance(done[0].error, WorkerDiedError)
    assert done[1].result == "survived"
    assert [done[number].result for number in (2, 3, 4)] == [2, 3, 4]
    assert isinstance(done[5].error, TypeError)
    assert "pickle" in str(done[6].error)


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """Return a class that only this process knows, by reference."""
    (tmp_path / "mine_alone.py").write_text("class Mine:\n    pass\n")
    spec = importlib.util.spec_from_file_location("mine_alone", tmp_path / "mine_alone.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "mine_alone", module)
    spec.loader.exec_module(module)
    return module.Mine


@pytest.mark.slow
def test_a_task_that_no_process_can_import_ends_with_the_reason(cold, mine):
    with open_executor("loky", 2) as executor:
        first = next(pull(executor, [Task(number, repr, (mine(),)) for number in range(9)]))
    assert isinstance(first.error, TaskNotStartedError)
    reason = str(first.error.__cause__.__cause__)
    assert "No module named 'mine_alone'" in reason.strip().strip('"').strip().splitlines()[-1]


class Pool:
    """Breaks so many times before it starts a task."""

    def __init__(self, times):
        self.times = times

    def submit(self, function, *args):
        future = Future()
        if self.times:
            self.times -= 1
            raise BrokenProcessPool("the pool broke")
        future.set_result(function(*args))
        return future

    def shutdown(self, kill_workers):
        pass


@pytest.fixture
def pool(monkeypatch):
    def pool(times):
        pool = Pool(times)
        monkeypatch.setattr(loky, "get_reusable_executor", lambda *_, **__: pool)
        return pool

    return pool


def test_a_pool_that_breaks_once_before_a_task_is_forgiven(pool, tmp_path):
    pool(1)
    executor = loky.LokyExecutor(2, 1, tmp_path)
    tasks = [Task(number, abs, (-number,)) for number in range(4)]
    assert sorted(one.result for one in pull(executor, tasks)) == [0, 1, 2, 3]


def test_a_pool_that_breaks_again_before_a_task_is_given_up(pool, tmp_path):
    pool(9)
    executor = loky.LokyExecutor(2, 1, tmp_path)
    first = next(pull(executor, [Task(number, abs, (-number,)) for number in range(4)]))
    assert isinstance(first.error, TaskNotStartedError)
    assert str(first.error.__cause__) == "the pool broke"


@pytest.mark.slow
def test_whatever_is_running_is_killed_when_a_sweep_is_aborted(cold, tmp_path):
    def wait(number):
        (tmp_path / f"pid-{os.getpid()}").touch()
        if number:
            time.sleep(60)

    with open_executor("loky", 2) as executor:
        results = pull(executor, [Task(number, wait, (number,)) for number in (0, 1)])
        assert next(results).number == 0
        results.close()
    pids = [int(path.name.removeprefix("pid-")) for path in tmp_path.iterdir()]
    assert pids
    assert not any(map(psutil.pid_exists, pids))


@pytest.mark.parametrize("cores", [1, 2, 6, 64])
@pytest.mark.parametrize("jobs", [1, 2, 5, 100, -1, -2])
def test_cores_are_never_crowded_by_threads(cores, jobs):
    threads = threads_per_worker(jobs, cores)
    processes = jobs if jobs > 0 else max(1, cores + 1 + jobs)
    assert threads >= 1
    assert processes * threads <= max(cores, processes)


@pytest.mark.slow
def test_processes_share_gpus_round_robin(tmp_path, monkeypatch):
    """Two at a time on two GPUs never get the same one."""
    monkeypatch.setattr("snn_estimators.sweep.gpus._last_gpu", None)
    with claimed_gpu(0, 2, tmp_path) as first:
        with running(claim, tmp_path, output=tmp_path / "other") as other:
            other.join()
        assert {first, (tmp_path / "other").read_text()} == {"cuda:0", "cuda:1"}
    with claimed_gpu(1, 2, tmp_path) as again:
        assert again == first
    monkeypatch.setattr("snn_estimators.sweep.gpus._last_gpu", None)
    with claimed_gpu(1, 2, tmp_path) as second:
        assert second == "cuda:1"


def claim(folder):
    with claimed_gpu(0, 2, folder) as gpu:
        print(gpu, end="")


@pytest.mark.parametrize("kind", ["dask", "ray"])
@pytest.mark.parametrize("place", ["127.0.0.1:{port}", "no-such-host.invalid:8786"])
def test_an_address_that_does_not_answer_is_reported_at_once(kind, place):
    pytest.importorskip("distributed" if kind == "dask" else kind)
    engine = f"{kind}://{place}"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        engine = engine.format(port=free.getsockname()[1])
    started = time.monotonic()
    with pytest.raises(ConnectionError, match=rf"the engine {kind}://.* does not answer"):
        check_engine(engine)
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("place", ["127.0.0.1:{port}", "ray://127.0.0.1:{port}"])
def test_a_dead_ray_address_of_the_environment_is_reported_at_once(place, monkeypatch):
    pytest.importorskip("ray")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = place.format(port=free.getsockname()[1])
    monkeypatch.setenv("RAY_ADDRESS", place)
    with pytest.raises(ConnectionError, match=f"{place}.* does not answer"):
        check_engine("ray")


@pytest.mark.parametrize("place", ["auto", "local", ""])
def test_ray_finds_by_itself_what_is_no_address(place, monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_ADDRESS", place)
    check_engine("ray")


def test_something_else_that_answers_is_reported_within_seconds(monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr(base, "ANSWER_WITHIN", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        engine = f"dask://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(ConnectionError, match="does not answer"):
            check_engine(engine)


@pytest.mark.parametrize("engine", ["", "loky://here", "dask://", "dask://host:port", "spark"])
def test_engines_that_do_not_exist(engine):
    with pytest.raises(ValueError, match="engine"):
        check_engine(engine)


@pytest.mark.parametrize(("engine", "module"), [("dask", "distributed"), ("ray", "ray")])
def test_packages_that_are_not_installed_are_named(engine, module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"pip install 'snn-estimators\[{engine}\]'"):
        check_engine(engine)


@pytest.mark.skipif(torch.cuda.device_count() < 1, reason="no GPU")
def test_a_gpu_is_used_by_one_process_at_a_time(tmp_path):
    with claimed_gpu(0, 1, tmp_path) as gpu:
        assert torch.zeros(1, device=gpu).device.type == "cuda"


def test_cores_are_those_of_joblib():
    assert threads_per_worker(1) == joblib.cpu_count()

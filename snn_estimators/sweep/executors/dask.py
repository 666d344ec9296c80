"""A Dask cluster, or one of this machine's cores that is started here."""

from __future__ import annotations

import importlib
import logging
import os
import queue
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import joblib
import numpy as np

from snn_estimators.sweep.executors import base
from snn_estimators.sweep.executors.base import Completed, Executor, WorkersLostError

__all__ = ["DaskExecutor", "check", "connect"]

_STARTS_WITHIN = 60  # seconds


class DaskExecutor(Executor):
    """Runs tasks on a Dask cluster.

    Dask moves the tasks of a worker that dies to others, and gives one up that took several
    workers with it (``distributed.scheduler.allowed-failures``): its `KilledWorker` is an error
    like any other.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._pending: dict[int, Any] = {}
        self._completed: queue.SimpleQueue[Completed] = queue.SimpleQueue()

    def share(self, array: Any) -> Any:
        """Return the future of an array.

        Data that is scattered dies with the workers that have it; a result is computed again.
        """
        return self._client.submit(np.asarray, array, pure=False)

    def slots(self) -> int:
        """Return the number of the workers' threads."""
        return sum(self._client.ncores().values())

    def submit(self, number: int, function: Callable[..., Any], *args: Any) -> None:
        """Send off a task."""
        future = self._client.submit(function, *args, pure=False)
        self._pending[number] = future
        future.add_done_callback(lambda done: self._on_done(number, done))

    def _on_done(self, number: int, future: Any) -> None:
        """Fetch the result, in a thread of Dask's."""
        if future.status == "finished":
            try:
                completed = Completed(number, future.result())
            except Exception as error:
                completed = Completed(number, error=error)
        elif future.status == "error":
            completed = Completed(number, error=future.exception())
        else:  # only `cancel` cancels, and a client that lost its scheduler
            completed = Completed(number, error=WorkersLostError())
        if self._pending.pop(number, None) is not None:
            self._completed.put(completed)

    def wait(self, timeout: float) -> list[Completed]:
        """Return tasks that were completed."""
        completed = []
        with suppress(queue.Empty):
            completed.append(self._completed.get(timeout=timeout))
            while True:
                completed.append(self._completed.get_nowait())
        return completed

    def cancel(self) -> None:
        """Take back what no worker has started."""
        futures = list(self._pending.values())
        self._pending.clear()
        self._completed = queue.SimpleQueue()
        if futures and self._client.status == "running":
            self._client.cancel(futures, force=True)


def check(engine: str, address: tuple[str, int] | None) -> None:
    """Raise ConnectionError if no scheduler answers at an address."""
    if address is None:
        return
    try:
        with socket.create_connection(address, timeout=base.ANSWER_WITHIN) as line:
            if not line.recv(1):  # a scheduler speaks first
                raise ConnectionError("it is no Dask scheduler")
    except OSError as error:
        raise base.no_answer(engine, error) from error
    with _client_of(engine):
        pass


@contextmanager
def connect(engine: str, n_jobs: int | None) -> Iterator[Executor]:
    """Connect to a cluster, or start one of `n_jobs` workers, by default one a core."""
    if "://" in engine:
        opened = _client_of(engine)
    else:
        opened = _local_client(joblib.effective_n_jobs(-1 if n_jobs is None else n_jobs))
    with opened as client:
        yield DaskExecutor(client)


@contextmanager
def _client_of(engine: str) -> Iterator[Any]:
    """Connect to a cluster, whose workers may come later."""
    distributed = importlib.import_module("distributed")
    place = engine.replace("dask://", "tcp://")
    try:
        client = distributed.Client(place, timeout=base.ANSWER_WITHIN)
    except OSError as error:  # a TimeoutError, too
        raise base.no_answer(engine, error) from error
    with client:
        yield client


@contextmanager
def _local_client(n_workers: int) -> Iterator[Any]:
    """Start a cluster of this machine.

    Its workers are started as on any other machine: those that Dask itself forks off a program
    import it again, and need it to be guarded by ``if __name__ == "__main__"``. And they are out
    of the reach of Ctrl-C, which the program alone answers.
    """
    distributed = importlib.import_module("distributed")
    quiet = {"dashboard_address": ":0", "silence_logs": logging.CRITICAL}
    with distributed.LocalCluster(n_workers=0, **quiet) as cluster:
        command = [sys.executable, "-m", "distributed.cli.dask_worker", cluster.scheduler_address]
        command += ["--nworkers", str(n_workers), "--nthreads", "1", "--memory-limit", "0"]
        workers = subprocess.Popen(
            [*command, "--no-dashboard"],
            env=os.environ | {"DASK_LOGGING__DISTRIBUTED": "critical"} | base.import_path(),
            start_new_session=True,
        )
        try:
            with distributed.Client(cluster) as client:
                _wait_for_workers(client, workers)
                yield client
        finally:
            _kill(workers)


def _wait_for_workers(client: Any, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _STARTS_WITHIN
    while not client.ncores():
        if process.poll() is not None or time.monotonic() > deadline:
            raise ConnectionError('the workers of the engine "dask" do not start: see their output')
        time.sleep(0.1)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process, then its children, whom it would start again."""
    psutil = importlib.import_module("psutil")
    alive = process.poll() is None
    children = psutil.Process(process.pid).children(recursive=True) if alive else []
    process.kill()
    process.wait()
    for child in children:
        with suppress(psutil.NoSuchProcess):
            child.kill()

"""Processes of this machine, by loky as joblib brings it, or this process itself."""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future
from concurrent.futures import wait as wait_for
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from joblib.externals.loky import BrokenProcessPool, get_reusable_executor

from snn_estimators.sweep.executors.base import (
    Completed,
    Executor,
    Task,
    TaskNotStartedError,
    WorkerDiedError,
    threads_per_worker,
)

__all__ = ["LokyExecutor", "SerialExecutor", "connect"]

_IDLE = 300  # seconds after which a process without tasks ends
_THREADS = (
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS"),
    *("VECLIB_MAXIMUM_THREADS", "NUMBA_NUM_THREADS", "NUMEXPR_NUM_THREADS"),
)


@contextmanager
def connect(n_jobs: int | None) -> Iterator[Executor]:
    """Start processes, unless one is enough, which is this one; None is one a core."""
    n_workers = joblib.effective_n_jobs(-1 if n_jobs is None else n_jobs)
    if n_workers == 1:
        yield SerialExecutor()
        return
    with tempfile.TemporaryDirectory(
        prefix="snn-estimators-", ignore_cleanup_errors=True
    ) as folder:
        executor = LokyExecutor(n_workers, threads_per_worker(n_jobs), Path(folder))
        try:
            yield executor
        finally:
            executor.stop()


class SerialExecutor(Executor):
    """Runs one task after another in this process."""

    def __init__(self) -> None:
        self._tasks: deque[Task] = deque()

    def slots(self) -> int:
        """Return 1."""
        return 1

    def submit(self, number: int, function: Callable[..., Any], *args: Any) -> None:
        """Keep a task for `wait`."""
        self._tasks.append(Task(number, function, args))

    def wait(self, timeout: float) -> list[Completed]:
        """Run a task, however long it takes; Ctrl-C ends it."""
        number, function, args = self._tasks.popleft()
        try:
            return [Completed(number, function(*args))]
        except Exception as error:
            return [Completed(number, error=error)]

    def cancel(self) -> None:
        """Forget what was not run."""
        self._tasks.clear()


class LokyExecutor(Executor):
    """Runs tasks in processes that survive the death of one of them.

    A process that dies takes the pool with it. Then there is a new pool, and whatever was pending
    runs one by one: a task whose process dies again has a `WorkerDiedError`. Where not a single
    task was started, as no process can import what it needs, there is one more try.

    loky rather than `concurrent.futures`: it needs no guard by ``if __name__ == "__main__"``, and
    pickles what was defined in a notebook. It is the copy that comes with joblib, by its public
    names: joblib itself has no futures, and does not report which tasks were lost.

    The folder is for temporary files: shared arrays, and a mark for each task that is running.
    """

    def __init__(self, n_workers: int, n_threads: int, folder: Path) -> None:
        self._n_workers = n_workers
        self._env = dict.fromkeys(_THREADS, str(n_threads))
        self._folder = folder
        self._tasks: dict[int, Task] = {}
        self._futures: dict[Future[Any], int] = {}
        self._one_by_one: deque[int] = deque()
        self._retried: set[int] = set()
        self._not_started = 0  # pools in a row that broke before they started a task
        self._n_shared = 0
        self._pool: Any = None

    def share(self, array: Any) -> Any:
        """Write an array to a file, which the processes map into their memory."""
        path = self._folder / f"shared-{self._n_shared}.npy"
        self._n_shared += 1
        np.save(path, array)
        return _Mapped(path)

    def slots(self) -> int:
        """Return the number of processes, or 1 while tasks are retried one by one."""
        retries = self._one_by_one or self._retried.intersection(self._futures.values())
        return 1 if retries else self._n_workers

    def submit(self, number: int, function: Callable[..., Any], *args: Any) -> None:
        """Send off a task."""
        self._tasks[number] = Task(number, function, args)
        self._send(number)

    def _send(self, number: int) -> None:
        self._pool = get_reusable_executor(self._n_workers, timeout=_IDLE, env=self._env)
        _, function, args = self._tasks[number]
        try:
            future = self._pool.submit(_make_run(), self._mark(number), function, args)
        except BrokenProcessPool as error:
            future = Future()
            future.set_exception(error)
        self._futures[future] = number

    def _mark(self, number: int) -> Path:
        return self._folder / f"running-{number}"

    def wait(self, timeout: float) -> list[Completed]:
        """Return tasks that were completed, and retry those of a pool that broke."""
        done, _ = wait_for(self._futures, timeout, FIRST_COMPLETED)
        if any(isinstance(future.exception(), BrokenProcessPool) for future in done):
            done, _ = wait_for(self._futures)  # the whole pool is lost at once
        completed, broken = [], {}
        for future in done:
            number, error = self._futures.pop(future), future.exception()
            if isinstance(error, BrokenProcessPool):
                broken[number] = error
            else:
                completed.append(self._complete(number, future))
        if broken:
            completed += self._recover(broken)
        if self._one_by_one and not self._futures:
            self._send(self._one_by_one.popleft())
        return completed

    def _complete(self, number: int, future: Future[Any]) -> Completed:
        del self._tasks[number]
        self._not_started = 0
        error = future.exception()
        return Completed(number, None if error else future.result(), error)

    def _recover(self, broken: dict[int, BrokenProcessPool]) -> list[Completed]:
        """Queue the tasks of a broken pool, and return those that shall not be retried."""
        started = [number for number in broken if self._mark(number).exists()]
        for number in started:
            self._mark(number).unlink()
        self._not_started = 0 if started else self._not_started + 1
        if self._not_started > 1:
            number, cause = min(broken.items())
            error: RuntimeError = TaskNotStartedError()
            error.__cause__ = cause
            return [Completed(number, error=error)]
        dead = self._retried.intersection(started)
        self._retried.update(started)
        self._one_by_one.extend(sorted(broken.keys() - dead))
        for number in dead:
            del self._tasks[number]
        return [Completed(number, error=WorkerDiedError()) for number in sorted(dead)]

    def stop(self) -> None:
        """End the processes: joblib would take them for its own, which they are not."""
        if self._pool is not None:
            self._pool.shutdown(kill_workers=True)

    def cancel(self) -> None:
        """Kill the processes if they are at work; otherwise they stay for what comes next."""
        if not all(future.done() for future in self._futures):
            self._pool.shutdown(kill_workers=True)
        for pending in (self._futures, self._one_by_one, self._retried, self._tasks):
            pending.clear()


class _Mapped:
    """Stands for an array, which it becomes where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)

    def __reduce__(self) -> Any:
        return np.load, (self._path, "r")


def _make_run() -> Callable[[Path, Callable[..., Any], tuple[Any, ...]], Any]:
    """Return `run` as a local function, which is pickled by value.

    Processes need not import this package, which takes seconds, before they set a mark.
    """

    def run(mark: Path, function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        """Call a function, and leave a mark if the process dies meanwhile."""
        mark.touch()
        try:
            return function(*args)
        finally:
            mark.unlink(missing_ok=True)

    return run

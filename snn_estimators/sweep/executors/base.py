"""What an executor is, and the loop that keeps one busy."""

from __future__ import annotations

import os
import sys
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Generator, Iterable
from typing import Any, NamedTuple

import joblib

__all__ = [
    "LOCAL_ENGINES",
    "Completed",
    "Executor",
    "Task",
    "TaskNotStartedError",
    "WorkerDiedError",
    "WorkersLostError",
    "parse_engine",
    "pull",
    "threads_per_worker",
]

LOCAL_ENGINES = ("loky", "dask")
"""Those that start processes on this machine, one a core or GPU."""
ANSWER_WITHIN = 5.0  # seconds
LOOK_EVERY = 1.0  # seconds
PATIENCE = 60.0  # seconds; workers that restart take a few, those of a cloud take longer
_PORTS = {"dask": 8786, "ray": 10001}


class WorkersLostError(ConnectionError):
    """There are no workers, and none came within `PATIENCE`, or the scheduler was lost.

    `numbers` are those of the tasks that were pending.
    """

    def __init__(self, numbers: Iterable[int] = ()) -> None:
        super().__init__("the cluster has no workers")
        self.numbers = sorted(numbers)


class WorkerDiedError(RuntimeError):
    """The process of a task died, and died again when the task was retried by itself."""


class TaskNotStartedError(RuntimeError):
    """Processes end again and again before they start a task; its cause says why."""


class Task(NamedTuple):
    """A function to be called elsewhere."""

    number: int
    function: Callable[..., Any]
    args: tuple[Any, ...]
    """Arrays that many tasks have in common come from `Executor.share`."""


class Completed(NamedTuple):
    """What a task returned, or the error that it has instead of a result."""

    number: int
    result: Any = None
    error: BaseException | None = None


class Executor(ABC):
    """Runs tasks, as `pull` asks it to."""

    def share(self, array: Any) -> Any:
        """Return what stands for an array in the arguments of tasks: each worker gets it once."""
        return array

    @abstractmethod
    def slots(self) -> int:
        """Return how many tasks the workers that are there now can run at a time.

        May raise any error if the cluster does not answer.
        """

    @abstractmethod
    def submit(self, number: int, function: Callable[..., Any], *args: Any) -> None:
        """Send off a task; may raise any error if that is impossible."""

    @abstractmethod
    def wait(self, timeout: float) -> list[Completed]:
        """Return tasks that were completed, after so many seconds at the latest.

        A task whose error is `WorkersLostError` stands for all that are pending.
        """

    @abstractmethod
    def cancel(self) -> None:
        """Take back, or stop, whatever is pending."""


def pull(executor: Executor, tasks: Iterable[Task]) -> Generator[Completed, None, None]:
    """Run tasks, as many at a time as there are slots, and yield them as they complete.

    A task is drawn from the iterable when there is a slot for it, and not before: the iterable may
    decide at any time that there are no more. Workers that join late get tasks, too. Whatever is
    pending when the generator is closed is cancelled.

    Raises
    ------
    WorkersLostError
        If there were no workers for `PATIENCE` seconds, or the scheduler was lost.
    """
    waiting = iter(tasks)
    pending: set[int] = set()
    unsent: list[Completed] = []
    completed: deque[Completed] = deque()
    last_seen, cause = time.monotonic(), None
    try:
        while True:
            try:
                slots = executor.slots()
            except Exception as error:  # of many kinds: the scheduler is dead, or cannot be reached
                slots, cause = 0, error
            if slots:
                last_seen = time.monotonic()
            elif time.monotonic() - last_seen > PATIENCE:
                raise WorkersLostError(pending) from cause
            # A cluster without workers gets one task: some start workers when there is work.
            while len(pending) < max(1, slots) and (task := next(waiting, None)) is not None:
                pending.add(task.number)
                try:
                    executor.submit(task.number, task.function, *task.args)
                except Exception as error:
                    unsent.append(Completed(task.number, error=error))
            if not pending:
                return
            if slots:  # the cluster is there, so the arguments are to blame
                completed.extend(unsent)
                unsent.clear()
            if not completed:
                try:
                    completed.extend(executor.wait(LOOK_EVERY))
                except Exception as error:
                    cause = error
                    time.sleep(LOOK_EVERY)
            if completed:
                one = completed.popleft()
                if isinstance(one.error, WorkersLostError):
                    raise WorkersLostError(pending) from one.error.__cause__
                pending.discard(one.number)
                yield one
    finally:
        executor.cancel()


def parse_engine(engine: str) -> tuple[str, tuple[str, int] | None]:
    """Split ``dask://host:port`` into its kind and its address.

    Examples
    --------
    >>> parse_engine("ray"), parse_engine("dask://10.0.0.1")
    (('ray', None), ('dask', ('10.0.0.1', 8786)))
    """
    kind, has_address, rest = str(engine).partition("://")
    host, _, port = rest.rpartition(":") if ":" in rest else (rest, "", str(_PORTS.get(kind)))
    if kind not in ("loky", *_PORTS) or (has_address and (kind == "loky" or not host)):
        raise ValueError(
            f"there is no engine {engine!r}: choose loky, dask, dask://HOST:PORT, ray or "
            "ray://HOST:PORT"
        )
    if not has_address:
        return kind, None
    if not port.isdecimal():
        raise ValueError(f"the engine {engine!r} has no port: write {kind}://HOST:PORT")
    return kind, (host.strip("[]"), int(port))


def threads_per_worker(n_jobs: int | None, cores: int | None = None) -> int:
    """Return how many threads each of `n_jobs` processes may use without crowding the cores."""
    cores = joblib.cpu_count() if cores is None else cores
    jobs = 1 if n_jobs is None else n_jobs
    jobs = max(1, cores + 1 + jobs) if jobs < 0 else jobs
    return max(1, cores // jobs)


def no_answer(engine: str, error: BaseException) -> ConnectionError:
    """Return the error of an engine that cannot be reached."""
    hint = ", and RAY_AUTH_MODE=token if it wants a token" if engine.startswith("ray") else ""
    return ConnectionError(
        f"the engine {engine} does not answer ({str(error) or type(error).__name__}): check the "
        f"address, and that it was started{hint}"
    )


def import_path() -> dict[str, str]:
    """Return the variable that has workers import what can be imported here."""
    return {"PYTHONPATH": os.pathsep.join(sys.path)}

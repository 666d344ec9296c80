"""What joblib's backends lack on clusters that grow, shrink and lose their workers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple

from joblib._parallel_backends import ParallelBackendBase

from snn_estimators.sweep.worker import FitResult, reason

__all__ = ["ClusterBackend", "WorkersGoneError"]

LOOK_EVERY = 1.0  # seconds
PATIENCE = 60.0  # seconds; workers that come back take a few, those of a cloud take longer


class WorkersGoneError(ConnectionError):
    """No worker is there and none came within `PATIENCE`, or nobody is left to ask for them.

    Attributes
    ----------
    numbers : list of int
        Of the tasks that were in hand.
    """

    def __init__(self, numbers: list[int]) -> None:
        super().__init__("the cluster has no workers")
        self.numbers = numbers


class Lost(NamedTuple):
    """Stands for the result of a task that has none."""

    number: int
    error: BaseException


class ClusterBackend(ParallelBackendBase):
    """The part of a backend that Dask and Ray share.

    joblib asks once how many tasks go at a time, and takes a task that no worker brings back for
    one that takes long. Here a thread looks after the workers: those that join late get tasks,
    and a sweep does not wait for ever for those that are gone. Each batch is one call, whose
    first argument is a number that comes back with its `FitResult`.
    """

    supports_retrieve_callback = True

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._in_hand: dict[int, Callable[[Any], None]] = {}  # callbacks by the tasks' numbers
        self._refused: list[Lost] = []  # those that could not be sent off
        self._over = threading.Event()
        self._watcher: threading.Thread | None = None

    def slots(self) -> int:
        """Return how many tasks the workers that are there now can do at a time.

        May raise whatever it likes if the cluster does not answer.
        """
        raise NotImplementedError

    def wait(self, over: threading.Event) -> None:
        """Pass the time until the next look at the workers."""
        over.wait(LOOK_EVERY)

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """Return how many tasks go at a time: joblib would do them here if it were one."""
        return max(2, self.slots())

    def start_call(self) -> None:
        """Begin to look after the workers; part of joblib's interface."""
        super().start_call()
        self._in_hand.clear()
        self._refused.clear()
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch, args=(self._over,), daemon=True)
        self._watcher.start()

    def stop_call(self) -> None:
        """Look away; part of joblib's interface."""
        self._over.set()
        if self._watcher is not None:
            self._watcher.join(timeout=10 * LOOK_EVERY)
        super().stop_call()

    def send(self, number: int, function: Any, args: Sequence[Any], kwargs: Any) -> None:
        """Send off a task, whose result is to come by `brought`."""
        raise NotImplementedError

    def submit(self, func: Any, callback: Any = None) -> Any:
        """Send off a batch of one task; part of joblib's interface."""
        ((function, args, kwargs),) = func.items
        number: int = args[0]
        self._in_hand[number] = callback
        try:
            self.send(number, function, args, kwargs)
        except Exception as error:
            # Told by the watcher: joblib, who waits for this call, would send the next from it.
            self._refused.append(Lost(number, error))
        return Future()  # joblib asks it nothing

    def brought(self, number: int, out: Any) -> None:
        """Tell joblib the result of a task, or that it is `Lost`; the first of both counts."""
        callback = self._in_hand.pop(number, None)
        if callback is not None:
            callback(out)

    def retrieve_result_callback(self, out: Any) -> Any:
        """Return a batch's results; part of joblib's interface."""
        if not isinstance(out, Lost):
            return [out]
        if isinstance(out.error, WorkersGoneError):
            raise out.error
        return [(out.number, FitResult(float("nan"), failure=reason(out.error)))]

    def _watch(self, over: threading.Event) -> None:
        seen, cause = time.monotonic(), None
        while not over.is_set():
            try:
                self.wait(over)
                if slots := self.slots():
                    self._tell_refused(over)
                    self._fill(slots, over)
                    seen = time.monotonic()
            except Exception as error:  # of many kinds: the scheduler is dead, or the line to it is
                cause = error
                over.wait(LOOK_EVERY)
            if time.monotonic() - seen > PATIENCE:
                gone = WorkersGoneError(sorted(self._in_hand))
                gone.__cause__ = cause
                for number in gone.numbers[:1]:  # one error ends the call
                    self.brought(number, Lost(number, gone))
                return

    def _tell_refused(self, over: threading.Event) -> None:
        """Give up what a cluster that is there does not take: its arguments are to blame."""
        while self._refused and not over.is_set():
            refused = self._refused.pop(0)
            self.brought(refused.number, refused)

    def _fill(self, slots: int, over: threading.Event) -> None:
        """Have joblib send more tasks if there are fewer than workers: it sends one for one."""
        for _ in range(slots - len(self._in_hand)):
            with self.parallel._lock:  # as joblib itself does when a task is done
                if over.is_set() or self.parallel._original_iterator is None:
                    return
                self.parallel.dispatch_next()

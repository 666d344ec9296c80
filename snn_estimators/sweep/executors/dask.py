"""A Dask backend for joblib, for sweeps.

joblib's own waits for ever for tasks that Dask gives up or cannot send, and cancels none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from snn_estimators.sweep.executors.cluster import ClusterBackend, Lost, WorkersGoneError

__all__ = ["DaskBackend"]


class DaskBackend(ClusterBackend):
    """A backend that survives its workers.

    Dask moves the tasks of a worker that dies to others, and gives one up that took several
    workers with it (``distributed.scheduler.allowed-failures``): here that is a result, too. And
    data that is scattered dies with the workers that have it; the result of a task is made again.

    Parameters
    ----------
    client : distributed.Client
    shared : sequence of ndarrays
        Arguments of many tasks, brought to each worker once.
    """

    def __init__(self, client: Any, shared: Sequence[Any] = ()) -> None:
        super().__init__()
        self._client = client
        self._shared = {
            id(one): (one, client.submit(np.asarray, one, pure=False)) for one in shared
        }
        self._sent: dict[int, Any] = {}

    def slots(self) -> int:
        """Return the number of the workers' threads."""
        return sum(self._client.ncores().values())

    def send(self, number: int, function: Any, args: Sequence[Any], kwargs: Any) -> None:
        """Send off a task."""
        args = [self._shared[id(one)][1] if id(one) in self._shared else one for one in args]
        future = self._client.submit(function, *args, **kwargs, pure=False)
        self._sent[number] = future
        future.add_done_callback(lambda done: self._done(number, done))

    def _done(self, number: int, future: Any) -> None:
        if future.status == "finished":
            try:
                out = future.result()
            except Exception as error:
                out = Lost(number, error)
        elif future.status == "error":
            out = Lost(number, future.exception())
        else:  # nobody cancels but `abort_everything`, and a client that lost its scheduler
            out = Lost(number, WorkersGoneError(sorted(self._in_hand)))
        self._sent.pop(number, None)
        self.brought(number, out)

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """Take back what no worker has begun; part of joblib's interface."""
        futures = list(self._sent.values())
        self._sent.clear()
        if futures and self._client.status == "running":
            self._client.cancel(futures, force=True)

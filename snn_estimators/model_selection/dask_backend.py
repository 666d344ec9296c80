"""joblib's Dask backend, for sweeps; imported where Dask is used, and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import CancelledError
from typing import Any

from joblib._dask import DaskDistributedBackend

from snn_estimators.model_selection.cluster_backend import (
    ClusterBackend,
    Lost,
    WorkersGoneError,
)

__all__ = ["DaskBackend"]


def _itself(value: Any) -> Any:
    return value


class DaskBackend(ClusterBackend, DaskDistributedBackend):
    """A backend that survives its workers.

    Dask moves the tasks of a worker that dies to others, and gives one up that took several
    workers with it (``distributed.scheduler.allowed-failures``): here that is a result, too,
    where joblib's backend waits for ever. And data that joblib would scatter dies with the
    workers that have it; the result of a task is made again.

    Parameters
    ----------
    client : distributed.Client
    shared : sequence of ndarrays
        Arguments of many tasks, brought to each worker once.
    """

    def __init__(self, client: Any, shared: Sequence[Any]) -> None:
        super().__init__(client=client)
        self._shared = shared  # known by their identities, which must stay theirs
        self.data_futures = {id(one): client.submit(_itself, one, pure=False) for one in shared}

    def __reduce__(self) -> Any:
        """Give workers, for what tasks might run in parallel themselves, joblib's own backend."""
        return DaskDistributedBackend, ()

    def slots(self) -> int:
        """Return the number of the workers' threads."""
        return sum(self.client.ncores().values())

    def unpacked(self, out: Any) -> list[Any]:
        """Return the results of a batch that came back, or raise what it raised."""
        try:
            return DaskDistributedBackend.retrieve_result_callback(self, out)
        except CancelledError as error:  # nobody cancels but a client that lost its scheduler
            raise WorkersGoneError(sorted(self._in_hand)) from error

    def submit(self, func: Any, callback: Any = None) -> Any:
        """Send off a batch of one task; part of joblib's interface."""
        number = self.took(func, callback)
        future = super().submit(func, lambda out: self.brought(number, out))

        def report(done: Any) -> None:
            if done.exception() is not None:
                self.brought(number, Lost(number, done.exception()))

        future.add_done_callback(report)
        return future

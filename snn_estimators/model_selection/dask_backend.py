"""joblib's Dask backend, for sweeps; imported where Dask is used, and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from joblib._dask import DaskDistributedBackend

from snn_estimators.model_selection.fits import Outcome, reason

__all__ = ["DaskBackend"]


class _Lost(NamedTuple):
    """Stands for the result of a task that has none."""

    number: int
    error: BaseException


def _itself(value: Any) -> Any:
    return value


class DaskBackend(DaskDistributedBackend):
    """A backend that survives its workers.

    Dask moves the tasks of a worker that dies to others, and gives one up that took several
    workers with it: here that is a result, too, where joblib's backend waits for ever. And data
    that joblib would scatter dies with the workers that have it; the result of a task is made
    again.

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

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """Return how many tasks go at a time: joblib would do them here if it were one."""
        return max(2, super().effective_n_jobs(n_jobs))

    def submit(self, func: Any, callback: Any = None) -> Any:
        """Send off a batch of one task; part of joblib's interface."""
        number = func.items[0][1][0]  # the first argument of `fit_and_score`
        future = super().submit(func, callback)

        def report(done: Any) -> None:
            if done.exception() is not None:
                callback(_Lost(number, done.exception()))

        future.add_done_callback(report)
        return future

    def retrieve_result_callback(self, out: Any) -> Any:
        """Return a batch's results; part of joblib's interface."""
        if isinstance(out, _Lost):
            return [(out.number, Outcome(float("nan"), failure=reason(out.error)))]
        return super().retrieve_result_callback(out)

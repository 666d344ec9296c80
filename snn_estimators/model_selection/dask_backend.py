"""joblib's Dask backend, for sweeps; imported where Dask is used, and nowhere else."""

from __future__ import annotations

from typing import Any, NamedTuple

from joblib._dask import DaskDistributedBackend

from snn_estimators.model_selection.fits import Outcome, reason

__all__ = ["DaskBackend"]


class _Lost(NamedTuple):
    """Stands for the result of a task that has none."""

    number: int
    error: BaseException


class DaskBackend(DaskDistributedBackend):
    """A backend to which a task that Dask gives up is a result, too.

    Dask moves the tasks of a worker that dies to others, and gives one up that took several
    workers with it. joblib's backend would wait for that task for ever.
    """

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

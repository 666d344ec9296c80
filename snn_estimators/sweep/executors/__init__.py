"""Where the fits of a sweep run: this process, processes of this machine, a Dask or a Ray cluster.

Nothing here knows what a fit is: an `Executor` runs any function, and `pull` keeps it busy.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from snn_estimators.sweep.executors import loky
from snn_estimators.sweep.executors.base import Executor, parse_engine

__all__ = ["check_engine", "open_executor"]

_PACKAGES = {"dask": "distributed", "ray": "ray"}


def check_engine(engine: str) -> None:
    """Raise an error if an engine is unknown, not installed, or does not answer for seconds."""
    kind, address = parse_engine(engine)
    if kind == "loky":
        return
    try:
        importlib.import_module(_PACKAGES[kind])
    except ImportError as error:
        raise ImportError(
            f"the engine {engine!r} needs a package that is not installed: "
            f"pip install 'snn-estimators[{kind}]'"
        ) from error
    _module(kind).check(engine, address)


@contextmanager
def open_executor(
    engine: str,
    n_jobs: int | None,
    *,
    shared_bytes: int = 0,
    gpus: bool = False,
) -> Iterator[Executor]:
    """Start or connect to an engine, and stop at the end of the block what was started.

    Parameters
    ----------
    engine : str
        As in `check_engine`.
    n_jobs : int or None
        Tasks at a time. A cluster that is there already runs as many as it has threads.
    shared_bytes : int, default=0
        Size of all arrays that `Executor.share` will get.
    gpus : bool, default=False
        Whether each task gets a GPU if the cluster has any; only Ray assigns them.
    """
    kind, _ = parse_engine(engine)
    if kind == "loky":
        opened = loky.connect(n_jobs)
    elif kind == "dask":
        opened = _module(kind).connect(engine, n_jobs)
    else:
        opened = _module(kind).connect(engine, n_jobs, shared_bytes, gpus)
    with opened as executor:
        yield executor


def _module(kind: str) -> Any:
    """Import the module of a cluster, whose package takes long to import, or is not there."""
    return importlib.import_module(f"{__name__}.{kind}")

"""Where the worker processes of a `DataLoader` can be started, and how."""

from __future__ import annotations

import multiprocessing
import sys
import threading
from importlib import import_module
from multiprocessing.context import BaseContext
from typing import Any

from torch.utils.data import DataLoader

from snn_estimators._warnings import warn_once

__all__ = ["loader_parameters"]

_OF_WORKERS = ("num_workers", "prefetch_factor", "persistent_workers", "multiprocessing_context")
_LOKY = ("joblib.externals.loky.process_executor", "loky.process_executor")


def loader_parameters(iterator: Any, parameters: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters of a `DataLoader` with workers that can be started here.

    In a worker of a search there are none, with one warning a process: a daemonic process may not
    start others, and those of a thread or of loky may hang or die. Elsewhere they start by
    forkserver, as a child that is forked while other threads compute may wait for them forever.

    Examples
    --------
    >>> loader_parameters(DataLoader, {"batch_size": 2, "num_workers": 0})
    {'batch_size': 2, 'num_workers': 0}
    """
    is_loader = isinstance(iterator, type) and issubclass(iterator, DataLoader)
    if not is_loader or not parameters.get("num_workers"):
        return parameters
    worker = _kind_of_worker()
    if worker is not None:
        warn_once(
            f"num_workers={parameters['num_workers']} of the data loader has no effect in "
            f"{worker}: batches are made there without workers of their own. Leave it out."
        )
        return {name: value for name, value in parameters.items() if name not in _OF_WORKERS}
    given = parameters.get("multiprocessing_context")
    if given is None and "forkserver" in multiprocessing.get_all_start_methods():
        return {**parameters, "multiprocessing_context": _forkserver()}
    return parameters


def _forkserver() -> BaseContext:
    """Return the context whose server, unless it runs, will import what workers need."""
    context = multiprocessing.get_context("forkserver")
    server = import_module("multiprocessing.forkserver")
    # A worker would need seconds to import PyTorch, in each epoch. The user's own list stays.
    if server._forkserver._preload_modules == ["__main__"]:
        context.set_forkserver_preload(["__main__", __name__])
    return context


def _kind_of_worker() -> str | None:
    """Name what this code runs in, None for the main thread of a process of its own."""
    if any(getattr(sys.modules.get(name), "_CURRENT_DEPTH", 0) for name in _LOKY):
        return "a process of loky"
    if multiprocessing.current_process().daemon:
        return "a daemonic process"
    if threading.current_thread() is not threading.main_thread():  # as Dask's tasks are
        return "a thread"
    ray = sys.modules.get("ray")
    if ray is not None and ray.is_initialized() and _is_ray_worker(ray):
        return "a worker of Ray"
    return None


def _is_ray_worker(ray: Any) -> bool:
    return bool(ray.get_runtime_context().worker.mode == ray.WORKER_MODE)

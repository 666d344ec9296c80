"""A Ray backend for joblib, for sweeps.

The one that comes with Ray is a pool of processes: it returns nothing before its last task, and
does not survive its workers.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Sequence
from typing import Any

from snn_estimators.sweep.executors.cluster import LOOK_EVERY, ClusterBackend, Lost

__all__ = ["RayBackend"]

RETRIES = 2  # of a task whose process died


class RayBackend(ClusterBackend):
    """A backend that survives its workers: Ray tries their tasks again elsewhere.

    Parameters
    ----------
    shared : sequence of ndarrays
        Arguments of many tasks, brought to each machine once, where processes share them.
    gpus : bool
        Whether each task has a GPU to itself, if the cluster has any: Ray hides them from others.
    """

    def __init__(self, shared: Sequence[Any] = (), gpus: bool = False) -> None:
        super().__init__()
        ray = self._ray = importlib.import_module("ray")  # tests import this file without it, too
        self._shared = {id(one): (one, ray.put(one)) for one in shared}
        self._sent: dict[Any, int] = {}
        on_gpu = gpus and ray.cluster_resources().get("GPU", 0) >= 1
        self._kind = "GPU" if on_gpu else "CPU"
        options = {"num_cpus": 1, "num_gpus": int(on_gpu), "max_retries": RETRIES}
        self._remote = ray.remote(lambda call, *args, **kwargs: call(*args, **kwargs)).options(
            **options
        )

    def slots(self) -> int:
        """Return the number of the machines' cores, or GPUs."""
        return int(self._ray.cluster_resources().get(self._kind, 0))

    def send(self, number: int, function: Any, args: Sequence[Any], kwargs: Any) -> None:
        """Send off a task."""
        args = [self._shared[id(one)][1] if id(one) in self._shared else one for one in args]
        self._sent[self._remote.remote(function, *args, **kwargs)] = number

    def wait(self, over: threading.Event) -> None:
        """Bring what is done, or pass the time until the next look at the workers."""
        if not self._sent:
            over.wait(LOOK_EVERY / 10)
            return
        done, _ = self._ray.wait(list(self._sent), timeout=LOOK_EVERY)
        for one in done:
            number = self._sent.pop(one)
            try:
                out = self._ray.get(one)
            except Exception as error:
                out = Lost(number, error)
            self.brought(number, out)

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """Stop what is being done; part of joblib's interface."""
        while self._sent:
            one, _ = self._sent.popitem()
            self._ray.cancel(one, force=True)

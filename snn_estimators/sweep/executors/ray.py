"""A Ray cluster, or one of this machine's cores that is started here."""

from __future__ import annotations

import importlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import joblib

from snn_estimators.sweep.executors import base
from snn_estimators.sweep.executors.base import Completed, Executor

__all__ = ["RayExecutor", "check", "connect"]

RETRIES = 2  # of a task whose process died
_STORE = 2**27  # bytes; Ray wants at least 75 MB, and would take a third of the memory


class RayExecutor(Executor):
    """Runs tasks on the Ray cluster that this process is connected to.

    Ray retries elsewhere the tasks of a process that died. With `gpus`, each task has a GPU to
    itself if the cluster has any: Ray hides them from others.
    """

    def __init__(self, gpus: bool = False) -> None:
        self._ray = ray = importlib.import_module("ray")
        self._pending: dict[Any, int] = {}
        on_gpu = gpus and ray.cluster_resources().get("GPU", 0) >= 1
        self._kind = "GPU" if on_gpu else "CPU"
        options = {"num_cpus": 1, "num_gpus": int(on_gpu), "max_retries": RETRIES}
        self._remote = ray.remote(lambda function, *args: function(*args)).options(**options)

    def share(self, array: Any) -> Any:
        """Put an array into the object store, which the processes of a machine share."""
        return self._ray.put(array)

    def slots(self) -> int:
        """Return the number of the machines' cores, or GPUs."""
        return int(self._ray.cluster_resources().get(self._kind, 0))

    def submit(self, number: int, function: Callable[..., Any], *args: Any) -> None:
        """Send off a task."""
        self._pending[self._remote.remote(function, *args)] = number

    def wait(self, timeout: float) -> list[Completed]:
        """Return tasks that were completed."""
        if not self._pending:
            time.sleep(timeout)
            return []
        done, _ = self._ray.wait(list(self._pending), timeout=timeout)
        return [self._complete(reference) for reference in done]

    def _complete(self, reference: Any) -> Completed:
        number = self._pending.pop(reference)
        try:
            return Completed(number, self._ray.get(reference))
        except Exception as error:
            return Completed(number, error=error)

    def cancel(self) -> None:
        """Stop what is running."""
        while self._pending:
            reference, _ = self._pending.popitem()
            self._ray.cancel(reference, force=True)


def check(engine: str, address: tuple[str, int] | None) -> None:
    """Raise ConnectionError if nothing answers at an address, or at that of ``RAY_ADDRESS``."""
    if address is None:
        engine, address = _default_address()
    if address is None:
        return
    try:
        socket.create_connection(address, timeout=base.ANSWER_WITHIN).close()
    except OSError as error:
        raise base.no_answer(engine, error) from error
    if engine.startswith("ray://"):
        _check_protocol(engine, address)


@contextmanager
def connect(
    engine: str, n_jobs: int | None, shared_bytes: int = 0, gpus: bool = False
) -> Iterator[Executor]:
    """Connect to a cluster, or start one; one that this process is connected to is used.

    A cluster that is started here has `n_jobs` cores, by default all, and room for `shared_bytes`.
    """
    ray = importlib.import_module("ray")
    if ray.is_initialized():
        yield RayExecutor(gpus)
        return
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    address = engine if "://" in engine else os.environ.get("RAY_ADDRESS") or "local"
    if address == "local":
        options |= {
            "num_cpus": joblib.effective_n_jobs(-1 if n_jobs is None else n_jobs),
            "include_dashboard": False,
            "runtime_env": {"env_vars": base.import_path()},
            "object_store_memory": _STORE + 2 * shared_bytes,
        }
    try:
        ray.init(address, **options)
    except (OSError, RuntimeError) as error:
        raise base.no_answer(engine, error) from error
    try:
        yield RayExecutor(gpus)
    finally:
        ray.shutdown()


def _default_address() -> tuple[str, tuple[str, int] | None]:
    """Return the cluster that `ray.init` would connect to, for messages, and its address."""
    connected = importlib.import_module("ray").is_initialized()
    given = "" if connected else os.environ.get("RAY_ADDRESS", "")
    if given.startswith("ray://"):
        return given, base.parse_engine(given)[1]
    host, _, port = given.rpartition(":")
    is_address = host and "/" not in host and port.isdecimal()
    return f"ray (RAY_ADDRESS={given})", (host.strip("[]"), int(port)) if is_address else None


def _check_protocol(engine: str, address: tuple[str, int]) -> None:
    """Raise ConnectionError for other servers, for which `ray.init` waits half a minute."""
    grpc = importlib.import_module("grpc")
    host, port = address
    with grpc.insecure_channel(f"{f'[{host}]' if ':' in host else host}:{port}") as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=base.ANSWER_WITHIN)
        except grpc.FutureTimeoutError as error:
            raise base.no_answer(engine, ConnectionError("it is no Ray cluster")) from error

"""What runs the fits of a sweep: processes of this machine, or a Dask or Ray cluster."""

from __future__ import annotations

import importlib
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import joblib
from joblib import Parallel, parallel_config

__all__ = ["check_engine", "open_engine", "threads_per_worker"]

ANSWER_WITHIN = 5.0  # seconds
_STARTS_WITHIN = 60  # seconds
_RAY_STORE = 2**27  # bytes; Ray wants at least 75 MB, and would take a third of the memory
_PORTS = {"dask": 8786, "ray": 10001}
_EXTRAS = {"dask": "distributed", "ray": "ray"}


def check_engine(engine: str) -> None:
    """Refuse an engine that is unknown, not installed, or does not answer.

    Parameters
    ----------
    engine : str
        "loky", "dask", "dask://HOST:PORT", "ray" or "ray://HOST:PORT".

    Raises
    ------
    ValueError
        If there is no such engine.
    ImportError
        If its package is not installed.
    ConnectionError
        If nothing answers at the address, or at the one of ``RAY_ADDRESS`` that "ray" goes to,
        within a few seconds.

    Examples
    --------
    >>> check_engine("loky")
    >>> check_engine("spark")
    Traceback (most recent call last):
    ...
    ValueError: there is no engine 'spark': choose loky, dask, dask://HOST:PORT, ray or ...
    """
    kind, address = _parse(engine)
    if kind == "loky":
        return
    try:
        importlib.import_module(_EXTRAS[kind])
    except ImportError as error:
        raise ImportError(
            f"the engine {engine!r} needs a package that is not installed: "
            f"pip install 'snn-estimators[{kind}]'"
        ) from error
    if kind == "ray" and address is None:
        engine, address = _ray_address()
    if address is None:
        return
    try:
        with socket.create_connection(address, timeout=ANSWER_WITHIN) as line:
            if kind == "dask" and not line.recv(1):  # a scheduler speaks first
                raise ConnectionError("it is no Dask scheduler")
    except OSError as error:
        raise _no_answer(engine, error) from error
    if kind == "dask":
        with ExitStack() as stack:
            _connect(engine, stack)
    elif engine.startswith("ray://"):
        _call_ray(engine, address)


@contextmanager
def open_engine(
    engine: str, n_jobs: int | None, shared: Sequence[Any], gpus: bool = False
) -> Iterator[Callable[[Iterable[Any]], Iterator[Any]]]:
    """Start or reach the engine, and stop what was started at the end of the block.

    Parameters
    ----------
    engine : str
        As in `check_engine`.
    n_jobs : int or None
        Fits at a time. A cluster has as many as it has threads, whatever this says.
    shared : sequence of ndarrays
        Arguments of many tasks, brought to each worker once.
    gpus : bool, default=False
        Whether each task gets a GPU if the cluster has any; only Ray asks, who hides them from
        the others.

    Yields
    ------
    callable
        Takes joblib's delayed calls, each of which returns a number and an outcome, and yields
        what they return as it comes.
    """
    kind, _ = _parse(engine)
    with ExitStack() as stack:
        if kind == "dask":
            backend = _dask_backend(engine, n_jobs, shared, stack)
            stack.enter_context(parallel_config(backend=backend))
        elif kind == "ray":
            backend = _ray_backend(engine, n_jobs, shared, gpus, stack)
            stack.enter_context(parallel_config(backend=backend))
        else:
            threads = {"inner_max_num_threads": threads_per_worker(n_jobs)}
            stack.enter_context(parallel_config(backend="loky", n_jobs=n_jobs, **threads))
        # One task at a time to each worker: results come as they are, and a budget is kept.
        yield lambda calls: Parallel(
            return_as="generator_unordered",
            batch_size=1,
            pre_dispatch="n_jobs",
            max_nbytes=1,  # arrays travel as memory maps however small they are
        )(calls)


def threads_per_worker(n_jobs: int | None, cores: int | None = None) -> int:
    """Return how many threads each of `n_jobs` processes may use without crowding the cores.

    Examples
    --------
    >>> [threads_per_worker(jobs, cores=8) for jobs in (1, 2, 3, 8, 20, -1)]
    [8, 4, 2, 1, 1, 1]
    """
    cores = joblib.cpu_count() if cores is None else cores
    jobs = 1 if n_jobs is None else n_jobs
    jobs = max(1, cores + 1 + jobs) if jobs < 0 else jobs
    return max(1, cores // jobs)


# Clusters


def _parse(engine: str) -> tuple[str, tuple[str, int] | None]:
    """Split ``dask://host:port`` into its kind and its address."""
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


def _no_answer(engine: str, error: BaseException) -> ConnectionError:
    hint = ", and RAY_AUTH_MODE=token if it wants a token" if engine.startswith("ray") else ""
    return ConnectionError(
        f"the engine {engine} does not answer ({str(error) or type(error).__name__}): check the "
        f"address, and that it was started{hint}"
    )


def _dask_backend(engine: str, n_jobs: int | None, shared: Sequence[Any], stack: ExitStack) -> Any:
    """Connect to a Dask cluster, or start one of this machine's cores."""
    from snn_estimators.sweep.executors.dask import DaskBackend

    if "://" in engine:
        client = _connect(engine, stack)
    else:
        client = _start_dask(joblib.effective_n_jobs(-1 if n_jobs is None else n_jobs), stack)
    return DaskBackend(client, shared)


def _connect(engine: str, stack: ExitStack) -> Any:
    """Connect to a Dask cluster, whose workers may come later."""
    dask = importlib.import_module("distributed")
    place = engine.replace("dask://", "tcp://")
    try:
        return stack.enter_context(dask.Client(place, timeout=ANSWER_WITHIN))
    except OSError as error:  # a TimeoutError, too
        raise _no_answer(engine, error) from error


def _start_dask(n_workers: int, stack: ExitStack) -> Any:
    """Start a Dask cluster of this machine.

    Its workers are started as on any other machine: those that Dask itself forks off a program
    import it again, and need it to be guarded by ``if __name__ == "__main__"``. And they are out
    of the reach of Ctrl-C, which the program alone answers.
    """
    dask = importlib.import_module("distributed")
    quiet = {"dashboard_address": ":0", "silence_logs": logging.CRITICAL}
    cluster = stack.enter_context(dask.LocalCluster(n_workers=0, **quiet))
    command = [sys.executable, "-m", "distributed.cli.dask_worker", cluster.scheduler_address]
    command += ["--nworkers", str(n_workers), "--nthreads", "1", "--memory-limit", "0"]
    workers = subprocess.Popen(
        [*command, "--no-dashboard"],
        env=os.environ | {"DASK_LOGGING__DISTRIBUTED": "critical"} | _import_path(),
        start_new_session=True,
    )
    stack.callback(_kill, workers)
    client = stack.enter_context(dask.Client(cluster))
    for _ in range(_STARTS_WITHIN):
        if client.ncores() or workers.poll() is not None:
            break
        time.sleep(1)
    if not client.ncores():
        raise ConnectionError('the workers of the engine "dask" do not start: see what they said')
    return client


def _import_path() -> dict[str, str]:
    """Return the variable that has workers import what can be imported here."""
    return {"PYTHONPATH": os.pathsep.join(sys.path)}


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process, then its children, whom it would start again."""
    psutil = importlib.import_module("psutil")
    alive = process.poll() is None
    children = psutil.Process(process.pid).children(recursive=True) if alive else []
    process.kill()
    process.wait()
    for child in children:
        with suppress(psutil.NoSuchProcess):
            child.kill()


def _ray_address() -> tuple[str, tuple[str, int] | None]:
    """Return the cluster that `ray.init` would go to, as people know it, and where it is."""
    here = importlib.import_module("ray").is_initialized()
    meant = "" if here else os.environ.get("RAY_ADDRESS", "")
    if meant.startswith("ray://"):
        return meant, _parse(meant)[1]
    host, _, port = meant.rpartition(":")
    known = host and "/" not in host and port.isdecimal()
    return f"ray (RAY_ADDRESS={meant})", (host.strip("[]"), int(port)) if known else None


def _call_ray(engine: str, address: tuple[str, int]) -> None:
    """Refuse what does not speak Ray's language: `ray.init` would wait for half a minute."""
    grpc = importlib.import_module("grpc")
    host, port = address
    with grpc.insecure_channel(f"{f'[{host}]' if ':' in host else host}:{port}") as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=ANSWER_WITHIN)
        except grpc.FutureTimeoutError as error:
            raise _no_answer(engine, ConnectionError("it is no Ray cluster")) from error


def _ray_backend(
    engine: str, n_jobs: int | None, shared: Sequence[Any], gpus: bool, stack: ExitStack
) -> Any:
    """Connect to a Ray cluster, or start one of this machine's cores."""
    ray = importlib.import_module("ray")
    if not ray.is_initialized():
        quiet = {"log_to_driver": False, "logging_level": "ERROR"}
        address = engine if "://" in engine else os.environ.get("RAY_ADDRESS") or None
        try:
            if address is not None:
                ray.init(address, **quiet)
            else:
                ray.init(
                    "local",
                    num_cpus=joblib.effective_n_jobs(-1 if n_jobs is None else n_jobs),
                    include_dashboard=False,
                    runtime_env={"env_vars": _import_path()},
                    object_store_memory=_RAY_STORE + 2 * sum(one.nbytes for one in shared),
                    **quiet,
                )
        except (OSError, RuntimeError) as error:
            raise _no_answer(engine, error) from error
        stack.callback(ray.shutdown)
    from snn_estimators.sweep.executors.ray import RayBackend

    return RayBackend(shared, gpus)

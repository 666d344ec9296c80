"""Real processes that start at once, as forks of a server that has imported the package.

A new interpreter takes five seconds for that. Where it is the start itself that is tested, start
one all the same.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import runpy
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.forkserver import _forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from joblib.externals.loky.backend import context as loky_context

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["warm_imports"])


@contextmanager
def running(
    function: Callable[..., Any],
    *args: Any,
    output: Path | str = os.devnull,
    errors: Path | str | None = None,
) -> Iterator[BaseProcess]:
    """Start a process that calls a function, which it imports, and kill it in the end.

    It leads a group of its own. What it says goes to `output`, and what it says on stderr to
    `errors` if that is given. The signal that killed it is its negative `exitcode`.
    """
    says = str(output), str(errors or output)
    process = _CONTEXT.Process(target=_run, args=(function, args, says, dict(os.environ)))
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()


def all_running() -> set[psutil.Process]:
    """Return what runs and came from the server, be it started here or by what was."""
    _forkserver.ensure_running()
    return set(psutil.Process(_forkserver._forkserver_pid).children())


def _run(
    function: Callable[..., Any], args: tuple[Any, ...], says: tuple[str, str], env: dict[str, str]
) -> None:
    os.setsid()
    for stream, path in enumerate(says, start=1):
        with open(path, "ab") as file:
            os.dup2(file.fileno(), stream)
    os.environ.clear()
    os.environ.update(env)
    np.random.seed()  # noqa: NPY002 - the one of the server is the same in all
    warm_workers()
    _forkserver.ensure_running = lambda: None  # the one that it came from, not one more
    try:
        function(*args)
    finally:
        atexit._run_exitfuncs()  # as an interpreter does


def run_module(name: str, *arguments: Any) -> None:
    """Do what ``python -m name`` does."""
    sys.argv = [name, *map(str, arguments)]
    runpy.run_module(name, run_name="__main__", alter_sys=True)


def run_script(path: Path | str, *arguments: Any) -> None:
    """Do what ``python path`` does, in the folder that has it."""
    os.chdir(Path(path).parent)
    sys.argv = [str(path), *map(str, arguments)]
    runpy.run_path(str(path), run_name="__main__")


def warm_workers() -> None:
    """Have loky, in this process, take its workers from the server, too.

    They are no children of this process, and have the environment that the server started with.
    """
    loky_context.set_start_method("forkserver", force=True)


def cold_workers() -> None:
    """Have loky start interpreters again, as it does for users."""
    loky_context.set_start_method("loky", force=True)

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
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
from joblib.externals.loky.backend import context as loky_context

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["warm_imports"])


def start(
    function: Callable[..., Any], *args: Any, output: Path | str = os.devnull, **env: str
) -> BaseProcess:
    """Start a process that calls a function, which it imports, and leads a group of its own.

    What it says goes to `output`, and the signal that killed it is its negative `exitcode`.
    """
    process = _CONTEXT.Process(target=_run, args=(function, args, str(output), env))
    process.start()
    return process


def warm_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have loky, in this process, take its workers from the server, too."""
    monkeypatch.setattr(loky_context, "_DEFAULT_START_METHOD", "forkserver")


def run_module(name: str, *arguments: Any, warm: bool = True) -> None:
    """Do what ``python -m name`` does; unless told otherwise, loky's workers are warm, too."""
    if warm:
        loky_context.set_start_method("forkserver", force=True)
    sys.argv = [name, *map(str, arguments)]
    runpy.run_module(name, run_name="__main__", alter_sys=True)


def _run(
    function: Callable[..., Any], args: tuple[Any, ...], output: str, env: dict[str, str]
) -> None:
    os.setsid()
    with open(output, "ab") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    os.environ.update(env)
    try:
        function(*args)
    finally:
        atexit._run_exitfuncs()  # as an interpreter does

"""Provenance of a result for run.json: parameters, text, versions and machine."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

import joblib
import torch

from snn_estimators._describe import describe_json
from snn_estimators._version import __version__

__all__ = ["describe_corpus", "describe_run"]

_DISTRIBUTIONS = {
    "snn_estimators": "snn-estimators",
    "torch": "torch",
    "skorch": "skorch",
    "sklearn": "scikit-learn",
    "numpy": "numpy",
    "pandas": "pandas",
    "numba": "numba",
}


def describe_run(
    *,
    parameters: Mapping[str, Any] | None = None,
    seed: int | None = None,
    corpus: Mapping[str, Any] | None = None,
    duration: float | None = None,
    command: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Collect what is needed to repeat a run, and nothing about who ran it.

    Parameters
    ----------
    parameters : dict, optional
        What was set by the user: the grid, the fixed parameters, the number of folds.
    seed : int, optional
    corpus : dict, optional
        From `describe_corpus`.
    duration : float, optional
        Wall-clock seconds.
    command : list of str, optional
        Command line, program first; absolute paths shrink to their last part.

    Returns
    -------
    dict
        ``parameters``, ``seed``, ``corpus``, ``duration_seconds``, ``command``, ``versions``,
        ``machine``; made of what JSON knows. No host, user or folder names.

    Examples
    --------
    >>> run = describe_run(parameters={"folds": 2}, seed=0, command=["/usr/bin/snn", "sweep"])
    >>> run["parameters"], run["seed"], run["command"]
    ({'folds': 2}, 0, 'snn sweep')
    >>> sorted(run["machine"])
    ['cores', 'gpu', 'platform', 'processor']
    """
    return {
        "parameters": describe_json(parameters or {}, _without_folders),
        "seed": seed,
        "corpus": describe_json(corpus or {}, _without_folders),
        "duration_seconds": None if duration is None else round(float(duration), 3),
        "command": None if command is None else shlex.join(map(_without_folders, command)),
        "versions": {"python": platform.python_version(), **_versions()},
        "machine": {
            "platform": f"{platform.system()} {platform.machine()}",
            "processor": _processor(),
            "cores": joblib.cpu_count(),
            "gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        },
    }


def describe_corpus(name: str | os.PathLike[str], documents: Sequence[str]) -> dict[str, Any]:
    """Identify a text by its size and its hash.

    Parameters
    ----------
    name : str or path
        A path is cut to its last part.
    documents : list of str
        As the models saw them.

    Returns
    -------
    dict
        ``name``, ``documents``, ``characters``, ``sha256`` (of the documents in UTF-8, joined by
        line feeds).

    Examples
    --------
    >>> describe_corpus("/home/me/tale.txt", ["Once", "upon"])["name"]
    'tale.txt'
    """
    text = "\n".join(documents).encode("utf-8", errors="surrogatepass")
    return {
        "name": _without_folders(str(name)),
        "documents": len(documents),
        "characters": sum(map(len, documents)),
        "sha256": hashlib.sha256(text).hexdigest(),
    }


def _versions() -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for name, distribution in _DISTRIBUTIONS.items():
        try:
            found[name] = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            # A checkout that was never installed has a version all the same.
            found[name] = __version__ if name == "snn_estimators" else None
    return found


def _processor() -> str:
    """Name the processor as the system does; Linux keeps it where `platform` does not look."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        lines = ""
    match = re.search(r"^model name\s*:\s*(.+)$", lines, flags=re.MULTILINE)
    return match.group(1).strip() if match else platform.processor() or platform.machine()


def _without_folders(argument: str) -> str:
    """Keep of a path outside the working folder only its last part: the rest names a home."""
    option, equals, value = argument.rpartition("=")
    path = PurePath(value)
    outside = path.is_absolute() or value.startswith("~") or ".." in path.parts
    if outside or re.match(r"[A-Za-z]:[\\/]", value):
        value = re.split(r"[\\/]", value.rstrip("\\/"))[-1]
    return f"{option}{equals}{value}"

"""The saved models and named fits, whole or damaged, listed without loading them."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
from safetensors import safe_open

from snn_estimators._files import require
from snn_estimators._validation import suggest
from snn_estimators.persistence.atomic_folder import recover_folders, subfolders
from snn_estimators.persistence.model_files import (
    CONFIG,
    HISTORY,
    TOKENIZER,
    WEIGHTS,
    read_config,
    read_history,
)
from snn_estimators.persistence.names import models_home
from snn_estimators.persistence.run_folder import ERRORS, STATE, RunFolder, Summary, is_run

__all__ = ["model_folders", "not_there", "saved_models"]


def saved_models() -> pd.DataFrame:
    """List the models and the named fits under ``$SNN_ESTIMATORS_HOME/models``.

    Returns
    -------
    DataFrame
        A row a name; what is damaged has gaps. Columns:

        name : str
        kind : "model", "fit" or "unknown"
            Of `save_pretrained`; of an estimator with a `name`; neither.
        state : str
            "saved" for a model; "finished", "at work", "failed" (error.log is newer than any
            checkpoint) or "unfinished" for a fit; or "damaged: " and what is wrong.
        estimator : str
            Its class.
        steps, planned_steps : int
            Done, and to be done in all; a model does not know the latter.
        loss, best_valid_loss : float
            Of the last step of a fit or the last epoch of a model; the lowest. In nats per token.
        parameters : int
            Numbers that training sets.
        megabytes : float
            On the disk.
        saved : datetime
            When it was written last.
    """
    rows = [_row_in_use(folder) for folder in model_folders()]
    return pd.DataFrame(rows, columns=list(_COLUMNS)).astype(_COLUMNS)


_ATTEMPTS = 3
_COLUMNS = {
    "name": "object",
    "kind": "object",
    "state": "object",
    "estimator": "object",
    "steps": "Int64",
    "planned_steps": "Int64",
    "loss": "float64",
    "best_valid_loss": "float64",
    "parameters": "Int64",
    "megabytes": "float64",
    "saved": "datetime64[s]",
}


def _row_in_use(folder: Path) -> dict[str, Any]:
    """Read a folder; again if a fit that is running there deleted something meanwhile."""
    for _ in range(_ATTEMPTS):
        row = _row(folder)
        if not (is_run(folder) and str(row["state"]).startswith("damaged")):
            break
    return row


def _row(folder: Path) -> dict[str, Any]:
    row: dict[str, Any] = {"name": folder.name, "kind": "unknown"}
    try:
        for part in _parts(folder):
            row |= part
    except Exception as error:  # one damaged folder must not hide the others
        row["state"] = f"damaged: {error}"
    return row


def _parts(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the columns of a row, part by part, as far as the folder can be read."""
    read: Callable[[Path], Any] | None = None
    if is_run(folder):
        read = _read_run
        yield {"kind": "fit"}
    elif (folder / CONFIG).exists():
        read = _read_model
        yield {"kind": "model"}
    files = list(_files(folder))
    yield {"megabytes": sum(file.st_size for file in files) / 1e6}
    yield {"saved": datetime.fromtimestamp(max(f.st_mtime for f in [folder.stat(), *files]))}
    if read is None:
        raise ValueError("it holds neither a model nor a fit.")
    for part in read(folder):
        for name, value in part.items():
            if isinstance(value, int) and abs(value) >= 2**63:
                raise ValueError(f"{name} is {value:.3g}.")
        yield part


def _files(folder: Path) -> Iterator[os.stat_result]:
    """Yield the status of each file, except those that a running fit has just deleted."""
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                yield os.stat(os.path.join(parent, name))


def _read_model(folder: Path) -> Any:
    """Yield the columns of a model, as far as its files can be read."""
    yield from _read_files(folder)
    epochs = read_history(folder / HISTORY)
    losses = {
        name: [epoch[name] for epoch in epochs if isinstance(epoch.get(name), float)]
        for name in ("train_loss", "valid_loss")
    }
    yield {"loss": next(reversed(losses["train_loss"]), math.nan)}
    yield {"best_valid_loss": min(losses["valid_loss"], default=math.nan), "state": "saved"}


def _read_run(folder: Path) -> Any:
    """Yield the columns of a fit: of its newest checkpoint, and the best loss of all."""
    run = RunFolder(folder)
    yield {"state": "at work" if run.is_held() else _unfinished(run)}
    steps = run.steps()
    if not steps:
        return
    best = run.best()
    yield {"best_valid_loss": best[0] if best else math.nan, "steps": steps[-1]}
    newest = run.checkpoint(steps[-1])
    summary = Summary.read(newest)
    yield {"planned_steps": summary.planned_steps, "loss": summary.train_loss}
    yield from _read_files(newest)
    require(newest / STATE)
    if summary.finished:
        yield {"state": "finished"}


def _unfinished(run: RunFolder) -> str:
    errors = run.folder / ERRORS
    times = [run.checkpoint(step).stat().st_mtime for step in run.steps()]
    failed = errors.is_file() and errors.stat().st_mtime > max(times, default=0)
    return "failed" if failed else "unfinished"


def _read_files(folder: Path) -> Any:
    """Yield the columns that configuration and weights give, for a model or a checkpoint."""
    config = read_config(folder)
    yield {"estimator": config["estimator"], "steps": config["fitted"].get("n_steps_")}
    require(folder / WEIGHTS)
    with safe_open(folder / WEIGHTS, "numpy") as weights:  # raises for a damaged header
        weights.keys()
    yield {"parameters": config["n_parameters"]}
    if config["has_tokenizer"]:
        require(folder / TOKENIZER)


def model_folders() -> list[Path]:
    """Return the folders under `models_home`, of saved models and of named fits."""
    home = models_home()
    recover_folders(home)
    return sorted(f for f in subfolders(home) if f.is_dir() and not f.name.startswith("."))


def not_there(name_or_path: str | os.PathLike[str], folder: Path) -> str:
    """Return a message that there is no such model, and which there are."""
    if folder.parent != models_home():
        return f"There is no model in {folder}."
    name, names = os.fspath(name_or_path), [folder.name for folder in model_folders()]
    return f"There is no model {name!r} in {models_home()}: {suggest(name, names)}"

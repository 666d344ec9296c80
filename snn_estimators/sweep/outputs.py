"""What a sweep found, and the files that it leaves."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from snn_estimators._files import replace_file
from snn_estimators.model_selection.report import write_tables
from snn_estimators.sweep.leaderboard import Leaderboard

__all__ = ["GrowingTables", "SweepResult", "TablesNotWrittenError", "write_result"]


class SweepResult(NamedTuple):
    """What a sweep found."""

    table: pd.DataFrame
    """A row a candidate (and corpus, and rung), as `results_table` makes them; ``failure`` says
    why a candidate has no figures."""
    fits: pd.DataFrame
    """A row a fit: the figures before they were averaged."""
    best: Any
    """The estimator with the best candidate's parameters, not fitted; of the first corpus. None
    if nothing could be scored."""
    run: dict[str, Any]
    """What ``run.json`` holds: that of `describe_run`; how many ``fits`` are ``done`` and how many
    of these an earlier run did (``taken_over``); how many ``candidates`` (of all corpora and rungs)
    were ``planned`` and are ``done``; whether the sweep is ``complete``; ``store_megabytes``, all
    sweeps together that share the store."""

    @property
    def complete(self) -> bool:
        """Whether everything is done, rather than the budget spent."""
        return self.run["complete"]


class TablesNotWrittenError(RuntimeError):
    """A sweep is done, but its files could not be written; nothing is lost.

    Attributes
    ----------
    result : SweepResult
        What the sweep found, for another try with `write_tables`.
    """

    def __init__(self, message: str, result: SweepResult) -> None:
        super().__init__(message)
        self.result = result


class GrowingTables:
    """The files that grow while a sweep runs; a reader never sees half a file.

    Parameters
    ----------
    folder : Path or None
        None writes nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._warned = False

    def write(self, leaderboard: Leaderboard) -> None:
        """Write what is known so far; a disk that is full costs a warning, not the sweep."""
        if self._folder is None:
            return
        try:
            _write(self._folder, results=leaderboard.table(), fits=leaderboard.fits())
        except OSError as error:
            if not self._warned:
                self._warned = True
                warnings.warn(
                    f"the tables in {self._folder} cannot be written ({error}): the sweep goes on, "
                    "and tries again with each candidate",
                    stacklevel=2,
                )


def write_result(result: SweepResult, folder: Path) -> None:
    """Write all files of a sweep that is over.

    Raises
    ------
    TablesNotWrittenError
        If that is impossible.
    """
    try:
        _write(folder, fits=result.fits)
        write_tables(result.table, folder, run=result.run)
    except Exception as error:
        raise TablesNotWrittenError(
            f"the sweep is done, but its tables could not be written into {folder}: {error}", result
        ) from error


def _write(folder: Path, **tables: pd.DataFrame) -> None:
    for name, table in tables.items():
        replace_file(folder / f"{name}.csv", table.to_csv(index=False).encode())

"""The result of a sweep, and its files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from snn_estimators._files import replace_file
from snn_estimators._warnings import warn
from snn_estimators.model_selection.report import write_tables
from snn_estimators.sweep.leaderboard import Leaderboard

__all__ = ["GrowingTables", "SweepResult", "TablesNotWrittenError", "write_result"]


class SweepResult(NamedTuple):
    """The result of a sweep."""

    table: pd.DataFrame
    """A row a candidate (and corpus, and rung), as `results_table` makes them; ``failure`` says
    why a candidate has no scores."""
    fits: pd.DataFrame
    """A row a fit: the scores before they are averaged."""
    best: Any
    """The estimator with the best candidate's parameters, not fitted; of the first corpus. None
    if nothing could be scored."""
    run: dict[str, Any]
    """What ``run.json`` holds: that of `describe_run`; how many ``fits`` are ``done`` and how many
    of these an earlier run did (``taken_over``); how many ``candidates`` (of all corpora and rungs)
    were ``planned`` and are ``done``; whether the sweep is ``complete``; ``memory_megabytes``, of
    all sweeps that share the memory."""

    @property
    def complete(self) -> bool:
        """Whether all fits are done; False if the budget is spent."""
        return self.run["complete"]


class TablesNotWrittenError(RuntimeError):
    """Raised if a sweep is done, but its files cannot be written; nothing is lost.

    Attributes
    ----------
    result : SweepResult
        For another try with `write_tables`.
    """

    def __init__(self, message: str, result: SweepResult) -> None:
        super().__init__(message)
        self.result = result


class GrowingTables:
    """The files that are rewritten whole while a sweep runs; none without a folder."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._warned = False

    def write(self, leaderboard: Leaderboard) -> None:
        """Write the rows so far; a full disk costs a warning, not the sweep."""
        if self._folder is None:
            return
        try:
            _write(self._folder, results=leaderboard.table(), fits=leaderboard.fits())
        except OSError as error:
            if not self._warned:
                self._warned = True
                warn(
                    f"the tables in {self._folder} cannot be written ({error}): the sweep "
                    "continues, and tries again with each candidate"
                )


def write_result(result: SweepResult, folder: Path) -> None:
    """Write all files of a sweep that is over; TablesNotWrittenError if that fails."""
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

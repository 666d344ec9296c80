"""The results of a sweep so far, as tables: a row a candidate, and a row a fit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from snn_estimators.model_selection.scoring import SCORES
from snn_estimators.model_selection.seeds import compare_with_best
from snn_estimators.model_selection.tables import COST, results_table, short_names, to_cell
from snn_estimators.sweep.worker import Fit, FitResult

__all__ = ["Leaderboard", "Row"]

_LOSS = "neg_perplexity"
_ROW = "_row"
_OF_A_FIT = ("corpus", "n_resources", "seed", "fold", "fit_time", "failure")


@dataclass(frozen=True)
class Row:
    """A row of the table: a candidate on a corpus, for so many steps."""

    corpus: str
    candidate: int
    """In the order of the grid."""
    parameters: dict[str, Any]
    """Under full names."""
    iteration: int = 0
    resources: int | None = None
    baseline: str | None = None
    """The name of what is no candidate."""
    model: Any = None
    """What is fitted for a baseline; n-grams are counted instead."""
    impossible: str | None = None
    """Why it cannot be fitted."""

    @property
    def is_fitted(self) -> bool:
        """Whether it has fits that take their time."""
        return self.impossible is None and (self.baseline is None or self.model is not None)


@dataclass
class Leaderboard:
    """Rows and, for each of them, the results of its fits by seed and fold."""

    seeds: Sequence[int]
    folds: int
    halving: bool = False
    """Whether candidates are trained on several rungs."""
    cost: str = COST
    """What the Pareto front weighs against perplexity."""
    rows: list[Row] = field(default_factory=list)
    results: list[dict[tuple[int, int], FitResult]] = field(default_factory=list)

    def add_row(self, row: Row) -> int:
        """Add a row without results, and return its number."""
        self.rows.append(row)
        self.results.append({})
        return len(self.rows) - 1

    def note(self, fit: Fit, result: FitResult) -> None:
        """Add the result of a fit."""
        self.results[fit.row][fit.seed, fit.fold] = result

    def note_all(self, number: int, results: Iterable[FitResult]) -> None:
        """Add the results of all folds of a row on which seeds have no effect."""
        for fold, result in enumerate(results):
            for seed in self.seeds:
                self.results[number][seed, fold] = result

    def is_done(self, number: int) -> bool:
        """Whether all fits of a row have ended, or there are none."""
        if self.rows[number].impossible is not None:
            return True
        return len(self.results[number]) == len(self.seeds) * self.folds

    @property
    def failures(self) -> list[str]:
        """Reasons of failed fits, in the order of the rows."""
        every = (result for results in self.results for result in results.values())
        return [result.failure for result in every if result.failure is not None]

    @property
    def n_done(self) -> int:
        """Number of fits that have ended."""
        return sum(len(self.results[n]) for n, row in enumerate(self.rows) if row.is_fitted)

    @property
    def n_fits(self) -> int:
        """Number of fits of all rows."""
        return sum(row.is_fitted for row in self.rows) * len(self.seeds) * self.folds

    @property
    def n_rows_done(self) -> int:
        """Number of candidates all of whose fits have ended, or that have none."""
        return sum(self.is_done(n) and self._is_candidate(n) for n in range(len(self.rows)))

    def best_row(self, corpus: str) -> int | None:
        """Return the best candidate's row of a corpus's last rung; None if there is none."""
        done = [n for n in range(len(self.rows)) if self.is_done(n) and self._is_candidate(n)]
        done = [n for n in done if self.rows[n].corpus == corpus]
        last = max((self.rows[n].iteration for n in done), default=0)
        return next(iter(self.best([n for n in done if self.rows[n].iteration == last], 1)), None)

    def scores(self, number: int) -> dict[str, float]:
        """Return a row's mean scores, under their natural signs."""
        means = {name: self._scores(number, name).mean() for name in SCORES}
        return {
            name.removeprefix("neg_"): -mean if name.startswith("neg_") else mean
            for name, mean in means.items()
        }

    def _is_candidate(self, number: int) -> bool:
        return self.rows[number].baseline is None

    def best(self, numbers: Sequence[int], count: int) -> list[int]:
        """Return the `count` rows of lowest perplexity, in the order given; no failed ones."""
        losses = {number: -self._scores(number, _LOSS).mean() for number in numbers}
        finite = [number for number in numbers if np.isfinite(losses[number])]
        chosen = set(sorted(finite, key=losses.__getitem__)[:count])
        return [number for number in numbers if number in chosen]

    def table(self) -> pd.DataFrame:
        """Tabulate the rows that are done, best first, with the columns of the final table."""
        done = list(filter(self.is_done, range(len(self.rows))))
        known = self._tabulate(done)
        columns = self._tabulate(range(len(self.rows)))
        table = known.reindex(columns=columns.columns) if done else columns.iloc[:0]
        table.attrs |= columns.attrs
        return table

    def fits(self) -> pd.DataFrame:
        """Tabulate every fit that has a result, in the order of the rows."""
        full = list(dict.fromkeys(name for row in self.rows for name in row.parameters))
        short = dict(zip(full, short_names(full, _OF_A_FIT), strict=True))
        records = [
            {
                "corpus": row.corpus,
                **({"baseline": row.baseline or "none"} if self._has_baselines else {}),
                **{short[name]: to_cell(value) for name, value in row.parameters.items()},
                **({"n_resources": row.resources} if self.halving else {}),
                "seed": seed,
                "fold": fold,
                **{name.removeprefix("neg_"): _natural(name, result) for name in SCORES},
                "fit_time": result.fit_time,
                "failure": np.nan if result.failure is None else result.failure,
            }
            for row, results in zip(self.rows, self.results, strict=True)
            for (seed, fold), result in sorted(results.items())
        ]
        return pd.DataFrame(records)

    # Tables

    @property
    def _has_baselines(self) -> bool:
        return any(row.baseline is not None for row in self.rows)

    def _tabulate(self, numbers: Sequence[int]) -> pd.DataFrame:
        """Rank the rows of each corpus separately: scores of two texts do not compare."""
        corpora = dict.fromkeys(row.corpus for row in self.rows)
        parts = []
        for corpus in corpora:
            part = [number for number in numbers if self.rows[number].corpus == corpus]
            if part:
                parts.append(self._tabulate_corpus(part))
                if len(corpora) > 1:
                    parts[-1].insert(1, "corpus", corpus)
        if not parts:
            return pd.DataFrame()
        # All corpora have the same parameters: the grid is the same.
        table = pd.concat(parts, ignore_index=True)
        several = ["corpus"] if len(corpora) > 1 else []
        table.attrs["cost"] = self.cost
        table.attrs["parameters"] = several + parts[0].attrs["parameters"]
        return table

    def _tabulate_corpus(self, numbers: Sequence[int]) -> pd.DataFrame:
        rows = [self.rows[number] for number in numbers]
        results: dict[str, Any] = {
            "params": [
                {_ROW: n} | ({"baseline": row.baseline} if row.baseline else {}) | row.parameters
                for n, row in zip(numbers, rows, strict=True)
            ]
        }
        for name in (*SCORES, "fit_time"):
            scores = np.array([self._scores(number, name) for number in numbers])
            key = name if name == "fit_time" else f"test_{name}"
            with np.errstate(invalid="ignore"):  # an infinite perplexity deviates by no number
                results[f"mean_{key}"] = scores.mean(axis=1)
                results[f"std_{key}"] = scores.std(axis=1)
        if self.halving:
            results["iter"] = np.array([row.iteration for row in rows])
            results["n_resources"] = np.array([row.resources for row in rows])
        table = results_table(results, cost=self.cost)
        parameters = [name for name in table.attrs["parameters"] if name != _ROW]
        order = table.pop(_ROW)
        pareto = table.pop("pareto")
        if len(self.seeds) > 1:
            table = table.join(self._compared(numbers, order))
        table["pareto"] = pareto
        table["failure"] = [self._failure(number) for number in order]
        if "baseline" in parameters:
            table.insert(1, "baseline", table.pop("baseline"))
            parameters.insert(0, parameters.pop(parameters.index("baseline")))
        table.attrs["parameters"] = parameters
        return table

    def _compared(self, numbers: Sequence[int], order: pd.Series) -> pd.DataFrame:
        """Compare the rows of each rung with the best of that rung."""
        parts = []
        for iteration in sorted({self.rows[number].iteration for number in numbers}):
            of_rung = (number for number in numbers if self.rows[number].iteration == iteration)
            rung = [number for number in of_rung if self._is_candidate(number)]
            losses = [-self._scores(number, _LOSS) for number in rung]
            parts.append(compare_with_best(losses).set_axis(rung))
        return pd.concat(parts).reindex(order).reset_index(drop=True)

    def _scores(self, number: int, name: str) -> np.ndarray:
        """Return a score of each of a row's fits, in the order of seeds and folds."""
        results = self.results[number]
        pairs = [(seed, fold) for seed in self.seeds for fold in range(self.folds)]
        return np.array([_score(name, results.get(pair)) for pair in pairs])

    def _failure(self, number: int) -> str | float:
        impossible = self.rows[number].impossible
        if impossible is not None:
            return f"impossible: {' '.join(impossible.split())}"
        failures = (result.failure for result in self.results[number].values())
        return next((failure for failure in failures if failure is not None), np.nan)


def _score(name: str, result: FitResult | None) -> float:
    if result is None:
        return np.nan
    if name == "fit_time":
        return result.fit_time
    return np.nan if result.scores is None else result.scores[name]


def _natural(name: str, result: FitResult) -> float:
    """Return a score under its natural sign; the zero takes the sign off a negative one."""
    return (-1 if name.startswith("neg_") else 1) * _score(name, result) + 0.0

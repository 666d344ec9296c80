"""A whole sweep: corpora to windows, grid to fits, fits to tables and files."""

from __future__ import annotations

import inspect
import os
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from sklearn.exceptions import FitFailedWarning
from tqdm import tqdm

from snn_estimators._files import check_writable
from snn_estimators._validation import is_whole
from snn_estimators.model_selection.grids import Grid
from snn_estimators.model_selection.labels import readable
from snn_estimators.model_selection.provenance import describe_run
from snn_estimators.model_selection.scoring import final_estimator
from snn_estimators.sweep.budget import Budget
from snn_estimators.sweep.defaults import DEFAULT_GRIDS, sweep_model
from snn_estimators.sweep.executors import check_engine
from snn_estimators.sweep.leaderboard import Leaderboard
from snn_estimators.sweep.outputs import GrowingTables, SweepResult, write_result
from snn_estimators.sweep.plan import Plan, check_model, load_texts, resolve_grid
from snn_estimators.sweep.runner import Runner
from snn_estimators.sweep.score_cache import ScoreCache, folder_of
from snn_estimators.sweep.tracking import check_tracker
from snn_estimators.sweep.worker import Fit

__all__ = ["Sweep", "SweepInterrupted"]

STORE = ".store"


class SweepInterrupted(KeyboardInterrupt):
    """Ctrl-C; its message says how to go on."""


class _Ready(NamedTuple):
    """All that a sweep needs."""

    plan: Plan
    leaderboard: Leaderboard
    score_cache: ScoreCache
    budget: Budget
    story: dict[str, Any]
    folder: Path | None


@dataclass
class Sweep:
    """Cross-validate every candidate of a grid on text, and tabulate quality and cost.

    Everything that can be refused is refused before the first fit. Rows stream into the table as
    candidates finish; a candidate that fails later costs its own row. A sweep that was killed and
    is run again takes over every finished fit from its store, and goes on with those that were
    cut off.

    Parameters
    ----------
    grid : dict or list of dicts, optional
        Parameters to lists of values, as for `GridSearchCV`; short names do (``timesteps`` for
        ``module__timesteps``). By default what `DEFAULT_GRIDS` compares of the family.
    corpora : str, path, list of those, or dict, default="python-docs"
        What `load_corpus` takes, once or several times; a dict has names for keys, and such or
        lists of documents for values.
    family : {"spikedecoder", "spikegpt"}, default="spikedecoder"
        Of the `sweep_model` that is compared.
    estimator : estimator, optional
        What is cloned for each candidate instead: a language model, or a `Pipeline` that ends in
        one. Its `memory` is the sweep's `store`; its other ways to save itself, by a `name`, are
        refused.
    length : int, default=64
        Tokens that a model sees at most; the text is cut into windows one longer.
    limit : int or None, default=80_000
        Characters of each (cleaned) text to use.
    clean : bool, default=True
        Whether `TextCleaner` reduces the text to SpikeDecoder's 30 symbols first.
    folds : int, default=2
        Contiguous blocks of text, each held out once.
    seeds : int or list of int, optional
        How many seeds each candidate gets, counted up from the estimator's `random_state`, or
        which. Means and deviations are then over folds and seeds, and each candidate is compared
        with the best (``difference``, ``difference_se``, ``p_value``; see `compare_with_best`).
    budget : int or str, optional
        How much this run may do: a number of fits, or a time such as "2h", after which no fit is
        begun. The table then has the candidates that are done; run again for more.
    halving : int, optional
        Successive halving: this factor fewer candidates from rung to rung, trained this many
        times as long; the last rung trains as long as the estimator says. Each rung fits anew,
        since schedules of the learning rate depend on the steps to come.
    resource : {"max_steps", "max_epochs"}, optional
        What rungs have more and more of; by default `max_steps` if the estimator sets it.
    engine : str, default="loky"
        "loky" for processes of this machine (on several GPUs, one each), "dask" or "ray" for a
        cluster that is started here, "dask://HOST:PORT" or "ray://HOST:PORT" for one that is
        there. Processes do one fit at a time. A cluster's machines share the store's folder.
    n_jobs : int, optional
        Fits at a time, -1 for one a core; by default one a core, or one a GPU. The threads of
        all together are no more than the cores.
    track : {"tensorboard", "mlflow"}, optional
        Follow each fit's loss: TensorBoard's files go below `output`, MLflow's where
        ``MLFLOW_TRACKING_URI`` points.
    store : path, optional
        Folder of finished and unfinished fits; sweeps may share one. By default the estimator's
        `memory`, else ``.store`` in `output`; without any of these nothing is kept.
    fresh : bool, default=False
        Begin anew: what the store holds of this sweep's fits is deleted, and nothing else.
        Otherwise a sweep goes on.
    output : path, optional
        Where ``results.csv`` grows, and `write_tables` leaves its files in the end, with
        ``fits.csv``. Nothing is written without.
    progress : bool, default=False
        Whether to show a bar over all fits, with the time left.
    command : list of str, optional
        Command line for ``run.json``.

    Examples
    --------
    >>> sweep = Sweep(
    ...     {"timesteps": [1, 2], "heads": [1]}, {"cats": ["the cat sat on the mat. " * 20]},
    ...     estimator=sweep_model(length=16, max_steps=1), length=16, n_jobs=1,
    ... )
    >>> sweep.run().table[["timesteps", "heads"]].sort_values("timesteps").to_numpy().tolist()
    [[1, 1], [2, 1]]
    """

    grid: Grid | Sequence[Grid] | None = None
    corpora: Any = "python-docs"
    _: KW_ONLY
    family: str = "spikedecoder"
    estimator: Any = None
    length: int = 64
    limit: int | None = 80_000
    clean: bool = True
    folds: int = 2
    seeds: int | Sequence[int] | None = None
    budget: int | str | None = None
    halving: int | None = None
    resource: str | None = None
    engine: str = "loky"
    n_jobs: int | None = None
    track: str | None = None
    store: str | os.PathLike[str] | None = None
    fresh: bool = False
    output: str | os.PathLike[str] | None = None
    progress: bool = False
    command: Sequence[str] | None = None

    @property
    def store_folder(self) -> Path | None:
        """Where the fits are kept; it may be deleted once there is nothing to go on with."""
        own = folder_of(getattr(final_estimator(self.estimator), "memory", None))
        if self.store is None:
            return folder_of(Path(self.output, STORE)) if own is None and self.output else own
        store = folder_of(self.store)
        if own not in (None, store):
            raise ValueError(
                f"the estimator has memory={str(own)!r}, and the sweep store={str(store)!r}, which "
                "both keep its fits: give one of the two"
            )
        return store

    def run(self) -> SweepResult:
        """Do what is not done yet, and return everything.

        Returns
        -------
        SweepResult

        Raises
        ------
        TypeError, ValueError
            If a parameter makes no sense, a corpus is unknown or too short, a candidate cannot be
            built, or the store is of a newer version: before the first fit. If every single fit
            failed.
        ImportError, ConnectionError
            If the engine or the tracker is not installed, or the engine does not answer: before
            the first fit.
        OSError
            If `output` or the store cannot be written; before the first fit. Later, a full disk
            costs a warning.
        RuntimeError
            If the engine's processes end again and again before they begin a fit.
        SweepInterrupted
            On Ctrl-C. ``results.csv`` holds the candidates that are done.
        TablesNotWrittenError
            If writing fails after the last fit nevertheless (the disk is full).
        """
        started = time.perf_counter()
        try:
            ready = self._get_ready()
        except KeyboardInterrupt as error:
            raise SweepInterrupted("interrupted before the first fit: nothing was begun") from error
        plan, leaderboard = ready.plan, ready.leaderboard
        try:
            runner = self._carry_out(ready)
            best = leaderboard.best_row
            result = SweepResult(
                table=leaderboard.table(),
                fits=leaderboard.fits(),
                best=None if best is None else plan.model(leaderboard.rows[best]),
                run=ready.story
                | {"duration_seconds": round(time.perf_counter() - started, 3)}
                | {"fits": {"done": leaderboard.n_done, "taken_over": runner.taken_over}}
                | {"candidates": {"done": leaderboard.n_rows_done, "planned": plan.n_rows}}
                | {"complete": runner.complete, "store_megabytes": ready.score_cache.megabytes()},
            )
            _check_scores(leaderboard)
            if ready.folder is not None:
                write_result(result, ready.folder)
        except KeyboardInterrupt as error:
            raise SweepInterrupted(self._way_on(leaderboard, plan)) from error
        return result

    def _get_ready(self) -> _Ready:
        """Refuse what can be refused, and make the folders."""
        budget = Budget(self.budget)
        score_cache = ScoreCache(self.store_folder)
        plan = self._plan(None if score_cache.folder is None else str(score_cache.folder))
        leaderboard = Leaderboard(plan.seeds, plan.folds, halving=self.halving is not None)
        # Described before the first fit: nothing may go wrong between the last fit and its table.
        story = self._describe(plan)
        # The last of the checks, so that no other refusal leaves an empty folder behind.
        folder = None if self.output is None else check_writable(self.output).absolute()
        score_cache.open()
        return _Ready(plan, leaderboard, score_cache, budget, story, folder)

    def _carry_out(self, ready: _Ready) -> Runner:
        """Do the fits, and tell of each."""
        plan, leaderboard, score_cache, budget, _, folder = ready
        tables = GrowingTables(folder)
        bar = tqdm(
            total=plan.n_fits, unit="fit", desc="sweep", smoothing=0, disable=not self.progress
        )

        def report(fit: Fit | None) -> None:
            if fit is None:  # what is taken over, or shorter, tells nothing of the time to come
                bar.n = bar.initial = leaderboard.n_done
                bar.start_t = bar.last_print_t = time.time()
                bar.refresh()
            else:
                bar.update()
            if fit is None or leaderboard.is_done(fit.row):
                tables.write(leaderboard)

        with bar:
            if self.fresh:
                score_cache.forget(plan.keys())
            runner = Runner(
                plan, leaderboard, score_cache, budget, report, self.track, folder, self._again
            )
            runner.run(self.engine, self.n_jobs)
        return runner

    def _plan(self, memory: str | None = None) -> Plan:
        """Make the plan, after everything that can be refused without it."""
        self._check_numbers()
        if self.track == "tensorboard" and self.output is None:
            raise ValueError('track="tensorboard" needs an output folder for its files')
        if self.track is not None:
            check_tracker(self.track)
        model = self.estimator
        if model is None:
            model = sweep_model(family=self.family, length=self.length, clean=self.clean)
        grid = DEFAULT_GRIDS[self.family] if self.grid is None else self.grid
        check_model(model, memory)
        grid = resolve_grid(model, grid)
        check_engine(self.engine)
        return Plan(
            model,
            grid,
            load_texts(self.corpora, clean=self.clean, limit=self.limit),
            length=self.length,
            folds=self.folds,
            seeds=self.seeds,
            halving=self.halving,
            resource=self.resource,
            memory=memory,
            progress=self.progress,
        )

    def _check_numbers(self) -> None:
        jobs = self.n_jobs
        if jobs is not None and (not is_whole(jobs, -sys.maxsize) or jobs == 0):
            raise ValueError(
                f"n_jobs must be a whole number but 0, got {jobs!r}: give the number of fits at a "
                "time, or -1"
            )
        if self.limit is not None and not is_whole(self.limit, 1):
            raise ValueError(
                f"limit must be a whole number from 1 on, got {self.limit!r}: give the number of "
                "characters to use, or None for all"
            )
        for name, least in (("length", 1), ("folds", 2)):
            value = getattr(self, name)
            if not is_whole(value, least):
                raise ValueError(f"{name} must be a whole number from {least} on, got {value!r}")

    def _describe(self, plan: Plan) -> dict[str, Any]:
        corpora = list(plan.descriptions.values())
        return describe_run(
            parameters={
                "estimator": _settings_of(plan.estimator),
                "grid": _readable_grid(plan.grid),
                "folds": self.folds,
                "length": self.length,
                "limit": self.limit,
                "clean": self.clean,
                "seeds": plan.seeds,
                "halving": self.halving,
                "engine": self.engine,
            },
            seed=plan.seeds[0],
            corpus=corpora[0] if len(corpora) == 1 else {"corpora": corpora},
            command=self.command,
        )

    def _way_on(self, leaderboard: Leaderboard, plan: Plan) -> str:
        told = f"interrupted with {leaderboard.n_done} of {plan.n_fits} fits done"
        if self.output is not None:
            told += f", see {Path(self.output, 'results.csv')}"
        if self.store_folder is None:
            return f"{told}; nothing is kept: give an output folder to be able to go on"
        return f"{told}; {self._again} from there"

    @property
    def _again(self) -> str:
        afresh = " without fresh" if self.fresh else ""
        return f"run the same again{afresh} to go on"


def _check_scores(leaderboard: Leaderboard) -> None:
    """Refuse to call a table full of gaps a success, and tell of single ones."""
    failures = leaderboard.failures
    if not failures:
        return
    if len(failures) == leaderboard.n_done:
        raise ValueError(f"every fit of the sweep failed: {failures[-1]}")
    warnings.warn(
        f"{len(failures)} of {leaderboard.n_done} fits failed, their candidates stand last in the "
        f"table with the reason: {failures[-1]}",
        FitFailedWarning,
        stacklevel=3,
    )


def _settings_of(estimator: Any) -> dict[str, Any]:
    """Return the parameters that differ from the defaults of the estimator's classes."""
    defaults: dict[str, str] = {}
    for one in type(estimator).__mro__:
        for name, parameter in inspect.signature(one).parameters.items():
            defaults.setdefault(name, repr(parameter.default))
    parameters = estimator.get_params(deep=False)
    changed = {n: value for n, value in parameters.items() if defaults.get(n) != repr(value)}
    return {"class": type(estimator).__name__} | {k: readable(v) for k, v in changed.items()}


def _readable_grid(grid: Any) -> Any:
    if isinstance(grid, Mapping):
        return {name: [readable(value) for value in values] for name, values in grid.items()}
    return [_readable_grid(one) for one in grid]

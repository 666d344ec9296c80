"""A whole sweep: corpora to windows, grid to fits, fits to tables and files."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from sklearn.exceptions import FitFailedWarning
from tqdm import tqdm

from snn_estimators._describe import changed_parameters
from snn_estimators._files import check_writable
from snn_estimators._torch import check_device
from snn_estimators._validation import check_choices, check_flags, check_whole, is_whole
from snn_estimators._warnings import warn
from snn_estimators.estimators import LANGUAGE_MODELS, language_model_class
from snn_estimators.model_selection.grids import Grid
from snn_estimators.model_selection.provenance import describe_run
from snn_estimators.model_selection.scoring import final_estimator
from snn_estimators.model_selection.tables import COST, COSTS
from snn_estimators.persistence.fit_cache import MemoryLike
from snn_estimators.sweep.budget import Budget
from snn_estimators.sweep.defaults import DEFAULT_GRIDS, sweep_model
from snn_estimators.sweep.executors import check_engine
from snn_estimators.sweep.executors.base import LOCAL_ENGINES
from snn_estimators.sweep.leaderboard import Leaderboard
from snn_estimators.sweep.outputs import GrowingTables, SweepResult, write_result
from snn_estimators.sweep.plan import Plan, check_estimator, load_texts, resolve_grid
from snn_estimators.sweep.runner import Runner
from snn_estimators.sweep.score_cache import ScoreCache, folder_of
from snn_estimators.sweep.tracking import check_tracker
from snn_estimators.sweep.worker import Fit

__all__ = ["Sweep", "SweepInterrupted"]

MEMORY = ".memory"
_CHOICES = {"cost": COSTS, "impossible": ("raise", "skip")}


class SweepInterrupted(KeyboardInterrupt):
    """Raised on Ctrl-C; its message says how to resume."""


class _Ready(NamedTuple):
    """What a sweep runs with, all of it checked."""

    plan: Plan
    leaderboard: Leaderboard
    score_cache: ScoreCache
    budget: Budget
    description: dict[str, Any]
    folder: Path | None


@dataclass
class Sweep:
    """Cross-validate every candidate of a grid on text, and tabulate quality and cost.

    All parameters are checked before the first fit. Rows are written to the table as candidates
    finish; a candidate that fails has a row without scores. A sweep that was killed and is run
    again takes over every finished fit from its memory, and resumes those that were cut off.

    Parameters
    ----------
    grid : dict or list of dicts, optional
        Parameters to lists of values, as for `GridSearchCV`; short names do (``timesteps`` for
        ``module__timesteps``). By default that of the model in `DEFAULT_GRIDS`.
    corpora : str, path, list of those, or dict, default="python-docs"
        What `load_corpus` takes, once or several times; a dict has names for keys, and such or
        lists of documents for values.
    model : {"spikedecoder", "spikegpt"}, default="spikedecoder"
        The language model that is compared, as `sweep_model` makes it; without an `estimator`.
    estimator : estimator, optional
        What is cloned for each candidate instead: a language model, or a `Pipeline` that ends in
        one. Its `memory` is the sweep's; it must have no `name`.
    length : int, default=64
        Context length in tokens; the text is cut into windows that are one token longer.
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
        started. The table then has the candidates that are done; run again for more.
    halving : int, optional
        Successive halving: this factor fewer candidates from rung to rung, trained this many
        times as long; the last rung trains as long as the estimator says. Each rung trains from
        scratch, since schedules of the learning rate depend on the number of steps.
    resource : {"max_steps", "max_epochs"}, optional
        What grows from rung to rung; by default `max_steps` if the estimator sets it.
    cost : {"synaptic", "total", "total_with_memory", "weight_reads"}, default="total_with_memory"
        What the Pareto front weighs against perplexity; see `results_table`.
    baselines : bool, default=True
        Whether the table also has what the candidates have to beat, on the same folds, named in a
        column ``baseline``: bigrams and trigrams (`NGramLM`), the best candidate's non-spiking
        twin, and the largest twin that costs no more.
    engine : str, default="loky"
        "loky" for processes of this machine (on several GPUs, one each), "dask" or "ray" for a
        local cluster, "dask://HOST:PORT" or "ray://HOST:PORT" for a running one. Each process
        runs one fit at a time. A cluster's machines share the memory's folder.
    n_jobs : int, optional
        Fits at a time, -1 for one a core; by default one a core, or one a GPU. The threads of
        all together are no more than the cores.
    track : {"tensorboard", "mlflow"}, optional
        Log each fit's loss: to TensorBoard below `output` while it trains, or to MLflow at
        ``MLFLOW_TRACKING_URI`` when it has ended.
    memory : path or joblib.Memory, optional
        Cache of finished and unfinished fits; sweeps may share one. By default the estimator's
        `memory`, else ``.memory`` in `output`; without any of these nothing is kept.
    fresh : bool, default=False
        Whether to start from scratch: this sweep's fits are deleted from the memory, and nothing
        else. Otherwise the sweep resumes.
    impossible : {"raise", "skip"}, default="raise"
        What to do with a candidate that cannot be built, such as one with 2 heads on a code of
        width 87: raise an error before the first fit, or give it a row with the reason, and search
        the rest. If no candidate can be built it is an error all the same.
    output : path, optional
        Folder for ``results.csv`` and ``fits.csv``, which grow with each candidate, and for the
        files of `write_tables`. Without it nothing is written.
    progress : bool, default=False
        Whether to show a progress bar over all fits, with the time left.
    command : list of str, optional
        The command line that ``run.json`` records.

    Examples
    --------
    >>> sweep = Sweep(
    ...     {"timesteps": [1, 2], "heads": [1]}, {"cats": ["the cat sat on the mat. " * 20]},
    ...     estimator=sweep_model(length=16, max_steps=1), length=16, n_jobs=1, baselines=False,
    ... )
    >>> sweep.run().table[["timesteps", "heads"]].sort_values("timesteps").to_numpy().tolist()
    [[1, 1], [2, 1]]
    """

    grid: Grid | Sequence[Grid] | None = None
    corpora: Any = "python-docs"
    _: KW_ONLY
    model: str = "spikedecoder"
    estimator: Any = None
    length: int = 64
    limit: int | None = 80_000
    clean: bool = True
    folds: int = 2
    seeds: int | Sequence[int] | None = None
    budget: int | str | None = None
    halving: int | None = None
    resource: str | None = None
    cost: str = COST
    baselines: bool = True
    engine: str = "loky"
    n_jobs: int | None = None
    track: str | None = None
    memory: MemoryLike = None
    fresh: bool = False
    impossible: str = "raise"
    output: str | os.PathLike[str] | None = None
    progress: bool = False
    command: Sequence[str] | None = None

    @property
    def memory_folder(self) -> Path | None:
        """Where the fits are kept; it may be deleted once no sweep is to be resumed from it."""
        of_estimator = folder_of(getattr(final_estimator(self.estimator), "memory", None))
        if self.memory is None:
            if of_estimator is None and self.output:
                return folder_of(Path(self.output, MEMORY))
            return of_estimator
        folder = folder_of(self.memory)
        if of_estimator not in (None, folder):
            raise ValueError(
                f"the estimator has memory={str(of_estimator)!r}, and the sweep "
                f"memory={str(folder)!r}: give one of the two"
            )
        return folder

    def run(self) -> SweepResult:
        """Run the fits that are not done yet, and return all results.

        Returns
        -------
        SweepResult

        Raises
        ------
        TypeError, ValueError
            If a parameter is invalid, a corpus is unknown or too short, a candidate cannot be
            built, or the memory is of another version: before the first fit. If every fit failed.
        ImportError, ConnectionError
            If the engine or the tracker is not installed, or the engine does not answer: before
            the first fit.
        OSError
            If `output` or the memory cannot be written; before the first fit. Later, a full disk
            is a warning.
        RuntimeError
            If the engine's processes end again and again before they start a fit.
        SweepInterrupted
            On Ctrl-C. ``results.csv`` holds the candidates that are done.
        TablesNotWrittenError
            If writing fails after the last fit nevertheless (the disk is full).
        """
        started = time.perf_counter()
        try:
            ready = self._get_ready()
        except KeyboardInterrupt as error:
            raise SweepInterrupted(
                "interrupted before the first fit: nothing was started"
            ) from error
        plan, leaderboard = ready.plan, ready.leaderboard
        try:
            runner = self._run_fits(ready)
            best = leaderboard.best_row(next(iter(plan.texts)))
            result = SweepResult(
                table=leaderboard.table(),
                fits=leaderboard.fits(),
                best=None if best is None else plan.estimator_of(leaderboard.rows[best]),
                run=ready.description
                | {"duration_seconds": round(time.perf_counter() - started, 3)}
                | {"fits": {"done": leaderboard.n_done, "taken_over": runner.taken_over}}
                | {"candidates": {"done": leaderboard.n_rows_done, "planned": plan.n_rows}}
                | {"complete": runner.complete, "memory_megabytes": ready.score_cache.megabytes()},
            )
            _check_scores(leaderboard)
            if ready.folder is not None:
                write_result(result, ready.folder)
        except KeyboardInterrupt as error:
            raise SweepInterrupted(self._how_to_resume(leaderboard, plan)) from error
        return result

    def _get_ready(self) -> _Ready:
        """Check all parameters, then make the folders."""
        budget = Budget(self.budget)
        score_cache = ScoreCache(self.memory_folder)
        plan = self._plan(None if score_cache.folder is None else str(score_cache.folder))
        leaderboard = Leaderboard(
            plan.seeds, plan.folds, halving=self.halving is not None, cost=self.cost
        )
        # Before the first fit: nothing may go wrong between the last fit and its table.
        description = self._describe(plan)
        # The last of the checks, so that no other error leaves an empty folder behind.
        folder = None if self.output is None else check_writable(self.output).absolute()
        score_cache.open()
        plan.warn_of_impossible()
        return _Ready(plan, leaderboard, score_cache, budget, description, folder)

    def _run_fits(self, ready: _Ready) -> Runner:
        """Run the fits, and update tables and progress bar after each."""
        plan, leaderboard, score_cache, budget, _, folder = ready
        tables = GrowingTables(folder)
        bar = tqdm(
            total=plan.n_fits, unit="fit", desc="sweep", smoothing=0, disable=not self.progress
        )

        def report(fit: Fit | None) -> None:
            if fit is None:  # fits of earlier runs and rungs say nothing about the time left
                bar.n = bar.initial = leaderboard.n_done
                bar.total = max(plan.n_fits, leaderboard.n_fits)
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
                plan, leaderboard, score_cache, budget, report, self.track, folder, self._again,
                self.baselines,
            )  # fmt: skip
            runner.run(self.engine, self.n_jobs)
        return runner

    def _plan(self, memory: str | None = None) -> Plan:
        """Make the plan, after all checks that do not need it."""
        self._check_numbers()
        if self.track == "tensorboard" and self.output is None:
            raise ValueError('track="tensorboard" needs an output folder for its files')
        if self.track is not None:
            check_tracker(self.track)
        estimator, model = self.estimator, self.model
        language_model_class(model)  # raises for one that there is not
        if estimator is not None:
            final = final_estimator(estimator)
            known = (name for name, kind in LANGUAGE_MODELS.items() if isinstance(final, kind))
            model = next(known, model)
        if estimator is None:
            estimator = sweep_model(model=self.model, length=self.length, clean=self.clean)
        grid = DEFAULT_GRIDS[model] if self.grid is None else self.grid
        check_estimator(estimator, memory)
        grid = resolve_grid(estimator, grid)
        on_other_machines = self.engine not in LOCAL_ENGINES
        if not on_other_machines:
            check_device(final_estimator(estimator).device)
        check_engine(self.engine)
        return Plan(
            estimator,
            grid,
            load_texts(self.corpora, clean=self.clean, limit=self.limit),
            length=self.length,
            folds=self.folds,
            seeds=self.seeds,
            halving=self.halving,
            resource=self.resource,
            memory=memory,
            progress=self.progress,
            on_other_machines=on_other_machines,
            impossible=self.impossible,
        )

    def _check_numbers(self) -> None:
        if self.n_jobs is not None and (not is_whole(self.n_jobs) or self.n_jobs == 0):
            raise ValueError(
                f"n_jobs must be a whole number but 0, got {self.n_jobs!r}: give the number of "
                "fits at a time, or -1"
            )
        hint = "give the number of characters to use, or None for all"
        check_choices(_CHOICES, cost=self.cost, impossible=self.impossible)
        check_flags(baselines=self.baselines)
        check_whole("limit", self.limit, 1, optional=True, hint=hint)
        check_whole("length", self.length, 1)
        check_whole("folds", self.folds, 2)

    def _describe(self, plan: Plan) -> dict[str, Any]:
        corpora = list(plan.descriptions.values())
        return describe_run(
            parameters={
                "estimator": {"class": type(plan.estimator).__name__}
                | changed_parameters(plan.estimator),
                "grid": plan.grid,
                "folds": self.folds,
                "length": self.length,
                "limit": self.limit,
                "clean": self.clean,
                "seeds": plan.seeds,
                "halving": self.halving,
                "cost": self.cost,
                "baselines": self.baselines,
                "impossible": self.impossible,
                "engine": self.engine,
            },
            seed=plan.seeds[0],
            corpus=corpora[0] if len(corpora) == 1 else {"corpora": corpora},
            command=self.command,
        )

    def _how_to_resume(self, leaderboard: Leaderboard, plan: Plan) -> str:
        n_fits = max(plan.n_fits, leaderboard.n_fits)
        message = f"interrupted with {leaderboard.n_done} of {n_fits} fits done"
        if self.output is not None:
            message += f", see {Path(self.output, 'results.csv')}"
        if self.memory_folder is None:
            return f"{message}; no fit is kept: give an output folder to be able to resume"
        return f"{message}; {self._again} from there"

    @property
    def _again(self) -> str:
        without = " without fresh" if self.fresh else ""
        return f"run the same again{without} to resume"


def _check_scores(leaderboard: Leaderboard) -> None:
    """Raise an error if every fit failed, warn if some did."""
    failures = leaderboard.failures
    if not failures:
        return
    if len(failures) == leaderboard.n_done:
        raise ValueError(f"every fit of the sweep failed: {failures[-1]}")
    warn(
        f"{len(failures)} of {leaderboard.n_done} fits failed, their candidates stand last in the "
        f"table with the reason: {failures[-1]}",
        FitFailedWarning,
    )

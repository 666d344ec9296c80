"""The loop of a sweep: fits out to workers, results back into memory and leaderboard."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import joblib
import torch

from snn_estimators._torch import resolve_device
from snn_estimators._torch_settings import changed_switch, torch_settings
from snn_estimators._warnings import warn
from snn_estimators.model_selection.scoring import final_estimator
from snn_estimators.sweep.baselines import N_GRAMS, n_gram_results, twins
from snn_estimators.sweep.budget import Budget
from snn_estimators.sweep.executors import open_executor
from snn_estimators.sweep.executors.base import (
    LOCAL_ENGINES,
    Executor,
    Task,
    TaskNotStartedError,
    WorkerDiedError,
    WorkersLostError,
    pull,
    threads_per_worker,
)
from snn_estimators.sweep.leaderboard import Leaderboard
from snn_estimators.sweep.plan import Plan
from snn_estimators.sweep.score_cache import ScoreCache
from snn_estimators.sweep.tracking import MlflowTracker, TrainingLog
from snn_estimators.sweep.worker import (
    Fit,
    FitResult,
    WorkerContext,
    fit_and_score,
    reason,
    to_bytes,
)

__all__ = ["Runner"]

_DIED = "the process of this fit died, as it does when the system is out of memory"


class Runner:
    """Runs the fits of a plan, and reports each.

    scikit-learn's searches report nothing before their last fit, take a failing score for their own
    failure, and know neither corpora nor seeds: hence a loop of our own.

    Parameters
    ----------
    report : callable
        Called with the fit after each result; with None when a rung begins, after what earlier
        runs have done was taken over.
    resume_hint : str
        How to resume the sweep if the engine fails.
    baselines : bool
        Whether n-grams and twins of the best candidate follow the last rung.

    Attributes
    ----------
    taken_over : int
        Number of fits whose scores were cached.
    complete : bool
        Whether `run` came to the end of the last rung.
    """

    def __init__(
        self,
        plan: Plan,
        leaderboard: Leaderboard,
        score_cache: ScoreCache,
        budget: Budget,
        report: Callable[[Fit | None], None],
        track: str | None,
        folder: Path | None,
        resume_hint: str,
        baselines: bool,
    ) -> None:
        self.plan = plan
        self.leaderboard = leaderboard
        self.score_cache = score_cache
        self.budget = budget
        self.report = report
        self.track = track
        self.folder = folder
        self.resume_hint = resume_hint
        self.baselines = baselines
        self.taken_over = 0
        self.complete = False
        self._tracker: MlflowTracker | None = None
        self._warned: set[str] = set()
        self._texts: dict[str, Any] = {}

    def run(self, engine: str, n_jobs: int | None) -> None:
        """Climb the rungs, of which there is one without halving, as far as the budget goes."""
        climbing: dict[str, Sequence[int]] = {
            name: range(len(self.plan.candidates)) for name in self.plan.texts
        }
        with ExitStack() as stack:
            started = cache(lambda: self._start(engine, n_jobs, stack))  # by the first fit
            for rung in range(len(self.plan.rungs)):
                numbers = {
                    corpus: [
                        self.leaderboard.add_row(self.plan.row(corpus, candidate, rung))
                        for candidate in candidates
                    ]
                    for corpus, candidates in climbing.items()
                }
                rows = [number for part in numbers.values() for number in part]
                fits = [
                    fit
                    for n in rows
                    if self.leaderboard.rows[n].is_fitted
                    for fit in self.plan.fits(n, self.leaderboard.rows[n])
                ]
                left = self._recall(fits)
                self.report(None)
                if left:
                    self._work(left, engine, *started())
                if self.budget.spent:
                    return
                if rung + 1 == len(self.plan.rungs):
                    break
                count = self.plan.rungs[rung + 1].candidates
                climbing = {
                    corpus: [
                        self.leaderboard.rows[n].candidate
                        for n in self.leaderboard.best(part, count)
                    ]
                    for corpus, part in numbers.items()
                }
            if self.baselines:
                left = self._recall(self._baseline_fits())
                self.report(None)
                if left:
                    self._work(left, engine, *started())
        self.complete = not self.budget.spent

    def _baseline_fits(self) -> Iterator[Fit]:
        """Count n-grams, and yield the fits of the best candidate's twins."""
        for corpus in self.plan.texts:
            for name, order in N_GRAMS.items():
                number = self.leaderboard.add_row(self.plan.baseline_row(corpus, name))
                results = n_gram_results(self.plan, corpus, order)
                self.leaderboard.note_all(number, results)
            best = self.leaderboard.best_row(corpus)
            if best is None:
                continue
            model = self.plan.estimator_of(self.leaderboard.rows[best])
            scores, cost = self.leaderboard.scores(best), self.leaderboard.cost
            found = twins(self.plan, corpus, model, scores, cost)
            for name, twin in found.items():
                row = self.plan.baseline_row(corpus, name, twin)
                yield from self.plan.fits(self.leaderboard.add_row(row), row)

    def _recall(self, fits: Iterable[Fit]) -> list[Fit]:
        """Take over what earlier runs have done, and return the fits that are left."""
        left = []
        for fit in fits:
            result = self.score_cache.recall(fit.key)
            if result is None:
                left.append(fit)
            else:
                self.taken_over += 1
                self.leaderboard.note(fit, result)
        return left

    def _start(
        self, engine: str, n_jobs: int | None, stack: ExitStack
    ) -> tuple[Executor, WorkerContext]:
        """Start or connect to the engine until the stack closes, and describe what fits share."""
        self._tracker = MlflowTracker() if self.track == "mlflow" else None
        device = resolve_device(final_estimator(self.plan.estimator).device).type
        switch = changed_switch(device)
        if switch is not None:
            self._warn(
                "switch",
                f"{switch}: other processes of the sweep compute with PyTorch's default, and no "
                "fit is kept; set it back, or set n_jobs=1 to compute with it",
            )
            self.score_cache = ScoreCache(None)
        context = WorkerContext(
            self.plan.length + 1, self.plan.folds, self.score_cache.folder, self.track, self.folder,
            settings=torch_settings(device), device=device, switch=switch,
        )  # fmt: skip
        if engine in LOCAL_ENGINES:
            gpus, on_gpu = _gpus(self.plan.estimator)
            if n_jobs is None:
                left = self.plan.n_fits - self.leaderboard.n_done
                n_jobs = min(gpus if on_gpu else joblib.cpu_count(), left)
            in_process = engine == "loky" and joblib.effective_n_jobs(n_jobs) == 1
            threads = None if in_process else threads_per_worker(n_jobs)
            locks = stack.enter_context(tempfile.TemporaryDirectory(prefix="snn-estimators-"))
            context = replace(context, threads=threads, gpus=gpus, gpu_locks=Path(locks))
        texts = {name: to_bytes(text) for name, text in self.plan.texts.items()}
        size = sum(text.nbytes for text in texts.values())
        # A cluster may have GPUs where this machine has none.
        may_use_gpus = str(final_estimator(self.plan.estimator).device).startswith(("auto", "cuda"))
        executor = stack.enter_context(
            open_executor(engine, n_jobs, shared_bytes=size, gpus=may_use_gpus)
        )
        self._texts = {name: executor.share(text) for name, text in texts.items()}
        return executor, context

    def _work(
        self, fits: Sequence[Fit], engine: str, executor: Executor, context: WorkerContext
    ) -> None:
        """Run fits, as far as the budget goes."""
        started: dict[int, float] = {}
        try:
            with closing(pull(executor, self._tasks(fits, context, started))) as results:
                for number, result, error in results:
                    since = started.pop(number)
                    if error is not None:
                        result = self._failed(fits[number], error, since)
                    self._note(fits[number], result)
        except WorkersLostError as error:
            pending = [fits[number].name for number in error.numbers[:3]]
            raise ConnectionError(self._lost(engine, pending)) from error
        except KeyboardInterrupt:
            for number, since in started.items():
                self._log_interrupted(fits[number], since)
            raise

    def _tasks(
        self, fits: Sequence[Fit], context: WorkerContext, started: dict[int, float]
    ) -> Iterator[Task]:
        """Yield a task for each fit that the budget allows, and note when."""
        for number, fit in enumerate(fits):
            if not self.budget.take():
                return
            started[number] = time.time()
            yield Task(number, fit_and_score, (number, fit, self._texts[fit.corpus], context))

    def _failed(self, fit: Fit, error: BaseException, since: float) -> FitResult:
        """Return the result of a fit that has none."""
        if isinstance(error, TaskNotStartedError):
            raise RuntimeError(self._not_started(fit, error)) from error.__cause__
        if not isinstance(error, Exception):  # Ctrl-C, which a worker noticed first
            raise error
        failure = _DIED if isinstance(error, WorkerDiedError) else reason(error)
        return FitResult(float("nan"), failure=failure, log=TrainingLog(since, time.time(), []))

    def _note(self, fit: Fit, result: FitResult) -> None:
        try:
            self.score_cache.note(fit.key, result)
        except OSError as error:
            self._warn(
                "memory",
                f"the memory {self.score_cache.folder} cannot be written ({error}): the sweep "
                f"continues, but {fit.name}, maybe others, will be trained again if it is run "
                "again",
            )
        if self._tracker is not None and result.log is not None:
            scores, failure = result.scores, result.failure
            self._tracker.log(
                fit.name, _parameters(fit), result.log, scores=scores, failure=failure
            )
        self.leaderboard.note(fit, result)
        self.report(fit)

    def _warn(self, subject: str, message: str) -> None:
        """Warn once a sweep."""
        if subject not in self._warned:
            self._warned.add(subject)
            warn(message)

    def _log_interrupted(self, fit: Fit, since: float) -> None:
        if self._tracker is not None:
            log = TrainingLog(since, time.time(), [])
            self._tracker.log(
                fit.name, _parameters(fit), log, failure="interrupted", interrupted=True
            )

    # Messages

    def _lost(self, engine: str, names: Sequence[str]) -> str:
        """Describe a sweep that has lost its cluster."""
        pending = f" with {' and '.join(names)} pending" if names else ""
        return (
            f"the engine {engine} has no workers, or its scheduler was lost{pending}; "
            f"{self._so_far()}: start them, and {self.resume_hint}"
        )

    def _not_started(self, fit: Fit, error: TaskNotStartedError) -> str:
        """Describe a sweep whose processes end before they start a fit."""
        broken = error.__cause__
        assert broken is not None
        cause = str(broken.__cause__ or broken).strip().strip('"').strip()
        return (
            f"the processes of the engine loky end before they start {fit.name} "
            f"({cause.splitlines()[-1].strip()}); {self._so_far()}: move user-defined classes and "
            f"functions to a module that other processes can import, or set n_jobs=1, and "
            f"{self.resume_hint}"
        )

    def _so_far(self) -> str:
        kept = "kept" if self.score_cache.folder is not None else "lost, as there is no memory"
        n_fits = max(self.plan.n_fits, self.leaderboard.n_fits)
        return f"{self.leaderboard.n_done} of {n_fits} fits are done and {kept}"


def _parameters(fit: Fit) -> dict[str, Any]:
    """Return what MLflow shows of a fit."""
    own = final_estimator(fit.model).get_params(deep=False)
    return own | {"corpus": fit.corpus, "seed": fit.seed, "fold": fit.fold}


def _gpus(estimator: Any) -> tuple[int, bool]:
    """Return how many GPUs there are to choose from, and whether the model runs on one at all."""
    device = resolve_device(final_estimator(estimator).device)
    if device.type != "cuda":
        return 0, False
    return torch.cuda.device_count() if device.index is None else 1, True

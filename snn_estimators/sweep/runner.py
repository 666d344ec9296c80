"""The loop of a sweep: fits out to workers, outcomes back into store and leaderboard."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import joblib
import torch
from joblib import delayed
from joblib.externals.loky.process_executor import BrokenProcessPool

from snn_estimators._torch import resolve_device
from snn_estimators._torch_settings import changed_switch, torch_settings
from snn_estimators.model_selection.scoring import final_estimator
from snn_estimators.sweep.budget import Budget
from snn_estimators.sweep.executors.base import open_engine, threads_per_worker
from snn_estimators.sweep.executors.cluster import WorkersGoneError
from snn_estimators.sweep.leaderboard import Leaderboard
from snn_estimators.sweep.plan import Plan
from snn_estimators.sweep.score_cache import ScoreCache
from snn_estimators.sweep.tracking import Place, begin, run_of_fit
from snn_estimators.sweep.worker import (
    Bytes,
    Fit,
    FitResult,
    WorkerContext,
    fit_and_score,
    to_bytes,
)

__all__ = ["Runner"]

Work = Callable[[Iterable[Any]], Iterator[Any]]
_HERE = ("loky", "dask")  # engines that start one process a core, or GPU, of this machine
_DIED = "the process of this fit died, as it does when the system is out of memory"


class Runner:
    """Does what a plan asks for, and tells whoever wants to know.

    scikit-learn's searches tell nothing before their last fit, take a failing score for their own
    failure, and know neither corpora nor seeds: hence a loop of our own over its smallest part.

    Parameters
    ----------
    plan : Plan
    leaderboard : Leaderboard
        Where outcomes go.
    score_cache : ScoreCache
        Where they are kept.
    budget : Budget
    report : callable
        Called with the fit after each outcome; with None when a rung begins, after what earlier
        runs have done was taken over.
    track : str, optional
    folder : Path, optional
        Both as `follow` takes them.
    again : str, default="run the same again to go on"
        How the sweep goes on if the engine fails.

    Attributes
    ----------
    taken_over : int
        Number of fits that the score_cache knew.
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
        track: str | None = None,
        folder: Path | None = None,
        again: str = "run the same again to go on",
    ) -> None:
        self.plan = plan
        self.leaderboard = leaderboard
        self.score_cache = score_cache
        self.budget = budget
        self.report = report
        self.track = track
        self.folder = folder
        self.again = again
        self.taken_over = 0
        self.complete = False
        self._place: Place | None = None
        self._told: set[str] = set()
        self._texts = {name: to_bytes(text) for name, text in plan.texts.items()}

    def run(self, engine: str, n_jobs: int | None) -> None:
        """Climb the rungs, of which there is one without halving, as far as the budget goes.

        Parameters
        ----------
        engine : str
        n_jobs : int or None
            Both as in `Sweep`.
        """
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
                fits = [fit for n in rows for fit in self.plan.fits(n, self.leaderboard.rows[n])]
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
        self.complete = True

    def _recall(self, fits: Iterable[Fit]) -> list[Fit]:
        """Take over what earlier runs have done, and return the fits that are left."""
        left = []
        for fit in fits:
            outcome = self.score_cache.recall(fit.key)
            if outcome is None:
                left.append(fit)
            else:
                self.taken_over += 1
                self.leaderboard.note(fit, outcome)
        return left

    def _start(
        self, engine: str, n_jobs: int | None, stack: ExitStack
    ) -> tuple[Work, WorkerContext]:
        """Start or reach the engine, until the stack ends, and say what fits find there."""
        self._place = begin(self.track)
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
        if engine in _HERE:
            gpus, on_gpu = _gpus(self.plan.estimator)
            if n_jobs is None:
                left = self.plan.n_fits - self.leaderboard.n_done
                n_jobs = min(gpus if on_gpu else joblib.cpu_count(), left)
            alone = engine == "loky" and n_jobs == 1  # in this process
            threads = None if alone else threads_per_worker(n_jobs)
            notes = stack.enter_context(tempfile.TemporaryDirectory(prefix="snn-estimators-"))
            context = replace(context, threads=threads, gpus=gpus, notes=Path(notes))
        texts = list(self._texts.values())
        may_use_gpus = _may_use_gpus(self.plan.estimator)
        return stack.enter_context(open_engine(engine, n_jobs, texts, may_use_gpus)), context

    def _work(self, fits: Sequence[Fit], engine: str, work: Work, context: WorkerContext) -> None:
        """Do the fits.

        A worker that is killed takes the others of its pool with it. The fits that were running
        are then done one by one: the one that dies again has failed. If none was running, as no
        process can read what it is sent, it is no use to go on.
        """
        waiting = dict(enumerate(fits))
        in_vain: list[BrokenProcessPool] = []
        while waiting and not self.budget.spent:
            n_waiting = len(waiting)
            try:
                self._collect(waiting, work(self._calls(waiting, context)))
            except BrokenProcessPool as error:
                in_vain.append(error)
                assert context.notes is not None
                for number in _unfinished(context.notes):
                    if number in waiting:
                        self._try_alone(waiting, number, work, context)
            except WorkersGoneError as error:
                names = [waiting[number].name for number in error.numbers[:3]]
                raise ConnectionError(self._stranded(engine, names)) from error
            if len(waiting) < n_waiting:
                in_vain.clear()
            if len(in_vain) > 1:
                break
        if in_vain:
            fit = next(iter(waiting.values()))
            raise RuntimeError(self._not_begun(fit, in_vain[-1])) from in_vain[-1]

    def _calls(self, fits: dict[int, Fit], context: WorkerContext) -> Iterator[Any]:
        for number, fit in list(fits.items()):
            if not self.budget.take():
                return
            yield delayed(_follow)(number, fit, self._texts[fit.corpus], context, self._place)

    def _try_alone(
        self, waiting: dict[int, Fit], number: int, work: Work, context: WorkerContext
    ) -> None:
        try:
            self._collect(waiting, work(self._calls({number: waiting[number]}, context)))
        except BrokenProcessPool:
            self._note(waiting.pop(number), FitResult(float("nan"), failure=_DIED))

    def _stranded(self, engine: str, names: Sequence[str]) -> str:
        """Say what became of a sweep whose cluster left it."""
        hand = f" with {' and '.join(names)} in hand" if names else ""
        return (
            f"the engine {engine} has no workers, or its scheduler is gone{hand}; "
            f"{self._so_far()}: start them, and {self.again}"
        )

    def _not_begun(self, fit: Fit, error: BrokenProcessPool) -> str:
        """Say what became of a sweep whose processes end before they begin a fit."""
        cause = str(error.__cause__ or error).strip().strip('"').strip()
        return (
            f"the processes of the engine loky end before they begin {fit.name} "
            f"({cause.splitlines()[-1].strip()}); {self._so_far()}: put classes and functions of "
            f"your own into a module that other processes can import, or set n_jobs=1, and "
            f"{self.again}"
        )

    def _so_far(self) -> str:
        kept = "kept" if self.score_cache.folder is not None else "lost, as there is no store"
        return f"{self.leaderboard.n_done} of {self.plan.n_fits} fits are done and {kept}"

    def _collect(self, waiting: dict[int, Fit], outcomes: Iterator[tuple[int, FitResult]]) -> None:
        for number, outcome in outcomes:
            fit = waiting.pop(number)
            if outcome.missing is not None:
                self._warn("tracker", f"{outcome.missing} ({fit.name}, maybe others)")
            try:
                self.score_cache.note(fit.key, outcome)
            except OSError as error:
                self._warn(
                    "store",
                    f"the store {self.score_cache.folder} cannot be written ({error}): the sweep "
                    f"goes on, but {fit.name}, maybe others, will be done again if it is run again",
                )
            self._note(fit, outcome)

    def _warn(self, of: str, told: str) -> None:
        """Warn of a trouble once a sweep."""
        if of not in self._told:
            self._told.add(of)
            warnings.warn(told, stacklevel=3)

    def _note(self, fit: Fit, outcome: FitResult) -> None:
        self.leaderboard.note(fit, outcome)
        self.report(fit)


def _follow(
    number: int, fit: Fit, text: Bytes, context: WorkerContext, place: Place | None
) -> tuple[int, FitResult]:
    """Do a fit, and tell its tracker what came of it."""
    with run_of_fit(place, {"corpus": fit.corpus, "seed": fit.seed, "fold": fit.fold}) as end:
        number, outcome = fit_and_score(number, fit, text, context)
        missing = end(outcome.scores, outcome.failure)
    return number, outcome._replace(missing=missing)


def _gpus(estimator: Any) -> tuple[int, bool]:
    """Return how many GPUs there are to choose from, and whether the model runs on one at all."""
    device = resolve_device(final_estimator(estimator).device)
    if device.type != "cuda":
        return 0, False
    return torch.cuda.device_count() if device.index is None else 1, True


def _may_use_gpus(estimator: Any) -> bool:
    """Tell whether the model would run on a GPU of a machine that has one."""
    return str(final_estimator(estimator).device).startswith(("auto", "cuda"))


def _unfinished(folder: Path) -> list[int]:
    """Return the numbers of the fits whose workers never got to strike them out."""
    notes = sorted(folder.glob("running-*"))
    numbers = [int(note.name.rpartition("-")[2]) for note in notes]
    for note in notes:
        note.unlink()
    return numbers

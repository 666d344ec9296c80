"""One fit of a sweep: what it is, and how a worker runs it."""

from __future__ import annotations

import math
import time
import warnings
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import clone

from snn_estimators._torch_settings import Settings, changed_switch, use_torch_settings
from snn_estimators.model_selection.scoring import final_estimator, language_model_scores
from snn_estimators.sweep.gpus import claimed_gpu
from snn_estimators.sweep.keys import code_key
from snn_estimators.sweep.tracking import TrainingLog, TrainingRecorder, tensorboard_callback
from snn_estimators.text import WindowKFold, split_windows

__all__ = ["Bytes", "Fit", "FitResult", "WorkerContext", "fit_and_score", "to_bytes"]

Bytes = npt.NDArray[np.uint8]

# Fits of one process take turns, since a Dask worker may have several threads: they would wait for
# each other's random numbers anyway, and that time would count as theirs.
_TURN = Lock()


@dataclass(frozen=True)
class Fit:
    """One model, one corpus, one seed, one fold."""

    name: str
    """For people: corpus, parameters, seed and fold."""
    row: int
    """Of the table, in the order of the grid."""
    corpus: str
    seed: int
    fold: int
    model: Any
    """Not fitted; all its parameters are set."""
    key: str
    """Equal for equal fits, in other sweeps too."""
    code: str
    """That of `code_key` where the sweep runs."""


class FitResult(NamedTuple):
    """What a fit came to."""

    fit_time: float
    """Seconds."""
    scores: dict[str, float] | None = None
    """From `language_model_scores`; None if the fit or the scoring failed."""
    failure: str | None = None
    """Why there are no scores, or none that compare."""
    log: TrainingLog | None = None
    """For MLflow; None if nothing was trained, or nobody asks."""

    @classmethod
    def of(cls, fit_time: float, scores: dict[str, float]) -> Self:
        """Return the result of a fit that was scored."""
        perplexity = -scores["neg_perplexity"]
        failure = None if math.isfinite(perplexity) else f"perplexity is {perplexity:g}"
        return cls(fit_time, scores, failure)


@dataclass(frozen=True)
class WorkerContext:
    """What all fits of a sweep have in common."""

    window_length: int
    """Characters in a window: one more than the model's `length`."""
    folds: int
    memory: Path | None = None
    """Where models are kept."""
    track: str | None = None
    """As in `Sweep`."""
    output: Path | None = None
    """Of the sweep; TensorBoard's files go below it."""
    threads: int | None = None
    """What PyTorch may use in a worker; None leaves it alone."""
    gpus: int = 0
    """GPUs to choose from, one a process; below 2 the model's own device stays."""
    gpu_locks: Path | None = None
    """Where the workers of one machine lock their GPUs."""
    settings: Settings = field(default_factory=dict)
    """PyTorch's where the sweep runs."""
    device: str = "cpu"
    """The type of device that those settings are of."""
    switch: str | None = None
    """The `changed_switch` where the sweep runs."""


def to_bytes(text: str) -> Bytes:
    """Return text as an array, which executors share: workers get it once, not with every task."""
    return np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8)


def fit_and_score(number: int, fit: Fit, text: Bytes, context: WorkerContext) -> FitResult:
    """Train one model on the other folds, and score it on its own.

    A failure is a result like any other; Ctrl-C is not. GPUs are counted from the task's number.
    """
    with _TURN:
        if context.threads is not None:
            torch.set_num_threads(context.threads)
        recorder = TrainingRecorder() if context.track == "mlflow" else None
        result = _fit_and_score(number, fit, text, context, recorder)
    return result if recorder is None else result._replace(log=recorder.log())


def _fit_and_score(
    number: int, fit: Fit, text: Bytes, context: WorkerContext, recorder: TrainingRecorder | None
) -> FitResult:
    windows = split_windows(text.tobytes().decode("utf-8", "surrogatepass"), context.window_length)
    cv = WindowKFold(context.folds, length=context.window_length)
    train, test = list(cv.split(windows))[fit.fold]
    gpu: AbstractContextManager[str | None] = nullcontext()
    if context.gpus > 1 and context.gpu_locks is not None:
        gpu = claimed_gpu(number, context.gpus, context.gpu_locks)
    started, fit_time = time.perf_counter(), None
    with gpu as device, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Training was interrupted")  # the sweep warns itself
        try:
            _check_code(fit)
            model = _prepare(fit, device, context, recorder)
            _check_switches(context)
            with use_torch_settings(context.settings, context.device):
                model.fit([windows[i] for i in train])
                # Epochs from before the fit was cut off count, and all of them if it was loaded.
                before = sum(epoch.get("dur", 0.0) for epoch in final_estimator(model).history)
                fit_time = max(time.perf_counter() - started, before)
                scores = language_model_scores(model, [windows[i] for i in test])
        except (Exception, SystemExit) as error:
            seconds = time.perf_counter() - started if fit_time is None else fit_time
            return FitResult(seconds, failure=reason(error))
    return FitResult.of(fit_time, scores)


def _prepare(
    fit: Fit, device: str | None, context: WorkerContext, recorder: TrainingRecorder | None
) -> Any:
    """Return the model of a fit, with what a worker adds."""
    model = clone(fit.model)
    added: list[tuple[str, Any]] = []
    if recorder is not None:
        added.append(("recorder", recorder))
    if context.track == "tensorboard":
        added.append(("tensorboard", tensorboard_callback(context.output, fit.name)))
    callbacks = final_estimator(model).callbacks
    if added and callbacks != "disable":
        set_final(model, callbacks=[*(callbacks or ()), *added])
    if device is not None:
        set_final(model, device=device)
    if context.memory is not None:
        set_final(model, memory=str(context.memory))
    return model


def _check_code(fit: Fit) -> None:
    """Raise RuntimeError if this process has imported other code than the sweep has."""
    if code_key(fit.model) != fit.code:
        raise RuntimeError(
            "The worker has imported other code than the sweep, such as a module from before it "
            "was changed: restart the worker"
        )


def _check_switches(context: WorkerContext) -> None:
    """Raise RuntimeError if a switch is changed here, and not where the sweep runs."""
    switch = changed_switch(context.device)
    if switch is not None and switch != context.switch:
        raise RuntimeError(f"In the worker of the sweep, {switch}: set it back there")


def reason(error: BaseException) -> str:
    """Describe an error in one line."""
    words = " ".join(str(error).split())
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


def set_final(estimator: Any, **parameters: Any) -> Any:
    """Set parameters of the model that is an estimator or stands last in a `Pipeline`."""
    stem = final_stem(estimator)
    return estimator.set_params(**{f"{stem}{name}": value for name, value in parameters.items()})


def final_stem(estimator: Any) -> str:
    """Return what stands before the last model's parameters: ``lm__`` in a `Pipeline`."""
    if not hasattr(estimator, "steps"):
        return ""
    name, last = estimator.steps[-1]
    return f"{name}__{final_stem(last)}"

"""What a sweep logs to TensorBoard or MLflow.

TensorBoard's files are written by a callback in the worker, epoch by epoch. MLflow's runs are
written where the sweep runs, when a fit ends: workers need no server, and a fit never waits for
one. So there is no curve in MLflow before its fit has ended.

Neither changes a fit, nor its key: the callbacks only observe.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from numbers import Real
from pathlib import Path
from typing import Any, NamedTuple

from skorch.callbacks import Callback, TensorBoard

from snn_estimators._validation import short, suggest
from snn_estimators._warnings import warn

__all__ = [
    "MlflowTracker",
    "TrainingLog",
    "TrainingRecorder",
    "check_tracker",
    "tensorboard_callback",
]

ANSWER_WITHIN = 5  # seconds
_PACKAGES = {"tensorboard": "torch.utils.tensorboard", "mlflow": "mlflow"}
_EXPERIMENT = "snn-estimators sweep"
_PLAIN = (bool, int, float, str, type(None))
_AT_ONCE = 500  # metrics; MLflow's servers take 1000 in a request


def check_tracker(kind: str) -> None:
    """Raise an error if a tracker is unknown, not installed, or cannot be written to."""
    if kind not in _PACKAGES:
        raise ValueError(f"there is no tracker {short(kind)}: {suggest(kind, _PACKAGES)}")
    try:
        module = importlib.import_module(_PACKAGES[kind])
    except ImportError as error:
        raise ImportError(
            f"track={kind!r} needs a package that is not installed: "
            "pip install 'snn-estimators[track]'"
        ) from error
    if kind == "mlflow":
        with _few_retries(0), _short_errors(module.get_tracking_uri()):
            module.MlflowClient().search_experiments(max_results=1)


# In the worker


class TrainingLog(NamedTuple):
    """How a model was trained."""

    started: float
    """In seconds since 1970, as `time.time` has them."""
    ended: float
    epochs: list[dict[str, float]]
    """Of each epoch what MLflow can plot: losses, its duration."""


class TrainingRecorder(Callback):
    """Keeps when a model was trained, and its losses; nothing if it was loaded instead."""

    observes_only = True
    not_resumed = ("_started", "_epochs")

    def __init__(self) -> None:
        self._started: float | None = None
        self._epochs: list[dict[str, float]] = []

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        """Note the time."""
        self._started = time.time()

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        """Keep the losses."""
        self._epochs = [_numbers(epoch) for epoch in net.history]

    def log(self) -> TrainingLog | None:
        """Return what was recorded; None if nothing was trained."""
        if self._started is None:
            return None
        return TrainingLog(self._started, time.time(), self._epochs)


def _numbers(epoch: Mapping[str, Any]) -> dict[str, float]:
    """Return what can be plotted of an epoch; skorch's own loggers choose the same."""
    return {
        name: float(value)
        for name, value in epoch.items()
        if isinstance(value, Real)
        and not (name == "epoch" or name.startswith("event_"))
        and not name.endswith(("_best", "_batch_count"))
    }


_LONGEST_NAME = 200  # bytes of a folder's name


class _TensorBoardRun(TensorBoard):
    """Opens its files when training begins: a fit that is loaded leaves none."""

    observes_only = True
    not_resumed = ("writer", "folder_")
    writer: Any
    folder_: Path

    def __init__(self) -> None:
        super().__init__(writer=None)

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        from torch.utils.tensorboard import SummaryWriter

        try:
            self.writer = SummaryWriter(str(self.folder_))
        except OSError as error:
            warn(f"TensorBoard's files cannot be written into {self.folder_}: {error}")

    def on_batch_end(self, net: Any, **kwargs: Any) -> None:
        if self.writer is not None:
            super().on_batch_end(net, **kwargs)

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        if self.writer is not None:
            super().on_epoch_end(net, **kwargs)

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        if self.writer is not None:
            self.writer.close()
            self.writer = None  # it has threads: a fitted model is to be copied and saved


def tensorboard_callback(output: Path | None, name: str) -> Callback:
    """Return the callback that logs one fit to ``output/tensorboard/name``."""
    callback = _TensorBoardRun()
    if len(name.encode()) > _LONGEST_NAME:  # that a file system takes
        tail = hashlib.sha256(name.encode()).hexdigest()[:8]
        name = name.encode()[: _LONGEST_NAME - 9].decode(errors="ignore") + f"-{tail}"
    callback.folder_ = Path("." if output is None else output, "tensorboard", name)
    return callback


# Where the sweep runs


class MlflowTracker:
    """Writes a run for each fit that was trained.

    A run that cannot be written costs a warning, once a sweep: hours of training are worth more.
    """

    def __init__(self) -> None:
        self._mlflow = mlflow = importlib.import_module("mlflow")
        uri = mlflow.get_tracking_uri()
        self._client = mlflow.MlflowClient(uri)
        with _short_errors(uri):
            self._experiment = self._open_experiment()
        self._has_warned = False

    def _open_experiment(self) -> str:
        known = self._client.get_experiment_by_name(_EXPERIMENT)
        if known is None:
            try:
                experiment: str = self._client.create_experiment(_EXPERIMENT)
                return experiment
            except self._mlflow.MlflowException:  # another sweep was faster
                known = self._client.get_experiment_by_name(_EXPERIMENT)
                if known is None:
                    raise
        if known.lifecycle_stage != "active":
            raise ValueError(f"its experiment {_EXPERIMENT!r} was deleted")
        return str(known.experiment_id)

    def log(
        self,
        name: str,
        parameters: Mapping[str, Any],
        log: TrainingLog,
        *,
        scores: Mapping[str, float] | None = None,
        failure: str | None = None,
        interrupted: bool = False,
    ) -> None:
        """Write the run of a fit.

        Parameters that are no plain values are left out; scores are written under natural signs.
        """
        try:
            with _few_retries(2):
                run = self._client.create_run(
                    self._experiment, start_time=_milliseconds(log.started), run_name=name
                )
                self._write(run.info.run_id, parameters, log, scores or {})
                if failure is not None:
                    self._client.set_tag(run.info.run_id, "failure", failure)
                ended = "KILLED" if interrupted else "FINISHED" if failure is None else "FAILED"
                self._client.set_terminated(run.info.run_id, ended, _milliseconds(log.ended))
        except Exception as error:
            if not self._has_warned:
                self._has_warned = True
                warn(f"MLflow misses (part of) the run of {name}, maybe of others: {_brief(error)}")

    def _write(
        self,
        run: str,
        parameters: Mapping[str, Any],
        log: TrainingLog,
        scores: Mapping[str, float],
    ) -> None:
        entities = self._mlflow.entities
        plain = {name: value for name, value in parameters.items() if isinstance(value, _PLAIN)}
        params = [entities.Param(name, str(value)) for name, value in plain.items()]
        self._client.log_batch(run, params=params)
        at = log.started
        metrics = []
        for step, epoch in enumerate(log.epochs, 1):
            at = min(at + epoch.get("dur", 0.0), log.ended)  # not of one that was resumed
            metrics += [entities.Metric(k, v, _milliseconds(at), step) for k, v in epoch.items()]
        for name, value in scores.items():
            natural = -value if name.startswith("neg_") else value
            name = name.removeprefix("neg_")
            metrics.append(entities.Metric(name, natural, _milliseconds(log.ended), 0))
        for first in range(0, len(metrics), _AT_ONCE):
            self._client.log_batch(run, metrics=metrics[first : first + _AT_ONCE])


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)


@contextmanager
def _short_errors(uri: str) -> Iterator[None]:
    """Turn errors of MLflow into one sentence."""
    try:
        yield
    except Exception as error:
        raise ConnectionError(
            f"MLflow does not answer at {_public(uri)} ({_brief(error)}): check "
            "MLFLOW_TRACKING_URI, and that its server was started"
        ) from error


def _brief(error: BaseException) -> str:
    """Return the system's message if there is one inside MLflow's long one; else its beginning."""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, OSError) and inner.strerror:
            return inner.strerror
        inner = inner.__cause__ or inner.__context__
    words = _public(" ".join(str(error).split())) or type(error).__name__
    return words if len(words) <= 200 else words[:200].rsplit(" ", 1)[0] + " ..."


def _public(words: str) -> str:
    """Take names and passwords out of addresses."""
    return re.sub(r"//[^/@\s]*@", "//", words)


@contextmanager
def _few_retries(count: int) -> Iterator[None]:
    """Have MLflow retry a few times, where it would for minutes."""
    settings = {
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": str(count),
        "MLFLOW_HTTP_REQUEST_TIMEOUT": str(ANSWER_WITHIN),
    }
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value

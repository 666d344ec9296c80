"""The loss curves of a sweep's fits in TensorBoard or MLflow, through skorch's own callbacks."""

from __future__ import annotations

import importlib
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from skorch.callbacks import MlflowLogger, TensorBoard

from snn_estimators.model_selection.scoring import final_estimator

__all__ = ["Place", "begin", "check_tracker", "follow", "run_of_fit"]

ANSWER_WITHIN = 5  # seconds
_PACKAGES = {"tensorboard": "torch.utils.tensorboard", "mlflow": "mlflow"}
_EXPERIMENT = "snn-estimators sweep"
_PLAIN = (bool, int, float, str, type(None))
# What this thread's fit is followed by: `context` before it, `end` while it has an open run, and
# `missing` if not all of it could be written.
_here = threading.local()


class Place(NamedTuple):
    """Where MLflow's runs go, as it is known where the sweep was asked for."""

    uri: str
    experiment: str


def check_tracker(kind: str) -> None:
    """Refuse a tracker that is unknown, not installed, or cannot be written to.

    Raises
    ------
    ValueError
        If there is no such tracker.
    ImportError
        If its package is not installed.
    ConnectionError
        If MLflow's server does not answer within a few seconds, or its store does not open.

    Examples
    --------
    >>> check_tracker("paper")
    Traceback (most recent call last):
    ...
    ValueError: there is no tracker 'paper': choose tensorboard or mlflow
    """
    if kind not in _PACKAGES:
        raise ValueError(f"there is no tracker {kind!r}: choose tensorboard or mlflow")
    try:
        module = importlib.import_module(_PACKAGES[kind])
    except ImportError as error:
        raise ImportError(
            f"track={kind!r} needs a package that is not installed: "
            "pip install 'snn-estimators[track]'"
        ) from error
    if kind == "mlflow":
        with _in_a_hurry(), _refusals(module.get_tracking_uri()):
            module.MlflowClient().search_experiments(max_results=1)


def begin(kind: str | None) -> Place | None:
    """Make what the runs of a sweep have in common, before workers do it all at once.

    Parameters
    ----------
    kind : {"tensorboard", "mlflow"} or None

    Returns
    -------
    Place or None
        For `run_of_fit`; MLflow has one.

    Raises
    ------
    ConnectionError
        If MLflow cannot make its experiment.
    """
    if kind != "mlflow":
        return None
    mlflow = importlib.import_module("mlflow")
    uri = _absolute(mlflow.get_tracking_uri())
    with _refusals(uri):
        client = mlflow.MlflowClient(uri)
        known = client.get_experiment_by_name(_EXPERIMENT)
        if known is None:
            try:
                return Place(uri, client.create_experiment(_EXPERIMENT))
            except mlflow.MlflowException:  # another sweep was faster
                known = client.get_experiment_by_name(_EXPERIMENT)
                if known is None:
                    raise
        if known.lifecycle_stage != "active":
            raise ValueError(f"its experiment {_EXPERIMENT!r} was deleted")
        return Place(uri, known.experiment_id)


def _absolute(uri: str) -> str:
    """Name the store of relative files so that workers who stand elsewhere find it, too.

    Examples
    --------
    >>> _absolute("https://example.org"), _absolute("sqlite:////runs.db"), _absolute("databricks")
    ('https://example.org', 'sqlite:////runs.db', 'databricks')
    >>> _absolute("sqlite:///runs.db") == f"sqlite:///{Path.cwd() / 'runs.db'}"
    True
    >>> _absolute("runs") == _absolute("file:runs") == _absolute("file:./runs")
    True
    """
    scheme, has_scheme, path = uri.partition(":///")
    if has_scheme and scheme.startswith("sqlite") and not path.startswith((":", "file:")):
        return f"{scheme}:///{Path(path).absolute()}"
    path = uri.removeprefix("file:")
    relative = path and ":" not in path and not Path(path).is_absolute()
    if relative and path not in ("databricks", "databricks-uc", "uc"):
        return Path(path).absolute().as_uri()
    return uri


@contextmanager
def run_of_fit(
    place: Place | None, parameters: Mapping[str, Any]
) -> Iterator[Callable[[Mapping[str, float] | None, str | None], str | None]]:
    """Surround one fit, in the thread that does it: its run ends as it does.

    Parameters
    ----------
    place : Place or None
        From `begin`, elsewhere.
    parameters : mapping
        What the run has beside the model's own.

    Yields
    ------
    callable
        To be told the scores, or why there are none; returns what the tracker misses of the run,
        if anything. A fit that was read back has no run, and nothing is told.
    """
    _here.context, _here.end, _here.missing = (place, parameters), None, None

    def end(scores: Mapping[str, float] | None, failure: str | None) -> str | None:
        finish, _here.end = _here.end, None
        if finish is not None:
            finish(scores or {}, failure, "FINISHED" if failure is None else "FAILED")
        missing: str | None = _here.missing
        return missing

    try:
        yield end
    finally:
        if _here.end is not None:
            _here.end({}, "interrupted", "KILLED")
        _here.context = _here.end = None


def follow(estimator: Any, kind: str, folder: Path | None, name: str) -> None:
    """Add the callback that follows one fit to a language model, or to the one of a `Pipeline`.

    Parameters
    ----------
    estimator : estimator
        Not fitted, and not to be cloned any more.
    kind : {"tensorboard", "mlflow"}
    folder : Path or None
        TensorBoard's runs go below it, each into a folder of its own. MLflow's go where
        `run_of_fit` says.
    name : str
        Of the run.
    """
    tracker: Any = _TensorBoardRun() if kind == "tensorboard" else _MlflowRun()
    tracker.folder_ = "." if folder is None else str(folder / kind)
    tracker.name_ = name
    model = final_estimator(estimator)
    model.set_params(callbacks=[*(model.callbacks or ()), (kind, tracker)])


# What a run writes to is made when training begins: nothing is left of a fit that is only read
# back. Where it goes is no parameter, so that two runs of one fit are one to its memory.


class _TensorBoardRun(TensorBoard):
    not_resumed = ("writer", "folder_", "name_")
    writer: Any

    def __init__(self) -> None:
        super().__init__(writer=None)

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(Path(self.folder_, self.name_)))
        _here.end = lambda *_: self.on_train_end(net)  # of a fit that fails

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        if self.writer is not None:
            self.writer.close()
            self.writer = None  # it has threads: a fitted model is to be copied and saved


class _MlflowRun(MlflowLogger):
    not_resumed = ("run", "client", "run_", "client_", "folder_", "name_")

    def __init__(self) -> None:
        super().__init__(create_artifact=False, terminate_after_train=False)

    def initialize(self) -> _MlflowRun:
        return self

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        place, parameters = _here.context
        with self._suppress_errors():
            mlflow = importlib.import_module("mlflow")
            self.client = client = mlflow.MlflowClient(place.uri)
            self.run = client.create_run(place.experiment, run_name=self.name_)
            super().initialize()
            super().on_train_begin(net, **kwargs)
            run_id = self.run.info.run_id
            _here.end = lambda *told: _end(client, run_id, *told)
            own = {k: v for k, v in net.get_params(deep=False).items() if isinstance(v, _PLAIN)}
            pairs = {**own, **parameters}.items()
            params = [mlflow.entities.Param(key, str(value)) for key, value in pairs]
            client.log_batch(run_id, params=params)

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        if self.run is not None:
            with self._suppress_errors():
                super().on_epoch_end(net, **kwargs)

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        self._detach()

    def _detach(self) -> None:
        self.run = self.run_ = self.client = self.client_ = None

    @contextmanager
    def _suppress_errors(self) -> Iterator[None]:
        """Go on without the run where it cannot be written: hours of training are worth more."""
        try:
            yield
        except Exception as error:
            self._detach()
            _miss(error)


def _end(
    client: Any, run_id: str, scores: Mapping[str, float], failure: str | None, status: str
) -> None:
    """Write what came of a fit, under natural signs, and close its run."""
    try:
        for name, value in scores.items():
            sign = -1 if name.startswith("neg_") else 1
            client.log_metric(run_id, name.removeprefix("neg_"), sign * value)
        if failure is not None:
            client.set_tag(run_id, "failure", failure)
        client.set_terminated(run_id, status)
    except Exception as error:
        _miss(error)


def _miss(error: Exception) -> None:
    """Note an error for whoever asked for the sweep: a worker's own words may go nowhere."""
    _here.missing = _here.missing or f"MLflow misses (part of) a run: {_brief(error)}"


@contextmanager
def _refusals(uri: str) -> Iterator[None]:
    """Turn what MLflow raises into one sentence."""
    try:
        yield
    except Exception as error:
        raise ConnectionError(
            f"MLflow does not answer at {_public(uri)} ({_brief(error)}): check "
            "MLFLOW_TRACKING_URI, and that its server was started"
        ) from error


def _brief(error: BaseException) -> str:
    """Return what the system said, where MLflow wraps it in pages; else how the pages begin."""
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
def _in_a_hurry() -> Iterator[None]:
    """Let MLflow ask a server once, where it would ask for minutes."""
    hurry = {
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": str(ANSWER_WITHIN),
    }
    before = {name: os.environ.get(name) for name in hurry}
    os.environ.update(hurry)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value

"""The loss curves of a sweep's fits in TensorBoard or MLflow, through skorch's own callbacks."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from skorch.callbacks import MlflowLogger, TensorBoard

from snn_estimators.model_selection.scoring import final_estimator

__all__ = ["check_tracker", "follow"]

_PACKAGES = {"tensorboard": "torch.utils.tensorboard", "mlflow": "mlflow"}
_EXPERIMENT = "snn-estimators sweep"


def check_tracker(kind: str) -> None:
    """Refuse a tracker that is unknown or not installed.

    Raises
    ------
    ValueError
        If there is no such tracker.
    ImportError
        If its package is not installed.

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
        importlib.import_module(_PACKAGES[kind])
    except ImportError as error:
        raise ImportError(
            f"track={kind!r} needs a package that is not installed: pip install {kind}"
        ) from error


def follow(estimator: Any, kind: str, folder: Path | None, name: str) -> None:
    """Add the callback that follows one fit to a language model, or to the one of a `Pipeline`.

    Parameters
    ----------
    estimator : estimator
        Not fitted, and not to be cloned any more.
    kind : {"tensorboard", "mlflow"}
    folder : Path or None
        TensorBoard's runs go below it, each into a folder of its own. MLflow knows its server
        from ``MLFLOW_TRACKING_URI``.
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

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        if self.writer is not None:
            self.writer.close()
            self.writer = None  # it has threads: a fitted model is to be copied and saved


class _MlflowRun(MlflowLogger):
    not_resumed = ("run", "client", "run_", "client_", "folder_", "name_")

    def __init__(self) -> None:
        super().__init__(create_artifact=False)

    def initialize(self) -> _MlflowRun:
        return self

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        mlflow = importlib.import_module("mlflow")
        self.client = mlflow.MlflowClient()
        experiment = mlflow.set_experiment(_EXPERIMENT).experiment_id
        self.run = self.client.create_run(experiment, run_name=self.name_)
        super().initialize()
        super().on_train_begin(net, **kwargs)

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        if self.run is not None:
            super().on_train_end(net, **kwargs)
            self.run = self.run_ = self.client = self.client_ = None

from __future__ import annotations

import sys
import types

import pandas as pd
import pytest

from snn_estimators.model_selection import Sweep, sweep_model

TALE = {"tale": ["The cat sat on the mat. A dog ran to the tree! " * 12]}
TINY = {"length": 16, "blocks": 1, "timesteps": 1, "heads": 1, "max_steps": 2, "batch_size": 4}


def run(output, **options):
    model = sweep_model(**TINY)
    return Sweep(
        {"heads": [1, 2]}, TALE, estimator=model, length=16, n_jobs=1, output=output, **options
    ).run()


def test_tensorboard_follows_each_fit_and_changes_nothing(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tracked = run(tmp_path / "tracked", track="tensorboard")
    runs = sorted((tmp_path / "tracked" / "tensorboard").iterdir())
    assert [one.name for one in runs] == [
        f"tale,heads={heads},seed=0,fold={fold}" for heads in (1, 2) for fold in (0, 1)
    ]
    events = EventAccumulator(str(runs[0])).Reload()
    assert len(events.Scalars("Loss/train_loss")) == 1
    plain = run(tmp_path / "plain")
    timed = ["fit_time", "fit_time_std"]
    pd.testing.assert_frame_equal(
        tracked.table.drop(columns=timed), plain.table.drop(columns=timed)
    )
    # A fit is the same with and without: nothing is trained, and no run is begun, twice.
    again = run(tmp_path / "again", track="tensorboard", store=tmp_path / "plain" / ".store")
    assert again.run["fits"]["taken_over"] == 4
    assert not (tmp_path / "again" / "tensorboard").exists()


class Client:
    """MLflow's client, as far as skorch's callback uses it."""

    logged: list = []  # noqa: RUF012

    def create_run(self, experiment, run_name):
        info = types.SimpleNamespace(run_id=run_name)
        return types.SimpleNamespace(info=info)

    def log_metric(self, run_id, key, value, step):
        self.logged.append((run_id, key, step))

    def set_terminated(self, run_id):
        self.logged.append((run_id, "end"))


def test_mlflow_gets_a_run_for_each_fit(tmp_path, monkeypatch):
    mlflow = types.ModuleType("mlflow")
    mlflow.MlflowClient = Client
    mlflow.set_experiment = lambda name: types.SimpleNamespace(experiment_id=name)
    tracking = types.ModuleType("mlflow.tracking")
    tracking.MlflowClient = Client
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    monkeypatch.setitem(sys.modules, "mlflow.tracking", tracking)
    monkeypatch.setattr(Client, "logged", [])
    run(tmp_path, track="mlflow")
    name = "tale,heads=1,seed=0,fold=0"
    assert (name, "train_loss", 1) in Client.logged
    assert (name, "end") in Client.logged
    assert len({one[0] for one in Client.logged}) == 4


def test_tensorboard_without_its_package_or_an_output(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="needs an output folder"):
        run(None, track="tensorboard")
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ImportError, match="pip install tensorboard"):
        run(tmp_path, track="tensorboard")

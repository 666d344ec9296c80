from __future__ import annotations

import math
import shutil
import socket
import sys
import time

import pandas as pd
import pytest
from sklearn.exceptions import FitFailedWarning
from skorch.callbacks import Callback
from tiny_sweep import TALE, TINY, timeless

from snn_estimators.sweep import Sweep, SweepInterrupted, sweep_model, tracking


def run(output, callback=None, max_steps=2, max_epochs=2, **options):
    callbacks = None if callback is None else [("mine", callback)]
    limits = {"max_steps": max_steps, "max_epochs": max_epochs}
    model = sweep_model(**TINY, callbacks=callbacks).set_params(**limits)
    options = {"n_jobs": 1} | options
    return Sweep(
        {"heads": [1, 2]},
        TALE,
        baselines=False,
        estimator=model,
        length=16,
        output=output,
        **options,
    ).run()


def assert_same(one, other):
    pd.testing.assert_frame_equal(timeless(one.table), timeless(other.table))


def kept(output):
    """Return the keys of the fits in a sweep's memory."""
    return sorted(path.name for path in (output / ".memory" / "fits").iterdir())


NAMES = [f"tale,heads={heads},seed=0,fold={fold}" for heads in (1, 2) for fold in (0, 1)]


@pytest.mark.slow
def test_tensorboard_follows_each_fit_and_changes_nothing(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tracked = run(tmp_path / "tracked", track="tensorboard")
    runs = sorted((tmp_path / "tracked" / "tensorboard").iterdir())
    assert [one.name for one in runs] == NAMES
    events = EventAccumulator(str(runs[0])).Reload()
    assert len(events.Scalars("Loss/train_loss")) == 2
    assert_same(tracked, run(tmp_path / "plain"))
    assert kept(tmp_path / "tracked") == kept(tmp_path / "plain")
    # A fit is the same with and without: nothing is trained, and no run is started, twice.
    again = run(tmp_path / "again", track="tensorboard", memory=tmp_path / "plain" / ".memory")
    assert again.run["fits"]["taken_over"] == 4
    assert not (tmp_path / "again" / "tensorboard").exists()


class Breaker(Callback):
    """Fails the second epoch of models with two heads."""

    def on_epoch_end(self, net, **kwargs):
        if net.module__heads == 2 and len(net.history) == 2:
            raise RuntimeError("it broke")


@pytest.fixture
def mlflow(monkeypatch):
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    return pytest.importorskip("mlflow")


@pytest.fixture
def at(mlflow, tmp_path, monkeypatch):
    """Point MLflow to a store of its own, and return its client."""

    def at(kind, name="runs"):
        if kind == "sqlite":
            pytest.importorskip("alembic")
        monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
        uri = f"{kind}:///{tmp_path}/{name}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        return mlflow.MlflowClient(uri)

    return at


FIGURES = {"accuracy": 0.5, "neg_perplexity": -3.0}


def runs_of(client):
    """Return MLflow's runs by name."""
    ids = [one.experiment_id for one in client.search_experiments() if "sweep" in one.name]
    runs = client.search_runs(ids)
    assert len({one.info.run_name for one in runs}) == len(runs)
    return {one.info.run_name: one for one in runs}


@pytest.mark.slow
def test_mlflow_has_a_run_of_each_fit(at, tmp_path):
    client, started = at("file"), time.time()
    options = {"max_steps": None, "track": "mlflow"}
    tracked = run(tmp_path / "tracked", **options, n_jobs=2)
    runs = runs_of(client)
    assert sorted(runs) == NAMES
    assert {one.info.status for one in runs.values()} == {"FINISHED"}
    fits = tracked.fits.set_index(["heads", "fold"])
    for one in runs.values():
        params, metrics = one.data.params, one.data.metrics
        assert (params["corpus"], params["module__blocks"]) == ("tale", "1")
        row = fits.loc[(int(params["module__heads"]), int(params["fold"]))]
        assert metrics["perplexity"] == pytest.approx(row["perplexity"])
        losses = client.get_metric_history(one.info.run_id, "train_loss")
        assert [loss.step for loss in losses] == [1, 2]
        assert all(math.isfinite(loss.value) for loss in losses)
        times = [one.info.start_time, *(loss.timestamp for loss in losses), one.info.end_time]
        assert times == sorted(times)
        assert times[-1] > times[0] > 1000 * started - 1
    # What is known is read back, and leaves no run.
    again = run(tmp_path / "again", memory=tmp_path / "tracked" / ".memory", **options)
    assert again.run["fits"]["taken_over"] == 4
    (tmp_path / "tracked" / ".memory" / "scores").rename(tmp_path / "scores")
    run(tmp_path / "tracked", **options)  # the models are known, their scores are not
    assert len(runs_of(client)) == 4
    # Neither the model nor its key is another one than without.
    plain = run(tmp_path / "plain", max_steps=None)
    assert_same(tracked, plain)
    assert kept(tmp_path / "tracked") == kept(tmp_path / "plain")
    # Another address is another place at once.
    other = at("file", "others")
    run(None, **options)
    assert sorted(runs_of(other)) == NAMES


@pytest.mark.slow
def test_mlflow_may_be_a_database(at):
    client = at("sqlite")
    tracker = tracking.MlflowTracker()
    epochs = [{"train_loss": 1 / step, "dur": 0.0} for step in range(1, 700)]
    tracker.log("a fit", {"lr": 0.5}, tracking.TrainingLog(1.0, 2.5, epochs), scores=FIGURES)
    (one,) = runs_of(client).values()
    assert (one.info.start_time, one.info.end_time, one.info.status) == (1000, 2500, "FINISHED")
    assert one.data.params == {"lr": "0.5"}
    assert one.data.metrics["perplexity"] == 3.0
    assert len(client.get_metric_history(one.info.run_id, "train_loss")) == 699


@pytest.mark.slow
def test_mlflow_has_the_reasons_of_fits_that_fail(at, tmp_path):
    client = at("file")
    with pytest.warns(FitFailedWarning):
        run(tmp_path, Breaker(), max_steps=None, track="mlflow")
    ends = [(one.info.status, one.data.tags.get("failure")) for one in runs_of(client).values()]
    assert (
        sorted(ends, key=str)
        == [("FAILED", "RuntimeError: it broke")] * 2 + [("FINISHED", None)] * 2
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mlflow", "tensorboard"])
def test_fits_without_callbacks_are_not_tracked(at, kind, tmp_path):
    client = at("file")
    model = sweep_model(**TINY).set_params(callbacks="disable")
    options = {"estimator": model, "length": 16, "n_jobs": 1, "output": tmp_path}
    swept = Sweep({"heads": [1]}, TALE, baselines=False, track=kind, **options).run()
    assert swept.fits["failure"].isna().all()
    assert not runs_of(client)
    assert not (tmp_path / "tensorboard").exists()


class Destroyer(Callback):
    """Takes MLflow's files away in mid-fit."""

    def __init__(self, folder):
        self.folder = folder

    def on_epoch_begin(self, net, **kwargs):
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.mark.slow
def test_a_fit_outlives_mlflow(at, tmp_path):
    at("file")
    callback = Destroyer(str(tmp_path / "runs"))
    with pytest.warns(UserWarning, match="MLflow misses"):
        tracked = run(tmp_path / "tracked", callback, track="mlflow")
    assert_same(tracked, run(tmp_path / "plain", callback))


@pytest.mark.parametrize("uri", ["runs", "./runs", "file:runs"])
def test_relative_files_are_those_of_where_the_sweep_runs(mlflow, uri, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.chdir(tmp_path)
    tracker = tracking.MlflowTracker()
    tracker.log("a fit", {}, tracking.TrainingLog(1.0, 2.5, [{"train_loss": 3.0}]))
    (run,) = runs_of(mlflow.MlflowClient((tmp_path / "runs").as_uri())).values()
    assert (run.info.start_time, run.info.end_time) == (1000, 2500)


class Interrupter(Callback):
    """Presses Ctrl-C in the training of a model with two heads."""

    def on_epoch_end(self, net, **kwargs):
        if net.module__heads == 2:
            raise KeyboardInterrupt


@pytest.mark.slow
def test_the_run_of_a_fit_that_is_interrupted_is_killed(at, tmp_path):
    client = at("file")
    before = time.time()
    with pytest.raises(SweepInterrupted):
        run(tmp_path, Interrupter(), track="mlflow")
    runs = runs_of(client)
    assert sorted(runs) == NAMES[:3]
    assert [runs[name].info.status for name in NAMES[:3]] == ["FINISHED", "FINISHED", "KILLED"]
    killed = runs[NAMES[2]]
    assert killed.data.tags["failure"] == "interrupted"
    assert before <= killed.info.start_time / 1000 + 0.001 <= killed.info.end_time / 1000 + 0.001


@pytest.mark.parametrize("kind", ["nobody", "mute", "unknown", "closed"])
def test_an_mlflow_that_does_not_answer_is_reported_before_the_first_fit(
    at, mlflow, kind, tmp_path, monkeypatch
):
    monkeypatch.setattr(tracking, "ANSWER_WITHIN", 1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        uri = f"http://me:secret@127.0.0.1:{server.getsockname()[1]}"
        if kind == "nobody":
            server.close()
        if kind == "unknown":
            uri = "carrier-pigeon://me:secret@here"
        if kind == "closed":
            uri = "file:///dev/null/runs"
        monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        started = time.monotonic()
        with pytest.raises(ConnectionError, match="MLflow does not answer at") as error:
            run(tmp_path / "out", track="mlflow")
    assert time.monotonic() - started < 10
    assert "MLFLOW_TRACKING_URI" in str(error.value)
    assert "secret" not in str(error.value)
    assert len(str(error.value)) < 400
    assert not (tmp_path / "out").exists()


def test_a_tracker_without_its_package_or_an_output(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="needs an output folder"):
        run(None, track="tensorboard")
    for kind, module in {"tensorboard": "torch.utils.tensorboard", "mlflow": "mlflow"}.items():
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(ImportError, match=r"pip install 'snn-estimators\[track\]'"):
            run(tmp_path, track=kind)


@pytest.mark.slow
def test_a_long_name_is_cut_for_tensorboard(tmp_path):
    names = [f"{'timesteps=1,' * 40}fold={fold}" for fold in (0, 1)]
    folders = {tracking.tensorboard_callback(tmp_path, name).folder_.name for name in names}
    assert len(folders) == 2 and max(map(len, folders)) <= 200


@pytest.mark.slow
def test_a_logger_that_cannot_write_costs_a_warning(tmp_path, make_model, texts):
    (tmp_path / "tensorboard").write_text("a file, no folder")
    callback = tracking.tensorboard_callback(tmp_path, "fit")
    with pytest.warns(UserWarning, match="TensorBoard's files cannot be written"):
        make_model(max_epochs=1, callbacks=[callback]).fit(texts)

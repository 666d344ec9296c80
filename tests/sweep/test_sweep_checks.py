"""Mistakes that are found before the first fit."""

from __future__ import annotations

import sys
from pathlib import Path
from threading import Lock

import pytest
from sklearn.linear_model import Ridge
from tiny_sweep import TALE, TINY

from snn_estimators import SpikeGPTClassifier
from snn_estimators.persistence.fit_cache import FitCache
from snn_estimators.sweep import DEFAULT_GRIDS, Sweep, sweep_model
from snn_estimators.sweep.plan import resolve_grid


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"grid": {}}, ValueError, "grid is empty"),
        ({"grid": []}, ValueError, "grid is empty"),
        ({"cost": "time"}, ValueError, "cost='time' is unknown; choose one of"),
        ({"grid": {"timestep": [1]}}, ValueError, "did you mean 'module__timesteps'"),
        ({"grid": {"heads": []}}, ValueError, "no value"),
        ({"grid": {"heads": [1, 3]}}, ValueError, r"impossible candidate, heads=3: .*divide"),
        ({"grid": {"encoding": ["three-hot"]}}, ValueError, "encoding"),
        ({"grid": {"max_steps": [0]}}, ValueError, "max_steps"),
        ({"grid": {"callbacks": [[(c for c in "x")]]}}, ValueError, "callbacks=.*cannot pickle"),
        ({"corpora": "no-such-corpus"}, ValueError, "no-such-corpus"),
        ({"corpora": {"a": ["1234 5678"]}}, ValueError, "nothing is left"),
        ({"corpora": {"a": [""]}}, ValueError, "empty"),
        ({"corpora": {"a": ["too short"]}}, ValueError, "long enough"),
        ({"corpora": {}}, ValueError, "no corpus"),
        ({"corpora": [["a", "b"]]}, TypeError, "corpora must be"),
        ({"corpora": ["alphabet", "alphabet"]}, ValueError, "'alphabet' is listed twice"),
        ({"folds": 40}, ValueError, "folds"),
        ({"clean": False}, ValueError, "alphabet"),
        ({"n_jobs": 0}, ValueError, "n_jobs must be a whole number but 0, got 0: give"),
        ({"n_jobs": "2"}, ValueError, "n_jobs must be .* got '2': give"),
        ({"n_jobs": 1.5}, ValueError, "n_jobs must be .* got 1.5: give"),
        ({"limit": -5}, ValueError, "limit must be .* got -5: give .* or None"),
        ({"limit": 0}, ValueError, "limit must be .* got 0: give .* or None"),
        ({"length": "16"}, ValueError, "length must be .* got '16'"),
        ({"folds": 2.0}, ValueError, "folds must be .* got 2.0"),
        (
            {"grid": "heads=1"},
            TypeError,
            "grid must be a dict .* list of such dicts, got 'heads=1'",
        ),
        ({"grid": [None]}, TypeError, "grid must be a dict .* list of such dicts, got None"),
        ({"grid": 3}, TypeError, "grid must be a dict .* list of such dicts, got 3"),
        ({"grid": {1: [2]}}, TypeError, "grid must be a dict of parameters' names"),
        ({"grid": {"heads": {1, 2}}}, ValueError, "'module__heads' a set: make it a list"),
        ({"grid": {"max_epochs": [1, 5]}}, ValueError, "max_epochs=1 .*=5.* same fit.*max_steps="),
        ({"corpora": 3}, TypeError, "corpora must be"),
        ({"estimator": Ridge(), "grid": {"alpha": [1]}}, TypeError, "language models .* Ridge"),
        ({"estimator": SpikeGPTClassifier(), "grid": None}, TypeError, "language .* SpikeGPTClas"),
        ({"grid": {"callbacks": [[Lock()]]}}, ValueError, "pickle .* give functions, classes"),
        ({"seeds": 0}, ValueError, "seeds"),
        ({"seeds": [1, 1]}, ValueError, "seeds"),
        ({"seeds": 2, "grid": {"random_state": [1]}}, ValueError, "both set the seed"),
        ({"halving": 1}, ValueError, "halving must be"),
        ({"halving": 2, "grid": {"max_steps": [1, 2]}}, ValueError, "halving decides"),
        ({"halving": 2, "resource": "money"}, ValueError, "resource must be"),
        ({"resource": "max_steps"}, ValueError, "set halving"),
        ({"budget": 0}, ValueError, "budget"),
        ({"budget": "2 weeks"}, ValueError, "budget"),
        ({"grid": {"memory": ["a", "b"]}}, ValueError, "'memory' is no parameter .* memory="),
        ({"grid": {"name": ["a"]}}, ValueError, "'name' is no parameter .* memory="),
        ({"grid": {"resume": [True]}}, ValueError, "'resume' is no parameter .* memory="),
        ({"grid": {"keep_checkpoints": [1, 2]}}, ValueError, "'keep_checkpoints' .* memory="),
        ({"grid": {"verbose": [0, 1]}}, ValueError, "'verbose' changes no score.*estimator"),
        ({"grid": {"device": ["cpu"]}}, ValueError, "'device' changes no score.*estimator"),
        ({"grid": [{"heads": [1]}, {"save_every_n_steps": [1]}]}, ValueError, "'save_every_n"),
        ({"estimator": sweep_model(name="mine")}, ValueError, "name='mine'.*leave name=None"),
        ({"estimator": sweep_model(resume=True)}, ValueError, "resume=True.*leave name=None"),
        ({"estimator": sweep_model(device="cuda:99")}, ValueError, "^device=.cuda:99. .*=.cpu"),
        ({"engine": "spark"}, ValueError, "no engine 'spark'"),
        ({"engine": "dask://127.0.0.1:9"}, ConnectionError, "does not answer"),
        ({"track": "paper"}, ValueError, "no tracker"),
        ({"track": "mlflow"}, ImportError, r"pip install .snn-estimators\[track\]"),
    ],
)
def test_errors_come_before_the_first_fit(
    no_fit, make, tmp_path, monkeypatch, changes, error, message
):
    monkeypatch.setitem(sys.modules, "mlflow", None)  # as if it were not installed
    with pytest.raises(error, match=message):
        make(**{"grid": {"heads": [1]}, "output": tmp_path / "new" / "out"} | changes).run()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_an_error_before_the_first_fit(no_fit, make, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="cannot write into the output folder"):
        make({"heads": [1]}, output=tmp_path / "file", memory=tmp_path / "memory").run()


def test_folders_that_are_no_memory_or_too_new_are_errors(no_fit, make, tmp_path):
    with pytest.raises(ValueError, match="holds other things"):
        make({"heads": [1]}, memory=Path(__file__).parent).run()
    FitCache(tmp_path / "memory").open()
    next((tmp_path / "memory").glob("*.json")).write_text('{"format": 99}')
    with pytest.raises(ValueError, match="newer version"):
        make({"heads": [1]}, memory=tmp_path / "memory").run()


def test_saving_in_between_needs_a_folder(no_fit, make, tiny):
    with pytest.raises(ValueError, match=r"save_every_n_steps=1 needs .* output= or a memory="):
        make({"heads": [1]}, estimator=tiny.set_params(save_every_n_steps=1)).run()


def test_two_folders_for_the_fits_are_an_error(no_fit, make, tiny, tmp_path):
    tiny.set_params(memory=tmp_path / "mine")
    with pytest.raises(ValueError, match=r"memory=.*mine.* memory=.*other.*: give one"):
        make({"heads": [1]}, memory=tmp_path / "other").run()


def test_an_unknown_model_is_refused_beside_an_estimator_too():
    with pytest.raises(ValueError, match="bogus"):
        Sweep({"heads": [1]}, TALE, estimator=sweep_model(**TINY), model="bogus", length=16).run()


def test_the_default_grid_is_that_of_the_estimators_kind():
    gpt = sweep_model(model="spikegpt", length=16, max_steps=1)
    plan = Sweep(None, TALE, estimator=gpt, length=16)._plan()
    assert plan.grid == resolve_grid(gpt, DEFAULT_GRIDS["spikegpt"])

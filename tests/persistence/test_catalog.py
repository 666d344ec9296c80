from __future__ import annotations

import os
import shutil

import numpy as np
import pandas as pd
import pytest
from tiny_language_model import TEXTS, tiny_model

from snn_estimators.cli.terminal import show
from snn_estimators.persistence.catalog import saved_models
from snn_estimators.persistence.run_folder import STATE, RunFolder, Summary


def row(name):
    return saved_models().set_index("name").loc[name]


def test_there_may_be_nothing(home):
    assert len(saved_models()) == 0


def test_models_and_fits(home, fitted):
    fitted.save_pretrained("cats")
    model = tiny_model(name="GPT-1", save_every_n_steps=2).fit(TEXTS)
    n_parameters = sum(p.numel() for p in model.module_.parameters())
    table = saved_models()
    assert table["name"].tolist() == ["GPT-1", "cats"]
    fit, saved = row("GPT-1"), row("cats")
    assert (fit["kind"], fit["state"], fit["estimator"]) == ("fit", "finished", "SpikeDecoderLM")
    assert (fit["steps"], fit["planned_steps"], fit["parameters"]) == (6, 6, n_parameters)
    assert fit["loss"] == model.history[-1, "batches", -1, "train_loss"]
    assert (saved["kind"], saved["state"], saved["steps"]) == ("model", "saved", fitted.n_steps_)
    assert saved["loss"] == fitted.history[-1, "train_loss"]
    assert np.isnan(saved["best_valid_loss"])
    assert table["megabytes"].min() > 0.01


@pytest.mark.slow
def test_states_of_a_fit(home):
    tiny_model(name="a", save_every_n_steps=2).fit(TEXTS)
    run = RunFolder(home / "a")
    shutil.rmtree(run.checkpoint(6))
    assert row("a")["state"] == "unfinished"
    with run.held():
        assert row("a")["state"] == "at work"
    (run.folder / "error.log").write_text("told")
    newest = run.checkpoint(4).stat().st_mtime
    os.utime(run.folder / "error.log", (newest + 1, newest + 1))
    assert row("a")["state"] == "failed"
    assert row("a")["steps"] == 4
    (run.checkpoint(4) / STATE).unlink()
    assert row("a")["state"].startswith("damaged: ")
    assert row("a")["loss"] > 0
    for step in run.steps():
        shutil.rmtree(run.checkpoint(step))
    assert row("a")["state"] == "failed"


def test_what_a_fit_at_work_takes_away_is_no_damage(home, monkeypatch):
    tiny_model(name="a").fit(TEXTS)
    read, looks = Summary.read, []

    def vanishing(folder):
        looks.append(folder)
        if len(looks) == 2:
            raise FileNotFoundError(folder)
        return read(folder)

    monkeypatch.setattr(Summary, "read", vanishing)
    assert row("a")["state"] == "finished"
    assert len(looks) > 2


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "history.json"])
def test_damaged_models_are_listed_as_such(home, fitted, name):
    folder = fitted.save_pretrained("cats")
    (folder / name).write_bytes(b"\x80 nonsense")
    assert row("cats")["state"].startswith("damaged: ")
    (folder / name).unlink()
    assert row("cats")["state"].startswith("damaged: ")


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("config.json", "[" * 100_000),
        ("config.json", '{"format": 2, "estimator": ["list"]}'),
        ("checkpoints/step-00000001/checkpoint.json", "[" * 100_000),
        ("checkpoints/step-99999999999999999999/config.json", "{}"),
    ],
)
def test_an_odd_folder_hides_no_other(home, fitted, file, content):
    fitted.save_pretrained("cats")
    path = home / "odd" / file
    path.parent.mkdir(parents=True)
    path.write_text(content)
    assert row("odd")["state"].startswith("damaged: ")
    assert row("cats")["state"] == "saved"


def test_brackets_are_no_markup(capsys):
    show(pd.DataFrame({"name [b]": ["odd name [red]", "[/red]"]}))
    told = capsys.readouterr().out
    assert "odd name [red]" in told
    assert "[/red]" in told
    assert "name [b]" in told


def test_strangers(home):
    (home / "thesis").mkdir(parents=True)
    (home / ".hidden").mkdir()
    (home / "notes.txt").write_text("mine")
    assert row("thesis")["kind"] == "unknown"
    assert len(saved_models()) == 1

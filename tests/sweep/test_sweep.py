"""Sweeps from grid to tables, and the defaults that they are made of."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from tiny_sweep import SONG, TALE, timeless

from snn_estimators.sweep import Sweep, plan, prepare_text, sweep_model
from snn_estimators.text import TextCleaner


@pytest.mark.slow
def test_a_sweep_leaves_tables_and_files(real_plots, make, tmp_path):
    grid = {"timesteps": [1, 2], "encoding": ["learned", "two-hot"]}
    result = make(grid, output=tmp_path).run()
    assert len(result.table) == 4
    assert result.table["perplexity"].between(1, 100).all()
    assert result.table["pareto"].any()
    assert result.table["failure"].isna().all()
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "results.csv"), result.table)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "fits.csv"), result.fits)
    run = json.loads((tmp_path / "run.json").read_text())
    assert run == result.run
    assert run["parameters"]["grid"]["module__timesteps"] == [1, 2]
    assert run["corpus"]["characters"] == len(prepare_text(TALE["tale"], limit=100_000))
    assert run["seed"] == 0
    assert run["duration_seconds"] > 0
    assert run["fits"] == {"done": 8, "taken_over": 0}
    assert run["candidates"] == {"done": 4, "planned": 4}
    files = (tmp_path / ".memory").glob("*/*")
    assert run["memory_megabytes"] == pytest.approx(
        sum(file.stat().st_size for file in files) / 1e6
    )
    assert result.complete
    assert {path.name for path in tmp_path.iterdir()} == {
        *("results.csv", "results.md", "results.tex", "pareto.png", "effects.png", "run.json"),
        *("fits.csv", ".memory"),
    }
    assert "failure" not in (tmp_path / "results.md").read_text()


@pytest.mark.slow
def test_the_table_averages_the_fits(finished):
    _, result = finished
    means = result.fits.groupby("heads")["perplexity"].mean()
    for _, row in result.table.iterrows():
        assert row["perplexity"] == pytest.approx(means[row["heads"]])
    assert result.best.get_params()["module__heads"] == result.table.loc[0, "heads"]
    text = [prepare_text(TALE["tale"])]
    assert clone(result.best).set_params(memory=None).fit(text).score(text) < 0


@pytest.mark.slow
def test_two_processes_give_the_same_table(finished, make):
    table = make({"heads": [1, 2]}, n_jobs=2).run().table
    pd.testing.assert_frame_equal(timeless(finished[1].table), timeless(table))


@pytest.mark.slow
def test_a_pipeline_sweeps_the_cleaner_too(make, tiny):
    pipeline = Pipeline([("clean", TextCleaner()), ("lm", tiny)])
    grid = {"heads": [1], "keep": ["a-z. ", None]}
    result = make(grid, estimator=pipeline, clean=False, seeds=2).run()
    assert set(result.table["keep"]) == {"a-z. ", "none"}
    assert set(result.fits["seed"]) == {0, 1}
    assert result.best.fit(TALE["tale"]).score(TALE["tale"]) < 0


@pytest.mark.slow
def test_corpora_are_ranked_by_themselves(make):
    result = make({"timesteps": [1, 2]}, TALE | SONG).run()
    table = result.table
    assert table["corpus"].tolist() == ["tale", "tale", "song", "song"]
    assert table["rank"].tolist() == [1, 2, 1, 2]
    assert [one["name"] for one in result.run["corpus"]["corpora"]] == ["tale", "song"]
    alone = make({"timesteps": [1, 2]}, SONG).run().table
    of_two = table[table["corpus"] == "song"].drop(columns="corpus").reset_index(drop=True)
    pd.testing.assert_frame_equal(timeless(of_two), timeless(alone))


@pytest.mark.slow
def test_files_of_one_name_are_named_by_their_folders(make, tmp_path):
    for name, text in (TALE | SONG).items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "text.txt").write_text(text[0])
    paths = [tmp_path / "tale" / "text.txt", tmp_path / "song" / "text.txt"]
    table = make({"heads": [1]}, paths).run().table
    assert table["corpus"].tolist() == ["tale/text.txt", "song/text.txt"]


@pytest.mark.slow
def test_parameters_of_another_tokenizer_are_known():
    model = sweep_model(min_frequency=2, tokenizer="word")
    assert model.get_params()["tokenizer__min_frequency"] == 2


def test_text_is_cleaned_joined_and_limited():
    assert prepare_text(["It's\nhere!", "  So?"]) == "it's here. so."
    assert prepare_text(["It's", "So?"], clean=False) == "It's\nSo?"
    assert prepare_text("alphabet", limit=30) == prepare_text("alphabet")[:30]


@pytest.mark.slow
@pytest.mark.parametrize(("model", "n_fits"), [("spikedecoder", 24), ("spikegpt", 12)])
def test_the_default_candidates_of_each_model_can_be_built(model, n_fits):
    plan = Sweep(corpora=TALE, model=model)._plan()
    assert plan.n_fits == n_fits


def test_a_model_is_hashed_once_for_all_its_folds_and_texts(make, monkeypatch):
    hashed = []
    real = plan.score_key
    monkeypatch.setattr(plan, "score_key", lambda model: hashed.append(model) or real(model))
    planned = make({"timesteps": [1, 2]}, TALE | SONG, seeds=2, folds=3)._plan()
    rows = [planned.row(corpus, candidate, 0) for corpus in planned.texts for candidate in (0, 1)]
    fits = [fit for number, row in enumerate(rows) for fit in planned.fits(number, row)]
    assert len(hashed) == 2 * 2
    assert len({fit.key for fit in fits}) == len(fits) == planned.n_fits == 2 * 2 * 2 * 3
    others = make({"timesteps": [1, 2]}, TALE | SONG, seeds=2, folds=3)._plan()
    assert [fit.key for fit in others.fits(0, rows[0])] == [fit.key for fit in fits[:6]]

from __future__ import annotations

import json

import pandas as pd
import pytest
from sklearn.exceptions import FitFailedWarning
from sklearn.pipeline import Pipeline

from snn_estimators.model_selection import (
    TablesNotWrittenError,
    prepare_text,
    run_sweep,
    sweep,
    sweep_model,
)
from snn_estimators.text import TextCleaner

TALE = ["The cat sat on the mat. A dog ran to the tree! " * 12]
TINY = {"length": 16, "blocks": 1, "timesteps": 1, "heads": 1, "max_steps": 2, "batch_size": 4}


@pytest.fixture
def tiny():
    return sweep_model(**TINY)


@pytest.fixture
def no_fit(monkeypatch):
    """Fail the test if a fit is started: refusals have to come first."""

    def fit(self, X, y=None):
        pytest.fail("a fit was started")

    monkeypatch.setattr(sweep.GridSearchCV, "fit", fit)


def test_a_sweep_leaves_a_table_a_search_and_files(tiny, tmp_path):
    result = run_sweep(
        TALE, {"timesteps": [1, 2], "encoding": ["learned", "two-hot"]}, estimator=tiny, length=16,
        n_jobs=1, output=tmp_path,
    )  # fmt: skip
    assert len(result.table) == 4
    assert result.table["perplexity"].between(1, 100).all()
    assert result.table["pareto"].any()
    assert len(result.search.cv_results_["params"]) == 4
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "results.csv"), result.table)
    run = json.loads((tmp_path / "run.json").read_text())
    assert run == result.run
    assert run["parameters"]["grid"]["module__timesteps"] == [1, 2]
    assert run["corpus"]["characters"] == len(prepare_text(TALE, limit=100_000))
    assert run["seed"] == 0
    assert run["duration_seconds"] > 0


def test_the_same_sweep_gives_the_same_table(tiny):
    timed = ["fit_time", "fit_time_std"]
    one, two = (
        run_sweep(TALE, {"heads": [1, 2]}, estimator=tiny, length=16, n_jobs=jobs).table
        for jobs in (1, 2)
    )
    pd.testing.assert_frame_equal(one.drop(columns=timed), two.drop(columns=timed))


def test_a_pipeline_sweeps_the_cleaner_too(tiny):
    pipeline = Pipeline([("clean", TextCleaner()), ("lm", tiny)])
    result = run_sweep(
        TALE, {"heads": [1], "keep": ["a-z. ", None]}, estimator=pipeline, length=16, clean=False,
        n_jobs=1, refit=True,
    )  # fmt: skip
    assert set(result.table["keep"]) == {"a-z. ", "none"}
    assert result.search.best_estimator_.score(TALE) < 0


def test_a_candidate_that_fails_in_mid_sweep_costs_its_row_alone(tiny):
    with pytest.warns(FitFailedWarning, match=r"^some fits failed.* not finite"):
        result = run_sweep(TALE, {"lr": [0.01, 1e30]}, estimator=tiny, length=16, n_jobs=1)
    assert result.table["perplexity"].notna().tolist() == [True, False]


def test_a_sweep_without_a_single_success_says_why(tiny):
    with pytest.raises(ValueError, match=r"every fit of the sweep failed: .*not finite"):
        run_sweep(TALE, {"lr": [1e30]}, estimator=tiny, length=16, n_jobs=1)


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.filterwarnings("ignore:a candidate could not be scored")
def test_a_sweep_without_a_single_score_says_why(n_jobs):
    word = sweep_model(tokenizer="word", tokenizer__unknown_token=None, **TINY)
    text = "".join(f"word{chr(97 + i // 26)}{chr(97 + i % 26)} " for i in range(300))
    with pytest.raises(ValueError, match=r"no candidate .* could be scored: .*vocabulary"):
        run_sweep([text], {"heads": [1]}, estimator=word, length=16, n_jobs=n_jobs)


def test_tables_that_cannot_be_written_lose_nothing(tiny, tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError("no space left")

    monkeypatch.setattr(sweep, "write_tables", full)
    with pytest.raises(TablesNotWrittenError, match="no space left") as caught:
        run_sweep(TALE, {"heads": [1]}, estimator=tiny, length=16, n_jobs=1, output=tmp_path)
    assert caught.value.result.table["perplexity"].notna().all()
    assert caught.value.result.run["seed"] == 0


def test_parameters_of_another_tokenizer_are_known():
    model = sweep_model(min_frequency=2, tokenizer="word")
    assert model.get_params()["tokenizer__min_frequency"] == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"grid": {"timestep": [1]}}, "did you mean 'module__timesteps'"),
        ({"grid": {"heads": []}}, "no value"),
        ({"grid": {"heads": [1, 3]}}, r"impossible candidate, heads=3: .*divide"),
        ({"grid": {"encoding": ["three-hot"]}}, "encoding"),
        ({"grid": {"max_steps": [0]}}, "max_steps"),
        ({"corpus": "no-such-corpus"}, "no-such-corpus"),
        ({"corpus": ["1234 5678"]}, "nothing is left"),
        ({"corpus": [""]}, "empty"),
        ({"corpus": ["too short"]}, "long enough"),
        ({"folds": 40}, "folds"),
        ({"clean": False}, "alphabet"),
        ({"n_jobs": 0}, "n_jobs must not be 0"),
    ],
)
def test_refusals_come_before_the_first_fit(no_fit, tiny, tmp_path, changes, message):
    arguments = {"corpus": TALE, "grid": {"heads": [1]}, "length": 16} | changes
    with pytest.raises(ValueError, match=message):
        run_sweep(estimator=tiny, output=tmp_path / "new" / "out", **arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_refused_before_the_first_fit(no_fit, tiny, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="cannot write into the output folder"):
        run_sweep(TALE, {"heads": [1]}, estimator=tiny, length=16, output=tmp_path / "file")


def test_interrupting_a_fit_ends_the_sweep(tiny, monkeypatch):
    fits = []

    def interrupted(self, *args, **kwargs):
        fits.append(1)
        raise KeyboardInterrupt

    monkeypatch.setattr(type(tiny), "train_step", interrupted)
    with pytest.raises(KeyboardInterrupt), pytest.warns(UserWarning, match="interrupted"):
        run_sweep(TALE, {"heads": [1, 2]}, estimator=tiny, length=16, n_jobs=1)
    assert len(fits) == 1


def test_text_is_cleaned_joined_and_limited():
    assert prepare_text(["It's\nhere!", "  So?"]) == "it's here. so."
    assert prepare_text(["It's", "So?"], clean=False) == "It's\nSo?"
    assert prepare_text("alphabet", limit=30) == prepare_text("alphabet")[:30]


def test_default_sweep_has_twelve_candidates_that_can_be_built():
    assert sweep.check_grid(
        sweep_model(), sweep.resolve_parameters(sweep_model(), sweep.DEFAULT_GRID)
    ) == 12  # fmt: skip

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path
from threading import Lock

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.exceptions import FitFailedWarning
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from skorch.callbacks import Callback

from snn_estimators import SpikeGPTClassifier
from snn_estimators.persistence.fit_cache import FitCache
from snn_estimators.sweep import (
    Sweep,
    SweepInterrupted,
    TablesNotWrittenError,
    outputs,
    prepare_text,
    sweep,
    sweep_model,
)
from snn_estimators.text import TextCleaner, WindowKFold, split_windows

TALE = {"tale": ["The cat sat on the mat. A dog ran to the tree! " * 12]}
SONG = {"song": ["Row, row, row your boat, gently down the stream. " * 12]}
TINY = {"length": 16, "blocks": 1, "timesteps": 1, "heads": 1, "max_steps": 2, "batch_size": 4}
TIMED = ["fit_time", "fit_time_std"]


@pytest.fixture
def tiny():
    return sweep_model(**TINY)


@pytest.fixture
def make(tiny):
    """Make a sweep of tiny models over a tale, in this process."""

    def make(grid, corpora=TALE, **options):
        options = {"estimator": tiny, "length": 16, "n_jobs": 1} | options
        return Sweep(grid, corpora, **options)

    return make


@pytest.fixture
def no_fit(monkeypatch):
    """Fail the test if a fit is started: refusals have to come first."""
    monkeypatch.setattr(sweep.Runner, "run", lambda *_: pytest.fail("a fit was started"))


@pytest.fixture
def steps(monkeypatch, tiny):
    """Count the training steps of this process."""
    taken = []
    real = type(tiny).train_step

    def train_step(self, *args, **kwargs):
        taken.append(self.random_state)
        return real(self, *args, **kwargs)

    monkeypatch.setattr(type(tiny), "train_step", train_step)
    return taken


def timeless(table):
    return table.drop(columns=TIMED)


class Killer(Callback):
    """Ends the process of one candidate's fits, as the system does when memory runs out."""

    def on_train_begin(self, net, **kwargs):
        if net.module__heads == 2:
            os.kill(os.getpid(), signal.SIGKILL)


# Tables


def test_a_sweep_leaves_tables_and_files(make, tmp_path):
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
    files = (tmp_path / ".store").glob("*/*")
    assert run["store_megabytes"] == pytest.approx(sum(file.stat().st_size for file in files) / 1e6)
    assert result.complete
    assert {path.name for path in tmp_path.iterdir()} == {
        *("results.csv", "results.md", "results.tex", "pareto.png", "effects.png", "run.json"),
        *("fits.csv", ".store"),
    }
    assert "failure" not in (tmp_path / "results.md").read_text()


def test_the_table_averages_the_fits(make):
    result = make({"heads": [1, 2]}).run()
    means = result.fits.groupby("heads")["perplexity"].mean()
    for _, row in result.table.iterrows():
        assert row["perplexity"] == pytest.approx(means[row["heads"]])
    assert result.best.get_params()["module__heads"] == result.table.loc[0, "heads"]
    text = [prepare_text(TALE["tale"])]
    assert result.best.fit(text).score(text) < 0


def test_two_processes_give_the_same_table(make):
    one, two = (make({"heads": [1, 2]}, n_jobs=jobs).run().table for jobs in (1, 2))
    pd.testing.assert_frame_equal(timeless(one), timeless(two))


def test_a_pipeline_sweeps_the_cleaner_too(make, tiny):
    pipeline = Pipeline([("clean", TextCleaner()), ("lm", tiny)])
    grid = {"heads": [1], "keep": ["a-z. ", None]}
    result = make(grid, estimator=pipeline, clean=False, seeds=2).run()
    assert set(result.table["keep"]) == {"a-z. ", "none"}
    assert set(result.fits["seed"]) == {0, 1}
    assert result.best.fit(TALE["tale"]).score(TALE["tale"]) < 0


def test_corpora_are_ranked_by_themselves(make):
    result = make({"timesteps": [1, 2]}, TALE | SONG).run()
    table = result.table
    assert table["corpus"].tolist() == ["tale", "tale", "song", "song"]
    assert table["rank"].tolist() == [1, 2, 1, 2]
    assert [one["name"] for one in result.run["corpus"]["corpora"]] == ["tale", "song"]
    alone = make({"timesteps": [1, 2]}, SONG).run().table
    of_two = table[table["corpus"] == "song"].drop(columns="corpus").reset_index(drop=True)
    pd.testing.assert_frame_equal(timeless(of_two), timeless(alone))


def test_files_of_one_name_are_told_apart_by_their_folders(make, tmp_path):
    for name, text in (TALE | SONG).items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "text.txt").write_text(text[0])
    paths = [tmp_path / "tale" / "text.txt", tmp_path / "song" / "text.txt"]
    table = make({"heads": [1]}, paths).run().table
    assert table["corpus"].tolist() == ["tale/text.txt", "song/text.txt"]


def test_several_seeds_are_averaged_and_compared(make):
    result = make({"timesteps": [1, 2]}, seeds=[3, 5]).run()
    assert result.fits[["seed", "fold"]].drop_duplicates().to_numpy().tolist() == [
        [3, 0], [3, 1], [5, 0], [5, 1],
    ]  # fmt: skip
    best, other = result.table.to_dict("records")
    assert best["difference"] == 0
    assert other["difference"] == pytest.approx(other["perplexity"] - best["perplexity"])
    assert 0 < other["p_value"] < 1
    pairs = result.fits.pivot_table(
        index=["seed", "fold"], columns="timesteps", values="perplexity"
    )
    spread = (pairs[other["timesteps"]] - pairs[best["timesteps"]]).sem()
    assert other["difference_se"] == pytest.approx(spread)


def test_halving_drops_the_worst_and_trains_the_others_longer(make, steps):
    result = make({"timesteps": [1, 2], "heads": [1, 2]}, halving=2, seeds=2).run()
    table = result.table
    assert table["n_resources"].tolist() == [2, 2, 1, 1, 1, 1]
    assert table["iteration"].tolist() == [1, 1, 0, 0, 0, 0]
    first = table[table["iteration"] == 0].head(2)
    survivors = table[table["iteration"] == 1]
    key = ["timesteps", "heads"]
    assert set(map(tuple, first[key].to_numpy())) == set(map(tuple, survivors[key].to_numpy()))
    assert {"accuracy", "energy_per_token_nj", "difference", "pareto"} <= set(table.columns)
    assert len(steps) == 2 * 2 * (4 * 1 + 2 * 2)
    assert result.best.max_steps == 2
    plain = make({"timesteps": [1, 2], "heads": [1, 2]}, seeds=2).run().table
    plain = plain.merge(survivors[key])
    np.testing.assert_allclose(plain["perplexity"], survivors["perplexity"])


# Failures


def test_a_candidate_that_fails_in_mid_sweep_costs_its_row_alone(make, tmp_path):
    with pytest.warns(FitFailedWarning, match=r"^2 of 4 fits failed.* not finite"):
        result = make({"lr": [0.01, 1e30]}, output=tmp_path).run()
    assert result.table["perplexity"].notna().tolist() == [True, False]
    assert result.table["failure"][1].startswith("FloatingPointError: The loss or its gradient")
    assert "not finite" in (tmp_path / "results.md").read_text()


@pytest.mark.parametrize("error", [MemoryError, SystemExit])
def test_whatever_a_fit_raises_is_a_reason(make, tiny, monkeypatch, error):
    real = type(tiny).fit

    def fit(self, X, y=None, **kwargs):
        if self.module__heads == 2:
            raise error
        return real(self, X, y, **kwargs)

    monkeypatch.setattr(type(tiny), "fit", fit)
    with pytest.warns(FitFailedWarning):
        table = make({"heads": [1, 2, 5]}).run().table
    assert table["failure"].notna().tolist() == [False, False, True]
    assert table["failure"][2] == error.__name__


class Spoiler(Callback):
    """Spoils what two of three candidates have learned."""

    def on_train_end(self, net, **kwargs):
        factor = {1: 1.0, 2: float("nan"), 5: 1e12}[net.module__heads]
        with torch.no_grad():
            for weights in net.module_.parameters():
                weights.mul_(factor)


def test_a_perplexity_that_is_no_number_is_a_failure(make, tiny, tmp_path):
    tiny.set_params(callbacks=[("spoiler", Spoiler())])
    for _ in range(2):  # trained, and taken over
        with pytest.warns(FitFailedWarning, match="^4 of 6 fits failed.* perplexity is"):
            result = make({"heads": [5, 2, 1]}, output=tmp_path).run()
        assert result.table["heads"][0] == 1
        reasons = result.table.set_index("heads")["failure"]
        assert reasons.isna().tolist() == [True, False, False]
        assert reasons[2] == "perplexity is nan"
        assert reasons[5] == "perplexity is inf"
        assert result.fits["failure"].notna().sum() == 4
        assert "perplexity is nan" in (tmp_path / "results.md").read_text()
    assert result.run["fits"]["taken_over"] == 6


def test_a_sweep_without_a_single_success_says_why(make):
    with pytest.raises(ValueError, match=r"every fit of the sweep failed: .*not finite"):
        make({"lr": [1e30]}).run()


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_sweep_without_a_single_score_says_why(make, n_jobs):
    word = sweep_model(tokenizer="word", tokenizer__unknown_token=None, **TINY)
    text = "".join(f"word{chr(97 + i // 26)}{chr(97 + i % 26)} " for i in range(300))
    with pytest.raises(ValueError, match=r"every fit of the sweep failed: .*vocabulary"):
        make({"heads": [1]}, {"words": [text]}, estimator=word, n_jobs=n_jobs).run()


def test_a_worker_that_is_killed_costs_its_candidate_alone(make, tiny):
    tiny.set_params(callbacks=[("killer", Killer())])
    with pytest.warns(FitFailedWarning, match="process of this fit died"):
        table = make({"heads": [1, 2, 5]}, n_jobs=2).run().table
    assert sorted(table["heads"][:2]) == [1, 5]
    assert table["perplexity"].notna().tolist() == [True, True, False]
    assert table["failure"][2].startswith("the process of this fit died")


def test_tables_that_cannot_be_written_lose_nothing(make, tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError("no space left")

    monkeypatch.setattr(outputs, "write_tables", full)
    with pytest.raises(TablesNotWrittenError, match="no space left") as caught:
        make({"heads": [1]}, output=tmp_path).run()
    assert caught.value.result.table["perplexity"].notna().all()
    assert caught.value.result.run["seed"] == 0


def test_a_table_of_objects_is_the_same_each_time(make, tmp_path):
    for _ in range(2):
        grid = {"callbacks": [None, [("killer", Killer())]]}
        table = make(grid, output=tmp_path).run().table
        assert set(table["callbacks"]) == {"none", "[('killer', Killer())]"}
    assert "0x" not in (tmp_path / "results.md").read_text()
    run = json.loads((tmp_path / "run.json").read_text())
    assert run["parameters"]["grid"] == {"callbacks": [None, "[('killer', Killer())]"]}


# Going on


def test_finished_fits_are_not_done_again(make, tmp_path, steps):
    first = make({"heads": [1, 2]}, output=tmp_path).run()
    del steps[:]
    again = make({"heads": [1, 2]}, output=tmp_path).run()
    assert not steps
    assert again.run["fits"] == {"done": 4, "taken_over": 4}
    pd.testing.assert_frame_equal(again.table, first.table)
    more = make({"heads": [1, 2, 5]}, output=tmp_path).run()
    assert len(steps) == 4
    assert more.run["fits"]["taken_over"] == 4
    anew = make({"heads": [1, 2]}, output=tmp_path, fresh=True).run()
    assert len(steps) == 4 + 8
    pd.testing.assert_frame_equal(timeless(anew.table), timeless(first.table))


@pytest.mark.parametrize("through_a_link", [False, True])
def test_beginning_anew_leaves_other_fits_and_files_alone(make, tmp_path, steps, through_a_link):
    store = tmp_path / "store"
    make({"heads": [1]}, store=store, output=tmp_path / "a").run()
    make({"heads": [2]}, store=store).run()
    (store / "notes.txt").write_text("mine")
    if through_a_link:
        (tmp_path / "link").symlink_to(store)
        store = tmp_path / "link"
    del steps[:]
    assert make({"heads": [1]}, store=store, fresh=True).run().run["fits"]["taken_over"] == 0
    assert len(steps) == 2 * 2
    assert (store / "notes.txt").read_text() == "mine"
    assert make({"heads": [1, 2]}, store=store).run().run["fits"]["taken_over"] == 4
    assert len(list((store / "fits").iterdir())) == 4


def test_halving_pipelines_and_seeds_begin_anew_too(make, tiny, tmp_path, steps):
    options = {
        "estimator": Pipeline([("clean", TextCleaner()), ("lm", tiny)]), "clean": False,
        "halving": 2, "seeds": 2, "store": tmp_path / "store", "output": tmp_path / "out",
        "track": "tensorboard",
    }  # fmt: skip
    make({"heads": [1, 2]}, **options).run()
    n_files = len(list((tmp_path / "store" / "fits").iterdir()))
    n_steps = len(steps)
    make({"heads": [1, 2]}, **options, fresh=True).run()
    assert len(steps) == 2 * n_steps > 0
    assert len(list((tmp_path / "store" / "fits").iterdir())) == n_files


@pytest.mark.parametrize(
    "other", [{"corpora": SONG}, {"seeds": [1]}, {"folds": 3}, {"limit": 300}, {"length": 15}]
)
def test_fits_of_another_sweep_are_not_mistaken(make, tmp_path, other):
    make({"heads": [1]}, output=tmp_path).run()
    assert make({"heads": [1]}, **{"store": tmp_path / ".store"} | other).run().run["fits"][
        "taken_over"
    ] == 0  # fmt: skip


def test_a_damaged_record_is_done_again(make, tmp_path):
    first = make({"heads": [1]}, output=tmp_path).run()
    for path, damage in zip(
        sorted((tmp_path / ".store" / "scores").iterdir()), (b'{"cut', None), strict=True
    ):
        content = path.read_bytes()
        path.write_bytes(damage or content.replace(b'"accuracy": 0.', b'"accuracy": 1.'))
    with pytest.warns(UserWarning, match="damaged"):
        again = make({"heads": [1]}, output=tmp_path).run()
    assert again.run["fits"]["taken_over"] == 0
    pd.testing.assert_frame_equal(timeless(again.table), timeless(first.table))


def test_rows_stream_into_the_file(make, tmp_path, monkeypatch):
    seen = []
    real = outputs.replace_file

    def replace_file(path, content):
        real(path, content)
        if path.name == "results.csv":
            seen.append(pd.read_csv(path))

    monkeypatch.setattr(outputs, "replace_file", replace_file)
    result = make({"heads": [1, 2, 5]}, output=tmp_path, seeds=2).run()
    assert list(map(len, seen)) == [0, 1, 2, 3]
    assert all(list(table.columns) == list(result.table.columns) for table in seen)
    pd.testing.assert_frame_equal(seen[-1], result.table)


@pytest.mark.parametrize("budget", [3, "3"])
def test_a_budget_ends_a_sweep_and_the_next_run_goes_on(make, tmp_path, steps, budget):
    part = make({"heads": [1, 2]}, output=tmp_path, budget=budget).run()
    assert not part.complete
    assert part.run["fits"]["done"] == 3
    assert part.table["heads"].tolist() == [1]
    whole = make({"heads": [1, 2]}, output=tmp_path, budget=1).run()
    assert whole.complete
    assert len(steps) == 4 * 2
    pd.testing.assert_frame_equal(
        timeless(whole.table), timeless(make({"heads": [1, 2]}).run().table)
    )


def test_a_budget_of_time_begins_no_fit_after_it(make):
    result = make({"heads": [1, 2]}, budget="0.001s", halving=2).run()
    assert not result.complete
    assert result.run["fits"]["done"] == 0
    assert result.table.empty
    assert result.best is None


def test_interrupting_a_fit_ends_the_sweep_with_a_way_on(make, tiny, tmp_path, monkeypatch):
    fits = []
    real = type(tiny).train_step

    def train_step(self, *args, **kwargs):
        if self.module__heads == 2:
            fits.append(1)
            raise KeyboardInterrupt
        return real(self, *args, **kwargs)

    with monkeypatch.context() as patch, warnings.catch_warnings(action="error"):
        patch.setattr(type(tiny), "train_step", train_step)
        with pytest.raises(SweepInterrupted, match=r"2 of 6 fits done.*run the same again"):
            make({"heads": [1, 2, 5]}, output=tmp_path).run()
    assert len(fits) == 1
    assert pd.read_csv(tmp_path / "results.csv")["heads"].tolist() == [1]
    assert make({"heads": [1, 2, 5]}, output=tmp_path).run().run["fits"]["taken_over"] == 2


SCRIPT = """
import json, sys
sys.path[:0] = {path!r}
from test_sweep import LONG, TALE, Waiter
from snn_estimators.model_selection import Sweep, sweep_model

if __name__ == "__main__":
    Sweep(
        {{"heads": [1, 2, 5]}}, TALE, length=16, n_jobs=2, output={output!r},
        estimator=sweep_model(**LONG, callbacks=[("waiter", Waiter({go!r}))]),
    ).run()
"""
LONG = TINY | {"max_steps": 100, "steps_per_epoch": 10}


class Waiter(Callback):
    """Holds the last candidate in the midst of its fits until there is a file."""

    def __init__(self, path):
        self.path = path

    def on_epoch_end(self, net, **kwargs):
        deadline = time.monotonic() + 300
        while net.module__heads == 5 and len(net.history) >= 3 and not Path(self.path).exists():
            if time.monotonic() > deadline:  # no assert: pytest would make other code of it
                raise TimeoutError("nobody came")
            time.sleep(0.02)


@pytest.mark.parametrize("way", [signal.SIGKILL, signal.SIGINT])
def test_a_sweep_that_is_stopped_gives_the_same_table_when_it_is_run_again(make, tmp_path, way):
    """Really stopped, with its workers, when half of the fits are done."""
    output = tmp_path / "out"
    script = tmp_path / "script.py"
    go = str(tmp_path / "go")
    script.write_text(SCRIPT.format(path=[str(Path(__file__).parent)], output=str(output), go=go))
    command = [sys.executable, script]
    scores = output / ".store" / "scores"
    with subprocess.Popen(
        command, start_new_session=True, stderr=subprocess.PIPE, text=True
    ) as process:
        deadline = time.monotonic() + 300
        while len(list(scores.glob("*.json"))) < 3 and time.monotonic() < deadline:
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.02)
        os.killpg(process.pid, way)
        errors = process.communicate(timeout=60)[1]
    if way == signal.SIGINT:
        assert "run the same again to go on" in errors
    scored = list(scores.glob("*.json"))
    kept = {path: path.stat().st_mtime_ns for path in scored}
    kept |= {
        path: path.stat().st_mtime_ns
        for path in (output / ".store" / "fits").glob("[0-9a-f]*.safetensors")
        if "unfinished" not in path.name
    }
    assert len(pd.read_csv(output / "results.csv")) < 3
    Path(go).touch()
    grid = {"heads": [1, 2, 5]}
    waits = sweep_model(**LONG, callbacks=[("waiter", Waiter(go))])
    again = make(grid, estimator=waits, output=output).run()
    assert again.run["fits"]["taken_over"] == len(scored) >= 3
    assert all(path.stat().st_mtime_ns == time for path, time in kept.items())
    whole = make(grid, estimator=waits).run()
    pd.testing.assert_frame_equal(timeless(again.table), timeless(whole.table))


# Refusals


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"grid": {}}, ValueError, "grid is empty"),
        ({"grid": []}, ValueError, "grid is empty"),
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
        ({"seeds": 2, "grid": {"random_state": [1]}}, ValueError, "same thing"),
        ({"halving": 1}, ValueError, "halving must be"),
        ({"halving": 2, "grid": {"max_steps": [1, 2]}}, ValueError, "halving decides"),
        ({"halving": 2, "resource": "money"}, ValueError, "resource must be"),
        ({"resource": "max_steps"}, ValueError, "set halving"),
        ({"budget": 0}, ValueError, "budget"),
        ({"budget": "2 weeks"}, ValueError, "budget"),
        ({"grid": {"memory": ["a", "b"]}}, ValueError, "'memory' is no parameter .* store="),
        ({"grid": {"name": ["a"]}}, ValueError, "'name' is no parameter .* store="),
        ({"grid": {"resume": [True]}}, ValueError, "'resume' is no parameter .* store="),
        ({"grid": {"keep_checkpoints": [1, 2]}}, ValueError, "'keep_checkpoints' .* store="),
        ({"grid": {"verbose": [0, 1]}}, ValueError, "'verbose' changes no figure.*estimator"),
        ({"grid": {"device": ["cpu"]}}, ValueError, "'device' changes no figure.*estimator"),
        ({"grid": [{"heads": [1]}, {"save_every_n_steps": [1]}]}, ValueError, "'save_every_n"),
        ({"estimator": sweep_model(name="mine")}, ValueError, "name='mine'.*leave name=None"),
        ({"estimator": sweep_model(resume=True)}, ValueError, "resume=True.*leave name=None"),
        ({"engine": "spark"}, ValueError, "no engine 'spark'"),
        ({"engine": "dask://127.0.0.1:9"}, ConnectionError, "does not answer"),
        ({"track": "paper"}, ValueError, "no tracker"),
        ({"track": "mlflow"}, ImportError, r"pip install .snn-estimators\[track\]"),
    ],
)
def test_refusals_come_before_the_first_fit(
    no_fit, make, tmp_path, monkeypatch, changes, error, message
):
    monkeypatch.setitem(sys.modules, "mlflow", None)  # as if it were not installed
    with pytest.raises(error, match=message):
        make(**{"grid": {"heads": [1]}, "output": tmp_path / "new" / "out"} | changes).run()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_refused_before_the_first_fit(no_fit, make, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="cannot write into the output folder"):
        make({"heads": [1]}, output=tmp_path / "file", store=tmp_path / "store").run()


def test_stores_that_are_none_or_too_new_are_refused(no_fit, make, tmp_path):
    with pytest.raises(ValueError, match="holds other things"):
        make({"heads": [1]}, store=Path(__file__).parent).run()
    FitCache(tmp_path / "store").open()
    (tmp_path / "store" / "store.json").write_text('{"format": 99}')
    with pytest.raises(ValueError, match="newer version"):
        make({"heads": [1]}, store=tmp_path / "store").run()


# The estimator's own ways to save itself


def test_fits_of_a_sweep_may_save_themselves_in_between(make, tiny, tmp_path):
    tiny.set_params(save_every_n_steps=1)
    result = make({"heads": [1, 2]}, output=tmp_path / "out").run()
    assert result.table["failure"].isna().all()
    result.best.fit([prepare_text(TALE["tale"])])
    assert len(list((tmp_path / "out" / ".store" / "fits").iterdir())) == 4 + 1


def test_saving_in_between_without_a_place_is_refused(no_fit, make, tiny):
    with pytest.raises(ValueError, match=r"save_every_n_steps=1 needs .* output= or a store="):
        make({"heads": [1]}, estimator=tiny.set_params(save_every_n_steps=1)).run()


@pytest.mark.parametrize("output", [None, "out"])
def test_the_estimators_memory_is_the_store(make, tiny, tmp_path, steps, output):
    tiny.set_params(memory=tmp_path / "mine")
    output = output and tmp_path / output
    first = make({"heads": [1, 2]}, output=output).run()
    assert len(list((tmp_path / "mine" / "fits").iterdir())) == 4
    assert output is None or not (output / ".store").exists()
    assert first.best.memory == tmp_path / "mine"
    del steps[:]
    assert make({"heads": [1, 2]}, store=tmp_path / "mine").run().run["fits"]["taken_over"] == 4
    windows = split_windows(prepare_text(TALE["tale"]), 17)
    GridSearchCV(tiny, {"module__heads": [1, 2]}, cv=WindowKFold(2, length=17), refit=False).fit(
        windows
    )
    assert not steps


def test_a_memory_of_joblib_is_the_store(make, tiny, tmp_path):
    tiny.set_params(memory=joblib.Memory(tmp_path))
    make({"heads": [1]}).run()
    assert len(list((tmp_path / "snn_estimators" / "fits").iterdir())) == 2


def test_two_places_for_the_fits_are_refused(no_fit, make, tiny, tmp_path):
    tiny.set_params(memory=tmp_path / "mine")
    with pytest.raises(ValueError, match=r"memory=.*mine.* store=.*other.*: give one"):
        make({"heads": [1]}, store=tmp_path / "other").run()


# Recipes


def test_parameters_of_another_tokenizer_are_known():
    model = sweep_model(min_frequency=2, tokenizer="word")
    assert model.get_params()["tokenizer__min_frequency"] == 2


def test_text_is_cleaned_joined_and_limited():
    assert prepare_text(["It's\nhere!", "  So?"]) == "it's here. so."
    assert prepare_text(["It's", "So?"], clean=False) == "It's\nSo?"
    assert prepare_text("alphabet", limit=30) == prepare_text("alphabet")[:30]


@pytest.mark.parametrize(("family", "n_fits"), [("spikedecoder", 24), ("spikegpt", 12)])
def test_the_default_candidates_of_each_family_can_be_built(family, n_fits):
    plan = Sweep(corpora=TALE, family=family)._plan()
    assert plan.n_fits == n_fits

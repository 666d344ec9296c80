"""Fits that fail in the midst of a sweep."""

from __future__ import annotations

import json
import os
import signal

import pytest
import torch
from sklearn.exceptions import FitFailedWarning
from skorch.callbacks import Callback
from tiny_sweep import TINY

from snn_estimators.sweep import (
    TablesNotWrittenError,
    outputs,
    sweep_model,
)


class Killer(Callback):
    """Ends the process of one candidate's fits, as the system does when memory runs out."""

    def on_train_begin(self, net, **kwargs):
        if net.module__heads == 2:
            os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_a_candidate_that_fails_in_mid_sweep_costs_its_row_alone(make, tmp_path):
    with pytest.warns(FitFailedWarning, match=r"^2 of 4 fits failed.* not finite"):
        result = make({"lr": [0.01, 1e30]}, output=tmp_path).run()
    assert result.table["perplexity"].notna().tolist() == [True, False]
    assert result.table["failure"][1].startswith("FloatingPointError: The loss or its gradient")
    assert "not finite" in (tmp_path / "results.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("error", [MemoryError, SystemExit])
def test_whatever_a_fit_raises_is_a_reason(make, tiny, monkeypatch, error):
    real = type(tiny).fit

    def fit(self, X, y=None, **kwargs):
        if self.module__heads == 2:
            raise error
        return real(self, X, y, **kwargs)

    monkeypatch.setattr(type(tiny), "fit", fit)
    with pytest.warns(FitFailedWarning):
        table = make({"heads": [1, 2]}).run().table
    assert table["failure"].notna().tolist() == [False, True]
    assert table["failure"][1] == error.__name__


class Spoiler(Callback):
    """Spoils what two of three candidates have learned."""

    def on_train_end(self, net, **kwargs):
        factor = {1: 1.0, 2: float("nan"), 5: 1e12}[net.module__heads]
        with torch.no_grad():
            for weights in net.module_.parameters():
                weights.mul_(factor)


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_sweep_without_a_single_success_says_why(make):
    with pytest.raises(ValueError, match=r"every fit of the sweep failed: .*not finite"):
        make({"lr": [1e30]}).run()


@pytest.mark.parametrize("n_jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_sweep_without_a_single_score_says_why(make, n_jobs):
    word = sweep_model(tokenizer="word", tokenizer__unknown_token=None, **TINY)
    text = "".join(f"word{chr(97 + i // 26)}{chr(97 + i % 26)} " for i in range(300))
    with pytest.raises(ValueError, match=r"every fit of the sweep failed: .*vocabulary"):
        make({"heads": [1]}, {"words": [text]}, estimator=word, n_jobs=n_jobs).run()


@pytest.mark.slow
def test_a_worker_that_is_killed_costs_its_candidate_alone(make, tiny):
    tiny.set_params(callbacks=[("killer", Killer())])
    with pytest.warns(FitFailedWarning, match="process of this fit died"):
        table = make({"heads": [1, 2, 5]}, n_jobs=2).run().table
    assert sorted(table["heads"][:2]) == [1, 5]
    assert table["perplexity"].notna().tolist() == [True, True, False]
    assert table["failure"][2].startswith("the process of this fit died")


@pytest.mark.slow
def test_tables_that_cannot_be_written_lose_nothing(make, tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError("no space left")

    monkeypatch.setattr(outputs, "write_tables", full)
    with pytest.raises(TablesNotWrittenError, match="no space left") as caught:
        make({"heads": [1]}, output=tmp_path).run()
    assert caught.value.result.table["perplexity"].notna().all()
    assert caught.value.result.run["seed"] == 0


@pytest.mark.slow
def test_a_table_of_objects_is_the_same_each_time(make, tmp_path):
    for _ in range(2):
        grid = {"callbacks": [None, [("killer", Killer())]]}
        table = make(grid, output=tmp_path).run().table
        assert set(table["callbacks"]) == {"none", "[('killer', Killer())]"}
    assert "0x" not in (tmp_path / "results.md").read_text()
    run = json.loads((tmp_path / "run.json").read_text())
    assert run["parameters"]["grid"] == {"callbacks": [None, [["killer", "Killer()"]]]}

"""Code that changes between two sweeps: of the user's modules, and of energy counters."""

from __future__ import annotations

import importlib
import sys

import pytest
from tiny_sweep import TALE, TINY
from torch import nn

from snn_estimators.energy import COUNTERS, FoldedNormCounter, register_counter
from snn_estimators.sweep import Sweep, keys, sweep_model

LOSS = """
import torch

class Loss(torch.nn.CrossEntropyLoss):
    def forward(self, logits, targets):
        return {factor} * super().forward(logits, targets)
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write a user's module, import it anew, and return it."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")

    def write(factor: float):
        (tmp_path / "users_loss.py").write_text(LOSS.format(factor=factor))
        importlib.invalidate_caches()
        sys.modules.pop("users_loss", None)
        return importlib.import_module("users_loss")

    yield write
    sys.modules.pop("users_loss", None)


@pytest.mark.slow
def test_processes_of_an_earlier_sweep_do_not_train_with_its_code(module, tmp_path) -> None:
    def perplexities(factor: float, n_jobs: int):
        model = sweep_model(**TINY, criterion=module(factor).Loss)
        grid, output = {"heads": [1]}, tmp_path / "out"
        sweep = Sweep(
            grid, TALE, baselines=False, estimator=model, length=16, n_jobs=n_jobs, output=output
        )
        return sweep.run()

    first = perplexities(1.0, 2)
    second = perplexities(0.0, 2)
    assert (second.table["perplexity"] > first.table["perplexity"]).all()
    again = perplexities(0.0, 1)
    assert again.run["fits"]["taken_over"] == again.run["fits"]["done"]
    assert again.table["perplexity"].equals(second.table["perplexity"])


def test_a_worker_with_other_code_says_so(module, make_model) -> None:
    one, other = (make_model(criterion=module(factor).Loss) for factor in (1.0, 2.0))
    assert keys.code_key(one) != keys.code_key(other)
    assert keys.code_key(make_model(lr=0.1)) == keys.code_key(make_model(lr=0.2))


class Scale(nn.Module):
    pass


def test_a_registered_counter_makes_new_scores(make_model) -> None:
    before = keys.score_key(make_model())
    register_counter(Scale, lambda norm, around: FoldedNormCounter(norm=norm))
    try:
        assert keys.score_key(make_model()) != before
    finally:
        del COUNTERS[Scale]
    assert keys.score_key(make_model()) == before

from __future__ import annotations

import pandas as pd
import pytest
from tiny_sweep import TALE, TINY

from snn_estimators.model_selection import pareto_front
from snn_estimators.sweep import Sweep, sweep_model


@pytest.fixture(scope="module")
def memory(tmp_path_factory):
    """The fits, which are the same whatever they cost."""
    return tmp_path_factory.mktemp("memory")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cost", "column"),
    [
        ("total_with_memory", "energy_with_memory_per_token_nj"),
        ("weight_reads", "weight_reads_per_token"),
    ],
)
def test_a_sweeps_front_is_over_the_cost_that_is_named(
    cost: str, column: str, memory, tmp_path
) -> None:
    grid = {"timesteps": [1, 2], "mlp_ratio": [1, 2]}
    sweep = Sweep(
        grid,
        TALE,
        baselines=False,
        estimator=sweep_model(**TINY),
        length=16,
        n_jobs=1,
        cost=cost,
        memory=memory,
        output=tmp_path,
    )
    result = sweep.run()
    expected = pareto_front(result.table[["perplexity", column]])
    assert list(result.table["pareto"]) == list(expected)
    assert result.run["parameters"]["cost"] == cost
    written = pd.read_csv(tmp_path / "results.csv")
    assert {column, "ann_n_parameters", "context_length", "relative_with_memory"} <= set(written)

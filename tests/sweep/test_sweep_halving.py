"""Successive halving, several seeds, and budgets."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.pipeline import Pipeline
from tiny_sweep import timeless

from snn_estimators.text import TextCleaner


@pytest.mark.slow
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


@pytest.mark.slow
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
    grids = [
        {name: [value] for name, value in row.items()} for row in survivors[key].to_dict("records")
    ]
    plain = make(grids, seeds=2).run().table
    plain = survivors[key].merge(plain)
    np.testing.assert_allclose(plain["perplexity"], survivors["perplexity"])


@pytest.mark.slow
def test_halving_pipelines_and_seeds_start_from_scratch_too(make, tiny, tmp_path, steps):
    options = {
        "estimator": Pipeline([("clean", TextCleaner()), ("lm", tiny)]), "clean": False,
        "halving": 2, "seeds": 2, "memory": tmp_path / "memory", "output": tmp_path / "out",
        "track": "tensorboard",
    }  # fmt: skip
    make({"heads": [1, 2]}, **options).run()
    n_files = len(list((tmp_path / "memory" / "fits").iterdir()))
    n_steps = len(steps)
    make({"heads": [1, 2]}, **options, fresh=True).run()
    assert len(steps) == 2 * n_steps > 0
    assert len(list((tmp_path / "memory" / "fits").iterdir())) == n_files


@pytest.mark.slow
def test_a_budget_ends_a_sweep_and_the_next_run_resumes_it(make, finished, tmp_path, steps):
    for budget, done in (("2", 2), (1, 3)):
        part = make({"heads": [1, 2]}, output=tmp_path, budget=budget).run()
        assert not part.complete
        assert part.run["fits"]["done"] == done
        assert part.table["heads"].tolist() == [1]
    whole = make({"heads": [1, 2]}, output=tmp_path, budget=1).run()
    assert whole.complete
    assert len(steps) == 4 * 2
    pd.testing.assert_frame_equal(timeless(whole.table), timeless(finished[1].table))


def test_a_budget_of_time_starts_no_fit_after_it(make):
    result = make({"heads": [1, 2]}, budget="0.001s", halving=2).run()
    assert not result.complete
    assert result.run["fits"]["done"] == 0
    assert result.table.empty
    assert result.best is None

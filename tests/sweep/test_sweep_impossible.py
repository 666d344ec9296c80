"""Candidates that cannot be built: errors, or rows with the reason."""

from __future__ import annotations

import re
import warnings
from threading import Lock

import pandas as pd
import pytest
from tiny_sweep import SONG, TALE, timeless

from snn_estimators.sweep.plan import Plan
from snn_estimators.sweep.sweep import Sweep

GRID = {"heads": [1, 7, 5]}
SKIPPED = "1 of 3 candidates are impossible.* heads=7: heads=7 must divide"


@pytest.fixture
def skip(make):
    """Run a sweep that skips what is impossible."""

    def run(grid=GRID, corpora=TALE, **options):
        with pytest.warns(UserWarning, match="candidates are impossible") as told:
            result = make(grid, corpora, impossible="skip", **options).run()
        assert len(told) == 1
        assert told[0].filename == __file__
        return result

    return run


def test_by_default_it_is_an_error(no_fit, make, tmp_path):
    with pytest.raises(ValueError, match="impossible candidate, heads=7"):
        make(GRID, output=tmp_path / "out").run()
    with pytest.raises(ValueError, match="impossible='drop' is unknown; choose one of"):
        make(GRID, impossible="drop").run()
    assert list(tmp_path.iterdir()) == []


def test_if_none_is_possible_it_is_an_error_before_the_first_fit(no_fit, make):
    with pytest.raises(ValueError, match="every candidate of the grid is impossible: heads"):
        make({"heads": [3, 7]}, impossible="skip").run()
    with pytest.raises(
        ValueError, match=r"with the corpus song, every candidate .*=9 is too small"
    ):
        grid = {"tokenizer": ["char"], "vocab_size": [9]}
        make(grid, {"few": ["aab. " * 99], **SONG}, impossible="skip").run()


@pytest.mark.slow
def test_the_rest_is_searched_as_it_would_be_without_them(make, skip, tmp_path):
    result = skip(output=tmp_path / "one", memory=tmp_path / "memory")
    table = result.table
    assert table["heads"].tolist()[-1] == 7
    assert table["rank"].tolist() == [1, 2, 3]
    assert re.match("impossible: heads=7 must divide .*", table["failure"][2])
    assert table["failure"][:2].isna().all()
    assert not table["pareto"][2]
    assert result.complete
    assert result.run["candidates"] == {"done": 3, "planned": 3}
    assert result.run["fits"] == {"done": 4, "taken_over": 0}
    assert result.run["parameters"]["impossible"] == "skip"
    assert set(result.fits["heads"]) == {1, 5}
    assert result.best.module__heads == table["heads"][0]
    for name in ("results.csv", "results.md"):
        assert "impossible: heads=7" in (tmp_path / "one" / name).read_text()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        other = make({"heads": [1, 5]}, memory=tmp_path / "memory").run()
    assert other.run["fits"] == {"done": 4, "taken_over": 4}
    found = timeless(table[:2])
    pd.testing.assert_frame_equal(timeless(other.table), found, check_dtype=False)


@pytest.mark.slow
def test_it_resumes_and_starts_again(skip, tmp_path):
    first = skip(output=tmp_path, budget=3)
    assert not first.complete
    assert first.table["heads"].tolist() == [1, 7]
    assert first.run["candidates"] == {"done": 2, "planned": 3}
    second = skip(output=tmp_path)
    assert second.run["fits"] == {"done": 4, "taken_over": 3}
    again = skip(output=tmp_path, fresh=True)
    assert again.run["fits"] == {"done": 4, "taken_over": 0}
    assert timeless(again.table).to_csv() == timeless(second.table).to_csv()


@pytest.mark.slow
def test_in_other_processes(skip):
    here, there = skip(seeds=2), skip(seeds=2, n_jobs=2)
    assert timeless(here.table).to_csv() == timeless(there.table).to_csv()
    assert here.table["p_value"].isna().tolist()[-1]


@pytest.mark.slow
def test_halving_counts_those_that_are_possible(skip, tiny):
    table = skip({"heads": [1, 3, 7, 9, 5, 2, 11]}, halving=2, resource="max_steps").table
    assert table["n_resources"].value_counts().to_dict() == {1: 7, 2: 2}
    failed = table[table["failure"].notna()]
    assert failed["heads"].tolist() == [3, 7, 9, 11]
    assert (failed["n_resources"] == 1).all()
    assert table["rank"].tolist() == [1, 2, 3, 4, 5, 6, 6, 6, 6]  # none is better than the other


@pytest.mark.slow
def test_what_is_impossible_on_one_text_is_searched_on_the_other(skip):
    corpora = {"few": ["aab. " * 99], **SONG}
    result = skip({"tokenizer": ["char"], "vocab_size": [9, 100]}, corpora)
    failed = result.table[result.table["failure"].notna()]
    assert failed[["corpus", "vocab_size"]].to_numpy().tolist() == [["song", 9]]
    assert result.run["candidates"] == {"done": 4, "planned": 4}
    assert result.run["fits"]["done"] == 6


@pytest.mark.parametrize(
    "grid", [{"tokenizer": ["char", 7]}, {"callbacks": [None, [Lock()]]}, {"max_steps": [1, 0]}]
)
def test_whatever_makes_it_impossible(tiny, grid):
    plan = Sweep(grid, TALE, estimator=tiny, length=16, impossible="skip")._plan()
    assert isinstance(plan, Plan)
    assert list(plan.reasons) == [("tale", 1)]
    assert [row.is_fitted for row in (plan.row("tale", 0, 0), plan.row("tale", 1, 0))] == [
        True, False,
    ]  # fmt: skip
    keys = list(plan.keys())
    assert len(set(keys)) == plan.n_fits == 2

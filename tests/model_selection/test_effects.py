"""Main effects of a search's parameters, by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from snn_estimators.model_selection import main_effects, plot_effects


@pytest.fixture
def table():
    """Heads add 1 each and levels take 2; more heads were tried with few levels alone."""
    rows = [(1, 4, 10.0), (1, 16, 8.0), (2, 4, 11.0), (2, 16, 9.0), (4, 4, 13.0)]
    table = pd.DataFrame(rows, columns=["heads", "levels", "perplexity"])
    return table.assign(perplexity_std=0.5, pareto=False)


def effects_of(table, name, metric="perplexity"):
    rows = main_effects(table, metric)
    rows = rows[rows["parameter"] == name]
    return dict(zip(rows["value"], rows["effect"], strict=True))


def test_the_others_are_held(table):
    """An average over all would give four heads what few levels do."""
    assert effects_of(table, "levels") == {4: 1.0, 16: -1.0}
    of_few, of_many = (10 + 11 + 13) / 3, (8 + 9) / 2
    expected = {1: ((10 - of_few) + (8 - of_many)) / 2, 2: ((11 - of_few) + (9 - of_many)) / 2}
    assert effects_of(table, "heads") == pytest.approx({**expected, 4: 13 - of_few})


def test_effects_are_held_against_the_spread_over_folds(table):
    for spread, larger in ((0.5, True), (5.0, False)):
        effects = main_effects(table.assign(perplexity_std=spread))
        assert effects["spread"].tolist() == pytest.approx([spread] * len(effects))
        assert (effects["larger_than_spread"] == larger).all()


def test_baselines_and_failures_are_left_out(table):
    more = pd.DataFrame(
        {"baseline": ["trigram", None], "heads": [np.nan, 8], "levels": [np.nan, 4]}
    ).assign(perplexity=[1.0, np.nan], pareto=False)
    assert effects_of(pd.concat([table, more]), "levels") == {4: 1.0, 16: -1.0}
    assert 8 not in effects_of(pd.concat([table, more]), "heads")


def test_what_never_differs_alone_has_no_effect():
    table = pd.DataFrame({"heads": [1, 2], "levels": [4, 16], "perplexity": [9.0, 8.0]})
    assert main_effects(table).empty
    labels = [axes.get_xlabel() for axes in plot_effects(table.assign(pareto=False)).axes]
    assert labels == ["heads (others vary)", "levels (others vary)"]


def test_an_unknown_metric_is_named(table):
    with pytest.raises(ValueError, match="metric='energy' is no column"):
        main_effects(table, "energy")

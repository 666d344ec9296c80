from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import loguniform
from sklearn.exceptions import NotFittedError
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import Ridge
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    RandomizedSearchCV,
    cross_validate,
)

from snn_estimators.model_selection import pareto_front, results_table
from snn_estimators.model_selection.tables import parameter_columns, short_names


@pytest.mark.slow
def test_one_row_a_candidate_in_order_of_perplexity(search):
    table = results_table(search)
    assert len(table) == 6
    assert table["perplexity"].is_monotonic_increasing
    assert list(table["rank"]) == [1, 2, 3, 4, 5, 6]
    assert list(table.columns[:3]) == ["rank", "alpha", "fit_intercept"]
    assert parameter_columns(table) == ["alpha", "fit_intercept"]


@pytest.mark.slow
def test_means_and_deviations_over_folds_with_natural_signs(search):
    table = results_table(search)
    results = search.cv_results_
    for _, row in table.iterrows():
        place = results["params"].index(
            {"ridge__alpha": row["alpha"], "ridge__fit_intercept": row["fit_intercept"]}
        )
        folds = np.array([-results[f"split{i}_test_neg_perplexity"][place] for i in range(3)])
        assert row["perplexity"] == pytest.approx(folds.mean())
        assert row["perplexity_std"] == pytest.approx(folds.std())
        assert row["fit_time"] == results["mean_fit_time"][place]
    assert (table["energy_per_token_nj"] > 0).all()
    assert table["n_parameters"].dtype == np.int64
    assert "n_parameters_std" not in table
    for name in ("bits_per_character", "accuracy", "relative_energy", "fit_time"):
        assert {name, f"{name}_std"} <= set(table.columns)


def test_failed_candidates_are_kept_last_and_never_pareto(failing_search):
    table = results_table(failing_search)
    assert list(table["rank"]) == [1, 2, 3]
    last = table.iloc[-1]
    assert last["alpha"] == -1.0
    assert np.isnan(last["perplexity"])
    assert not last["pareto"]
    assert table["pareto"].dtype == bool
    assert table["pareto"].any()


def test_equal_perplexities_share_a_rank():
    runs = [{"heads": h, "test_neg_perplexity": [-p]} for h, p in ((1, 9.0), (2, 8.0), (4, 8.0))]
    assert list(results_table(runs)["rank"]) == [1, 1, 3]
    failed = [*runs, *({"heads": h, "test_neg_perplexity": [np.nan]} for h in (5, 8))]
    assert list(results_table(failed)["rank"]) == [1, 1, 3, 4, 4]


@pytest.mark.parametrize(
    ("refit", "first"), [("neg_perplexity", 1), ("neg_bits_per_character", 5), ("accuracy", 3)]
)
def test_a_search_ranks_by_its_own_refit(refit, first):
    """Perplexities of other vocabularies do not compare, bits a character do."""

    class Searched:
        def __init__(self):
            self.refit = refit
            self.cv_results_ = {
                "params": [{"heads": heads} for heads in (1, 3, 5)],
                **{f"std_test_{name}": np.zeros(3) for name in means},
                **{f"mean_test_{name}": np.array(values) for name, values in means.items()},
            }

    means = {
        "neg_perplexity": [-4.0, -5.0, -6.0],
        "neg_bits_per_character": [-3.0, -2.5, -2.0],
        "accuracy": [0.2, 0.5, 0.4],
    }
    assert results_table(Searched()).loc[0, "heads"] == first


@pytest.mark.slow
def test_randomized_search(data, pipeline, scoring):
    search = RandomizedSearchCV(
        pipeline, {"ridge__alpha": loguniform(1e-2, 1e2)}, n_iter=5, cv=2, random_state=0,
        scoring=scoring, refit="neg_perplexity",
    ).fit(*data)  # fmt: skip
    table = results_table(search)
    assert table.loc[0, "alpha"] == search.best_params_["ridge__alpha"]
    assert len(table) == 5


def test_halving_search_has_its_iterations(data):
    search = HalvingGridSearchCV(
        Ridge(), {"alpha": [0.1, 1.0, 10.0, 100.0]}, cv=2, factor=2, random_state=0
    ).fit(*data)
    table = results_table(search)
    assert len(table) == len(search.cv_results_["params"])
    assert table["iteration"].is_monotonic_decreasing
    assert table.loc[0, "alpha"] == search.best_params_["alpha"]
    assert "score" in table
    assert "perplexity" not in table


class LikeALanguageModel(Ridge):
    """A ridge whose score is meant in nats per token, as its other method tells."""

    def evaluate(self, X):
        raise NotImplementedError


def test_the_only_score_of_a_language_model_gives_a_perplexity(data):
    search = GridSearchCV(LikeALanguageModel(), {"alpha": [0.1, 100.0]}, cv=2).fit(*data)
    table = results_table(search)
    best = search.best_index_
    folds = [np.exp(-search.cv_results_[f"split{i}_test_score"][best]) for i in range(2)]
    assert table.loc[0, "perplexity"] == pytest.approx(np.mean(folds))
    assert not table["pareto"].any()


def test_train_scores_have_their_own_columns(data, pipeline, scoring):
    search = GridSearchCV(
        pipeline, {"ridge__alpha": [1.0, 2.0]}, scoring=scoring, refit=False, cv=2,
        return_train_score=True,
    ).fit(*data)  # fmt: skip
    table = results_table(search)
    assert (table["train_perplexity"] > 0).all()
    assert parameter_columns(pd.DataFrame(table.to_dict("list"))) == ["alpha"]


def test_cross_validate_output_and_lists_of_it(data, pipeline, scoring):
    one = cross_validate(pipeline, *data, scoring=scoring, cv=3, return_estimator=True)
    single = results_table(one)
    assert len(single) == 1
    assert single.loc[0, "perplexity"] == pytest.approx(-one["test_neg_perplexity"].mean())
    assert single.loc[0, "pareto"]
    runs = [
        {"alpha": alpha, **cross_validate(pipeline.set_params(ridge__alpha=alpha), *data,
                                          scoring=scoring, cv=3)}
        for alpha in (100.0, 0.1)
    ]  # fmt: skip
    table = results_table(runs)
    assert list(table["alpha"]) == [0.1, 100.0]
    assert table.loc[0, "fit_time"] > 0


def test_what_cannot_be_tabulated_is_refused():
    with pytest.raises(NotFittedError, match="after its fit"):
        results_table(GridSearchCV(Ridge(), {"alpha": [1.0]}))
    with pytest.raises(TypeError, match="fitted search"):
        results_table(3)
    with pytest.raises(ValueError, match="empty"):
        results_table([])


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["module__timesteps", "module__heads"], ["timesteps", "heads"]),
        (["lr", "optimizer__lr"], ["lr", "optimizer__lr"]),
        (["a__b__x", "c__b__x"], ["a__b__x", "c__b__x"]),
        (["module__accuracy"], ["module__accuracy"]),
    ],
)
def test_short_names(names, expected):
    assert short_names(names, taken=["accuracy"]) == expected


def test_values_that_are_no_numbers_become_short_text(data, pipeline):
    grid = {"ridge": [Ridge(alpha=3.0), Ridge()], "ridge__solver": ["svd"], "scale": [None]}
    search = GridSearchCV(pipeline, grid, cv=2, scoring="r2").fit(*data)
    table = results_table(search)
    assert set(table["ridge"]) == {"Ridge(alpha=3.0, solver='svd')", "Ridge(solver='svd')"} or set(
        table["ridge"]
    ) == {"Ridge(alpha=3.0)", "Ridge()"}
    assert set(table["scale"]) == {"none"}


def test_gaps_do_not_change_the_values_beside_them(one_at_a_time):
    table = results_table(one_at_a_time)
    values = {name: list(table[name].dropna()) for name in parameter_columns(table)}
    assert values == {
        "token_shift": [0, 1, 2],
        "attention_decay": ["none", "learned"],
        "float_embedding": [False],
        "attention_scale": [0.125, 1.0],
        "surrogate": ["atan"],
    }
    assert all(isinstance(value, int) for value in values["token_shift"])
    assert isinstance(values["float_embedding"][0], bool)


def test_zero_has_no_sign(one_at_a_time):
    one_at_a_time["mean_test_neg_energy_with_memory_per_token_nj"] = np.zeros(9)
    energies = results_table(one_at_a_time)["energy_with_memory_per_token_nj"]
    assert not np.signbit(energies).any()


def test_unknown_tokens_stand_beside_the_accuracy():
    runs = [{"a": 1, "test_unknown_rate": [0.1], "test_accuracy": [0.5], "test_spike_rate": [0.2]}]
    names = [name for name in results_table(runs) if not name.endswith("_std")]
    assert names[2:5] == ["accuracy", "unknown_rate", "spike_rate"]
    assert parameter_columns(pd.DataFrame(results_table(runs).to_dict("list"))) == ["a"]


COSTS = arrays(
    float,
    st.tuples(st.integers(1, 40), st.just(2)),
    elements=st.sampled_from([*map(float, range(8)), np.nan, np.inf]),
)


@pytest.mark.slow
@settings(derandomize=True, max_examples=50, deadline=None)
@given(COSTS)
def test_pareto_front_is_right_by_brute_force(costs):
    front = pareto_front(costs)
    for i, one in enumerate(costs):
        beaten = any(
            all(o <= c for o, c in zip(other, one, strict=True)) and list(other) != list(one)
            for other in costs
            if np.isfinite(other).all()
        )
        assert front[i] == (np.isfinite(one).all() and not beaten)


def test_pareto_column_does_not_depend_on_the_order_of_candidates(big_results):
    table = results_table(big_results)
    order = np.random.default_rng(0).permutation(len(table))
    shuffled = {key: [values[i] for i in order] for key, values in big_results.items()}
    other = results_table({k: v if k == "params" else np.array(v) for k, v in shuffled.items()})
    pd.testing.assert_frame_equal(table, other)


# Cheap in synapses, cheap with memory, and neither.
TWO_COSTS = [
    {
        "name": name,
        "test_neg_perplexity": [-perplexity],
        "test_neg_energy_per_token_nj": [-synaptic],
        "test_neg_energy_with_memory_per_token_nj": [-with_memory],
    }
    for name, perplexity, synaptic, with_memory in (
        ("a", 5.0, 1.0, 9.0),
        ("b", 4.0, 2.0, 8.0),
        ("c", 6.0, 1.5, 1.0),
    )
]


@pytest.mark.parametrize(
    ("cost", "front"),
    [("synaptic", ["b", "a"]), ("total_with_memory", ["b", "c"])],
)
def test_the_front_is_over_the_cost_that_is_named(cost, front):
    table = results_table(TWO_COSTS, cost=cost)
    assert list(table.loc[table["pareto"], "name"]) == front


def test_memory_counts_by_default():
    assert results_table(TWO_COSTS).equals(results_table(TWO_COSTS, cost="total_with_memory"))


def test_an_unknown_cost_is_refused():
    with pytest.raises(ValueError, match="cost='time' is unknown; choose one of"):
        results_table(TWO_COSTS, cost="time")


def test_a_cost_without_a_price_is_refused_with_the_remedy():
    runs = [{**one, "test_neg_energy_with_memory_per_token_nj": [np.nan]} for one in TWO_COSTS]
    with pytest.raises(ValueError, match="no price of memory; use cost='total'"):
        results_table(runs)
    assert results_table(runs, cost="synaptic")["pareto"].sum() == 2

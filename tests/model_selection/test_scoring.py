from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import Ridge
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    RandomizedSearchCV,
    cross_validate,
)
from sklearn.pipeline import Pipeline
from skorch.callbacks import Callback

from snn_estimators.energy import summarize
from snn_estimators.model_selection import language_model_scores, results_table
from snn_estimators.model_selection.scoring import SCORES
from snn_estimators.sweep.sweep import sweep_model
from snn_estimators.text import TextCleaner

TEXTS = ["the cat sat on the mat. ", "a dog ran to the tree. ", "it saw the cat. "] * 4
RAW = [text.title() for text in TEXTS]


@pytest.fixture
def model():
    return sweep_model(
        length=16, blocks=1, heads=1, timesteps=1, max_steps=3, batch_size=4, lr=0.01
    )


@pytest.mark.slow
def test_figures_agree_with_the_estimators_own(model):
    model.fit(TEXTS)
    scores = language_model_scores(model, TEXTS)
    assert tuple(scores) == SCORES
    assert all(type(value) is float for value in scores.values())
    assert -scores["neg_perplexity"] == pytest.approx(model.perplexity(TEXTS))
    assert -scores["neg_bits_per_character"] == pytest.approx(model.bits_per_character(TEXTS))
    hits = [
        (predicted[:-1] == ids[1:])
        for predicted, ids in zip(
            model.predict(TEXTS), model.tokenizer_.transform(TEXTS), strict=True
        )
    ]
    assert scores["accuracy"] == pytest.approx(np.concatenate(hits).mean())
    cost = summarize(model.energy(TEXTS))
    assert -scores["neg_energy_per_token_nj"] == pytest.approx(cost["synaptic_nj"])
    assert -scores["neg_total_energy_per_token_nj"] == pytest.approx(cost["total_nj"])
    assert -scores["neg_energy_with_memory_per_token_nj"] == pytest.approx(
        cost["total_with_memory_nj"]
    )
    assert -scores["neg_weight_reads_per_token"] == pytest.approx(cost["weight_reads"])
    assert scores["relative_energy"] == pytest.approx(cost["relative"])
    assert scores["relative_total"] == pytest.approx(cost["relative_total"])
    assert scores["relative_with_memory"] == pytest.approx(cost["relative_with_memory"])
    assert scores["context_length"] == cost["length"]
    assert scores["n_parameters"] == sum(p.numel() for p in model.module_.parameters())
    assert 0 <= scores["spike_rate"] <= 1


@pytest.mark.slow
def test_the_share_of_unknown_tokens_is_told(model):
    model.set_params(tokenizer="char").fit(TEXTS)
    assert language_model_scores(model, TEXTS)["unknown_rate"] == 0
    with pytest.warns(UserWarning, match="unknown"):
        assert language_model_scores(model, ["the c@t s@t"])["unknown_rate"] == 0.2
    with pytest.raises(ValueError, match="unknown"):
        language_model_scores(model, ["Анна Каренина"])


class CtrlC(Callback):
    """A person who loses patience in the first step."""

    def on_batch_end(self, net, **kwargs):
        raise KeyboardInterrupt


@pytest.mark.filterwarnings("ignore:Training was interrupted")
def test_an_interrupted_fit_ends_the_search(model):
    model.set_params(callbacks=[CtrlC()])
    search = GridSearchCV(
        model, {"module__heads": [1, 2]}, scoring=language_model_scores, refit=False, cv=2
    )
    with pytest.raises(KeyboardInterrupt, match="interrupted"):
        search.fit(TEXTS)
    assert model.fit(TEXTS).evaluate(TEXTS)["n_tokens"] > 0


@pytest.mark.slow
def test_one_pass_and_no_more(model):
    model.fit(TEXTS)
    passes = []
    model.module_.register_forward_hook(lambda *_: passes.append(1))
    model.perplexity(TEXTS)
    once = len(passes)
    language_model_scores(model, TEXTS)
    assert len(passes) == 2 * once


@pytest.mark.slow
def test_a_pipeline_is_transformed_first(model):
    pipeline = Pipeline([("clean", TextCleaner()), ("lm", model)]).fit(RAW)
    cleaned = TextCleaner().transform(RAW)
    expected = language_model_scores(pipeline[-1], cleaned)
    assert language_model_scores(pipeline, RAW) == pytest.approx(expected)


def test_what_is_no_language_model_is_refused():
    with pytest.raises(TypeError, match=r"needs a language model .* got Ridge"):
        language_model_scores(Ridge(), TEXTS)


@pytest.mark.slow
def test_grid_search_in_two_processes_equals_one(model):
    grid = {"module__timesteps": [1, 2]}
    tables = [
        results_table(
            GridSearchCV(
                model, grid, scoring=language_model_scores, refit=False, cv=2, n_jobs=jobs
            ).fit(TEXTS)
        )
        for jobs in (1, 2)
    ]
    timeless = [table.drop(columns=["fit_time", "fit_time_std"]) for table in tables]
    pd.testing.assert_frame_equal(*timeless)
    assert list(tables[0].columns[1:4]) == ["timesteps", "perplexity", "perplexity_std"]
    assert tables[0]["pareto"].any()


@pytest.mark.slow
def test_randomized_search_refits_the_best_perplexity(model):
    search = RandomizedSearchCV(
        Pipeline([("clean", TextCleaner()), ("lm", model)]),
        {"lm__module__heads": [1, 2, 4, 5], "lm__lr": [1e-3, 1e-2]},
        n_iter=2, cv=2, random_state=0, scoring=language_model_scores, refit="neg_perplexity",
    ).fit(RAW)  # fmt: skip
    best = results_table(search).iloc[0]
    assert best["heads"] == search.best_params_["lm__module__heads"]
    assert best["perplexity"] == pytest.approx(-search.best_score_)
    assert language_model_scores(search, RAW)["neg_perplexity"] < 0


@pytest.mark.slow
def test_halving_search_scores_by_likelihood(model):
    search = HalvingGridSearchCV(
        model, {"module__heads": [1, 2, 5]}, cv=2, min_resources=4, random_state=0
    ).fit(TEXTS)
    table = results_table(search)
    assert table.loc[0, "heads"] == search.best_params_["module__heads"]
    assert table.loc[0, "perplexity"] == pytest.approx(np.exp(-search.best_score_), rel=0.1)
    assert {"iteration", "n_resources"} <= set(table.columns)


@pytest.mark.slow
def test_cross_validate(model):
    table = results_table(cross_validate(model, TEXTS, scoring=language_model_scores, cv=2))
    assert table.loc[0, "perplexity"] > 1
    assert table.loc[0, "energy_per_token_nj"] > 0


def test_the_scorer_is_pickled_by_name():
    assert pickle.loads(pickle.dumps(language_model_scores)) is language_model_scores

"""Pipelines and searches of scikit-learn, over models of text."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    RandomizedSearchCV,
    cross_validate,
)
from sklearn.pipeline import make_pipeline
from tiny_language_model import tiny_model

from snn_estimators.text import TextCleaner


@pytest.mark.slow
def test_pipeline_with_a_cleaner(texts):
    pipeline = make_pipeline(TextCleaner(preset="spikedecoder"), tiny_model())
    shouting = [text.upper() for text in texts]
    pipeline.fit(shouting)
    assert pipeline[-1].tokenizer_.vocabulary_ == tiny_model().fit(texts).tokenizer_.vocabulary_
    assert pipeline.score(shouting) == pytest.approx(pipeline.score(texts))


@pytest.mark.slow
def test_grid_search(texts):
    grid = {"module__timesteps": [1, 2], "tokenizer": ["char", "word"], "lr": [1e-2]}
    search = GridSearchCV(tiny_model(max_epochs=1), grid, cv=2, error_score="raise").fit(texts)
    assert len(search.cv_results_["params"]) == 4
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.score(texts) == search.best_estimator_.score(texts)
    assert search.best_estimator_.module_.timesteps == search.best_params_["module__timesteps"]


def test_the_tokenizer_is_fitted_on_the_training_fold_alone(texts):
    result = cross_validate(
        tiny_model(max_epochs=1),
        ["abcd", "abce", "abzz", "abyy"],
        cv=2,
        return_estimator=True,
        error_score="raise",
    )
    known = ["".join(sorted(e.tokenizer_.vocabulary_)).strip("\ufffd") for e in result["estimator"]]
    assert known == ["abyz", "abcde"]


@pytest.mark.slow
def test_randomized_search(texts):
    space = {"tokenizer__min_frequency": [1, 2], "lr": [1e-3, 1e-2]}
    search = RandomizedSearchCV(
        tiny_model(tokenizer="word", max_epochs=1), space, n_iter=2, cv=2, random_state=0
    )
    assert np.isfinite(search.fit(texts).cv_results_["mean_test_score"]).all()


@pytest.mark.slow
def test_halving_over_epochs(texts):
    search = HalvingGridSearchCV(
        tiny_model(),
        {"module__timesteps": [1, 2]},
        resource="max_epochs",
        max_resources=4,
        min_resources=2,
        factor=2,
        cv=2,
        random_state=0,
    ).fit(texts)
    assert search.n_resources_ == [2, 4]
    assert search.best_estimator_.n_iter_ == 4


@pytest.mark.slow
def test_two_jobs_are_as_good_as_one(texts):
    grid = {"module__timesteps": [1, 2]}
    scores = [
        GridSearchCV(tiny_model(max_epochs=1), grid, cv=2, n_jobs=n_jobs)
        .fit(texts)
        .cv_results_["mean_test_score"]
        for n_jobs in (1, 2)
    ]
    np.testing.assert_array_equal(*scores)


@pytest.mark.slow
def test_sample_weights_are_routed_to_the_score(texts):
    weights = np.array([0.0, 1.0, 2.0, 1.0])
    with sklearn.config_context(enable_metadata_routing=True):
        model = tiny_model(max_epochs=1).set_score_request(sample_weight=True)
        result = cross_validate(
            model,
            texts,
            cv=2,
            params={"sample_weight": weights},
            return_estimator=True,
            return_indices=True,
        )
    for score, estimator, rows in zip(
        result["test_score"], result["estimator"], result["indices"]["test"], strict=True
    ):
        held_out = [texts[i] for i in rows]
        assert score == estimator.score(held_out, sample_weight=weights[rows])
        assert score != estimator.score(held_out)

"""A search over made-up figures: fast, and its right answers are known."""

from __future__ import annotations

import warnings
from itertools import product

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, ParameterGrid
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler


def ridge_scores(estimator, X, y):
    """Look like a language model's scores."""
    ridge = estimator[-1]
    error = float(np.mean((ridge.predict(estimator[:-1].transform(X)) - y) ** 2))
    return {
        "neg_perplexity": -np.exp(error),
        "neg_bits_per_character": -error / np.log(2),
        "accuracy": 1 / (1 + error),
        "neg_energy_per_token_nj": -1.0 / (ridge.alpha + 1) - ridge.fit_intercept,
        "neg_total_energy_per_token_nj": -2.0 / (ridge.alpha + 1) - ridge.fit_intercept,
        "neg_energy_with_memory_per_token_nj": -9.0 / (ridge.alpha + 1) - ridge.fit_intercept,
        "neg_weight_reads_per_token": -90.0 / (ridge.alpha + 1) - ridge.fit_intercept,
        "spike_rate": 0.1,
        "relative_energy": 0.2 + ridge.fit_intercept / 10,
        "n_parameters": float(ridge.coef_.size),
    }


@pytest.fixture
def scoring():
    return ridge_scores


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3))
    return X, X @ [1.0, -0.5, 0.2] + 0.3 + rng.normal(scale=0.1, size=60)


@pytest.fixture
def pipeline():
    return Pipeline([("scale", StandardScaler()), ("ridge", Ridge())])


@pytest.fixture
def search(data, pipeline):
    """Fitted grid search over two parameters."""
    grid = {"ridge__alpha": [0.1, 10.0, 100.0], "ridge__fit_intercept": [True, False]}
    search = GridSearchCV(pipeline, grid, scoring=ridge_scores, refit=False, cv=3)
    return search.fit(*data)


@pytest.fixture
def failing_search(data, pipeline):
    """The same with a candidate that cannot be fitted."""
    grid = {"ridge__alpha": [0.1, -1.0, 100.0]}
    search = GridSearchCV(pipeline, grid, scoring=ridge_scores, refit=False, cv=3)
    with warnings.catch_warnings(action="ignore"):
        return search.fit(*data)


@pytest.fixture
def one_at_a_time():
    """``cv_results_`` of a list of grids with one parameter each, as an ablation has."""
    grids = [
        {"module__token_shift": [0, 1, 2]},
        {"module__attention_decay": [None, "learned"]},
        {"module__float_embedding": [False]},
        {"module__attention_scale": [0.125, 1.0]},
        {"module__surrogate": ["atan"]},
    ]
    candidates = list(ParameterGrid(grids))
    results = {"params": candidates}
    for metric in ("neg_perplexity", "neg_energy_with_memory_per_token_nj"):
        results[f"mean_test_{metric}"] = -np.arange(5.0, 5.0 + len(candidates))
        results[f"std_test_{metric}"] = np.zeros(len(candidates))
    return results


@pytest.fixture
def big_results():
    """``cv_results_`` of 24 candidates with random figures."""
    rng = np.random.default_rng(1)
    candidates = list(product([1, 2, 4], [1, 5], ["learned", "two-hot"], [True, False]))
    names = ("module__timesteps", "module__heads", "module__encoding", "module__detach_reset")
    n = len(candidates)
    results = {"params": [dict(zip(names, values, strict=True)) for values in candidates]}
    for metric in ("neg_perplexity", "neg_energy_with_memory_per_token_nj"):
        results[f"mean_test_{metric}"] = -rng.uniform(5, 50, n)
        results[f"std_test_{metric}"] = rng.uniform(0, 1, n)
    results["mean_fit_time"], results["std_fit_time"] = np.ones((2, n))
    return results

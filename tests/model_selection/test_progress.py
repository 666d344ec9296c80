from __future__ import annotations

import time

import numpy as np
import pytest
from joblib import Parallel, delayed
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV

from snn_estimators.model_selection import progress
from snn_estimators.model_selection.progress import fit_progress


class Bar:
    """Stands in for tqdm's bar and keeps what it was told."""

    def __init__(self, **options):
        self.n, self.options, self.closed = 0, options, False
        Bar.last = self

    def update(self, n):
        self.n += n

    def close(self):
        self.closed = True


def scores(estimator, X, y=None):
    return {"neg_perplexity": -float(np.abs(estimator.coef_).sum())}


def failing(estimator, X, y=None):
    raise RuntimeError("no score today")


@pytest.fixture
def bar(monkeypatch):
    monkeypatch.setattr(progress, "tqdm", Bar)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_every_fit_is_counted_in_one_process_or_two(bar, data, n_jobs):
    with fit_progress(scores, ["neg_perplexity"], 6) as scorer:
        GridSearchCV(
            Ridge(), {"alpha": [1, 2]}, scoring=scorer, refit=False, cv=3, n_jobs=n_jobs
        ).fit(*data)
    assert Bar.last.n == 6
    assert Bar.last.closed
    assert Bar.last.options["total"] == 6


def test_the_bar_moves_while_the_search_runs(bar):
    with fit_progress(lambda *_: {}, [], 2) as scorer:
        scorer(None, None)
        deadline = time.monotonic() + 10
        while Bar.last.n < 1 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert Bar.last.n == 1


def test_counting_loses_nothing_under_load(bar):
    with fit_progress(lambda *_: {}, [], 400) as scorer:
        Parallel(n_jobs=8, backend="threading")(delayed(scorer)(None, None) for _ in range(400))
    assert Bar.last.n == 400


def test_a_failing_score_costs_its_row_alone(bar, data):
    with (
        pytest.warns(UserWarning, match="no score today"),
        fit_progress(failing, ["neg_perplexity"], 2) as scorer,
    ):
        search = GridSearchCV(Ridge(), {"alpha": [1.0]}, scoring=scorer, refit=False, cv=2)
        search.fit(*data)
    assert np.isnan(search.cv_results_["mean_test_neg_perplexity"]).all()
    assert Bar.last.n == 2


def test_interruption_is_passed_on_and_closes_the_bar(bar):
    def interrupted(estimator, X, y=None):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), fit_progress(interrupted, ["a"], 2) as scorer:
        scorer(None, None)
    assert Bar.last.closed

"""What the best candidate of a sweep has to beat: n-grams, and its twins without spikes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from sklearn.base import clone

from snn_estimators.estimators import NGramLM
from snn_estimators.model_selection.baselines import largest_twin_within
from snn_estimators.model_selection.scoring import final_estimator, language_model_scores
from snn_estimators.model_selection.tables import COSTS
from snn_estimators.sweep.plan import Plan
from snn_estimators.sweep.worker import FitResult, reason

__all__ = ["N_GRAMS", "n_gram_results", "twins"]

N_GRAMS: Mapping[str, int] = {"bigram": 2, "trigram": 3}
"""Orders of the n-grams that stand in every table, by name."""


def n_gram_results(plan: Plan, corpus: str, order: int) -> Iterator[FitResult]:
    """Count and score n-grams on each fold, with the estimator's tokenizer."""
    tokenizer = final_estimator(plan.estimator)._tokenizer_to_fit()
    model = _with_final(plan.estimator, NGramLM(order=order, tokenizer=tokenizer))
    for train, test in plan.folds_of(corpus):
        try:
            scores = language_model_scores(clone(model).fit(train), test)
        except (TypeError, ValueError) as error:
            yield FitResult(math.nan, failure=reason(error))
        else:
            yield FitResult.of(math.nan, scores)


def twins(
    plan: Plan, corpus: str, best: Any, scores: Mapping[str, float], cost: str
) -> dict[str, Any]:
    """Return the twin of the best candidate, and the largest that costs no more, not fitted.

    There is none of a model that does not spike, or whose module knows none; and no second one if
    even the smallest costs more.
    """
    model = final_estimator(best)
    if math.isnan(scores["spike_rate"]) or getattr(model.module, "TWIN", None) is None:
        return {}
    found = {"twin of its size": model.twin()}
    limit = scores[COSTS[cost]]
    train, _ = next(plan.folds_of(corpus))
    seen = best[:-1].fit_transform(train) if hasattr(best, "steps") else train
    cheap = largest_twin_within(model, seen, cost, limit)
    if cheap is not None:
        found["twin of its cost"] = cheap
    return {name: _with_final(best, twin) for name, twin in found.items()}


def _with_final(estimator: Any, model: Any) -> Any:
    """Put a model in the place of an estimator, or of the last step of a pipeline."""
    if not hasattr(estimator, "steps"):
        return model
    name, last = estimator.steps[-1]
    return clone(estimator).set_params(**{name: _with_final(last, model)})

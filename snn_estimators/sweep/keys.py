"""Keys of scores, and of the code behind them: equal where one may stand for the other."""

from __future__ import annotations

from typing import Any

from snn_estimators.energy import COUNTERS
from snn_estimators.model_selection.scoring import SCORES, final_estimator
from snn_estimators.persistence.cache_key import fit_key, key_part, parameter_keys, user_code
from snn_estimators.persistence.hashing import hash_json
from snn_estimators.persistence.stable_hash import canonical

__all__ = ["code_key", "score_key"]


def score_key(model: Any) -> str:
    """Return the key of a model's scores: equal for equal models and versions, whatever the data.

    Raises TypeError if a parameter's value cannot be hashed.

    Examples
    --------
    >>> from snn_estimators.sweep.defaults import sweep_model
    >>> key = score_key(sweep_model(heads=1))
    >>> key == score_key(sweep_model(heads=1)), key == score_key(sweep_model(heads=5))
    (True, False)
    """
    before, final = _before(model), final_estimator(model)
    return fit_key(final, {"scores": SCORES, "before": before, "counters": _counters()}, {})


def code_key(model: Any) -> str:
    """Return the key of the user-defined code that a model uses, and its scores."""
    final = final_estimator(model)
    own = key_part("the estimator's class", type(final))
    return hash_json(user_code([own, _before(model), parameter_keys(final), _counters()]))


def _before(model: Any) -> list[Any]:
    return [canonical(step) for step in model[:-1]] if hasattr(model, "steps") else []


def _counters() -> dict[str, Any]:
    """Return the canonical form of energy counters that the user registered."""
    return {
        f"{layer.__module__}.{layer.__qualname__}": key_part("a counter of energy", factory)
        for layer, factory in COUNTERS.items()
        if not getattr(factory, "__module__", "").startswith("snn_estimators.")
    }

"""scikit-learn's own checks, on token ids: they know no text."""

from __future__ import annotations

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks
from tiny_language_model import tiny_model


@pytest.mark.slow
@parametrize_with_checks([tiny_model(tokenizer=None, max_epochs=1)])
def test_scikit_learn_has_nothing_to_object(estimator, check):
    check(estimator)

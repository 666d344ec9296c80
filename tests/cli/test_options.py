from __future__ import annotations

from snn_estimators.cli import options
from snn_estimators.estimators import LANGUAGE_MODELS
from snn_estimators.model_selection.tables import COSTS


def test_choices_that_stand_there_twice_are_the_same() -> None:
    assert list(options.Cost) == list(COSTS)
    assert list(options.LanguageModelName) == list(LANGUAGE_MODELS)

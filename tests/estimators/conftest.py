"""A fitted classifier, and a language model that knows its words."""

from __future__ import annotations

import pytest
from tiny_classifiers import X, Y, tiny_classifier
from tiny_language_model import tiny_model


@pytest.fixture(scope="session")
def classifier():
    """A fitted classifier that tests read and never change."""
    return tiny_classifier(max_epochs=8, batch_size=4).fit(X, Y)


@pytest.fixture(scope="session")
def language_model():
    """A fitted language model that knows the words, and that tests never change."""
    return tiny_model(tokenizer="word", module__normalization="layer").fit(X)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SNN_ESTIMATORS_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "models"

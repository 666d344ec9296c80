from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from tiny_language_model import TEXTS, tiny_model

from snn_estimators.estimators import SpikeDecoderLM


@pytest.fixture
def texts() -> list[str]:
    return list(TEXTS)


@pytest.fixture
def make_model() -> Callable[..., SpikeDecoderLM]:
    return tiny_model


@pytest.fixture(scope="session")
def fitted() -> SpikeDecoderLM:
    """A fitted model that tests read and never change."""
    return tiny_model().fit(TEXTS)


@pytest.fixture(scope="session")
def fitted_on_ids() -> SpikeDecoderLM:
    """A model of token ids 0 to 9, fitted on a ragged list."""
    rng = np.random.default_rng(0)
    return tiny_model(tokenizer=None, module__vocab_size=10).fit(
        [rng.integers(10, size=n) for n in (5, 20, 9, 17)]
    )

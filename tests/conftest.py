"""Fixtures that several test modules share."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_language_model import TEXTS, tiny_model

from snn_estimators.estimators import SpikeDecoderLM

# What a shell starts in the background ignores Ctrl-C, and so would all that is tested.
signal.signal(signal.SIGINT, signal.default_int_handler)
torch.set_num_threads(1)  # sums do not depend on the machine, nor small tests on their neighbours
# Scripts that tests start import the helpers, too.
_HELPERS = str(Path(__file__).parent / "helpers")
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [_HELPERS, os.environ.get("PYTHONPATH")]))
SHARED = Path(os.environ.get("SNN_ESTIMATORS_SHARED", Path(__file__).parents[2] / "shared"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with real text and reference fixtures; tests that need it skip without it."""
    if not SHARED.is_dir():
        pytest.skip(f"no reference data in {SHARED} (set SNN_ESTIMATORS_SHARED)")
    return SHARED


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


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

"""Fixtures that several test modules share.

What takes seconds to import is imported where it is used: xdist's controller loads this file, too.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from snn_estimators.estimators import SpikeDecoderLM

# What a shell starts in the background ignores Ctrl-C, and so would all that is tested.
signal.signal(signal.SIGINT, signal.default_int_handler)
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


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Sums do not depend on the machine, nor small tests on their neighbours."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _warm_workers() -> None:
    """Processes of joblib start at once."""
    from warm_process import warm_workers

    warm_workers()


@pytest.fixture(autouse=True)
def _seeded() -> None:
    import torch

    torch.manual_seed(0)


@pytest.fixture
def texts() -> list[str]:
    from tiny_language_model import TEXTS

    return list(TEXTS)


@pytest.fixture
def make_model() -> Callable[..., SpikeDecoderLM]:
    from tiny_language_model import tiny_model

    return tiny_model


@pytest.fixture(scope="session")
def fitted() -> SpikeDecoderLM:
    """A fitted model that tests read and never change."""
    from tiny_language_model import TEXTS, tiny_model

    return tiny_model().fit(TEXTS)


@pytest.fixture(scope="session")
def fitted_on_ids() -> SpikeDecoderLM:
    """A model of token ids 0 to 9, fitted on a ragged list."""
    import numpy as np
    from tiny_language_model import tiny_model

    rng = np.random.default_rng(0)
    return tiny_model(tokenizer=None, module__vocab_size=10).fit(
        [rng.integers(10, size=n) for n in (5, 20, 9, 17)]
    )

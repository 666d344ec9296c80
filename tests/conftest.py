"""Fixtures that several test modules share."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import torch

# What a shell starts in the background ignores Ctrl-C, and so would all that is tested.
signal.signal(signal.SIGINT, signal.default_int_handler)
torch.set_num_threads(1)  # sums do not depend on the machine, nor small tests on their neighbours
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

"""A fit in one process, to compare with."""

from __future__ import annotations

import pytest
import two_processes


@pytest.fixture
def alone():
    """A fit in this process, with its outcome."""
    return lambda model, kind="decoder": two_processes.outcome(two_processes.fit(model, kind))

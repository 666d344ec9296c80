"""Compares what `two_processes.outcome` returns of two fits."""

from __future__ import annotations

import pytest
import torch


def assert_equal(one, other, tolerance=0.0):
    for name, weight in one["weights"].items():
        torch.testing.assert_close(weight, other["weights"][name], rtol=0, atol=tolerance)
    for mine, theirs in zip(one["history"], other["history"], strict=True):
        assert mine.keys() == theirs.keys()
        for key in mine.keys() - {"batches"}:
            assert mine[key] == pytest.approx(theirs[key], abs=tolerance)
        for batch, its in zip(mine["batches"], theirs["batches"], strict=True):
            assert batch == pytest.approx(its, abs=tolerance)

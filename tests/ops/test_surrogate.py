"""The step is exact, its derivative the documented formula."""

from __future__ import annotations

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from snn_estimators.ops import SURROGATES, spike, surrogate_gradient


@settings(derandomize=True, deadline=None, max_examples=20)
@given(alpha=st.floats(0.1, 10))
def test_derivatives_are_those_of_the_smooth_functions(alpha):
    u = torch.linspace(-2, 2, 41, dtype=torch.float64, requires_grad=True)
    smooth = {
        "sigmoid": torch.sigmoid(alpha * u),
        "atan": torch.atan(math.pi / 2 * alpha * u) / math.pi,
    }
    assert smooth.keys() == SURROGATES.keys()
    for kind, function in smooth.items():
        (expected,) = torch.autograd.grad(function.sum(), u, retain_graph=True)
        (found,) = torch.autograd.grad(spike(u, kind, alpha).sum(), u)
        torch.testing.assert_close(found, expected)
        torch.testing.assert_close(surrogate_gradient(u, kind, alpha).detach(), expected)


def test_step_is_inclusive():
    assert spike(torch.tensor([-1e-30, 0.0, 1e-30])).tolist() == [0.0, 1.0, 1.0]

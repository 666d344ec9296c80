"""Graded spikes: the definition, its gradients, and the compiled twin."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from snn_estimators.ops import GradedParameters, graded, graded_reference

SHAPE = (3, 7, 5)


def parameters(rounding: str, signed: bool, per_channel: bool, dtype: torch.dtype) -> list:
    """Return options, and numbers that receive gradients."""
    generator = torch.Generator().manual_seed(1)
    shape = SHAPE[-1:] if per_channel else ()
    gain, threshold = torch.rand(2, *shape, generator=generator, dtype=dtype)
    step = torch.tensor(0.3, dtype=dtype)
    numbers = [n.requires_grad_() for n in (step, 0.5 + gain, 0.2 + threshold / 2)]
    return [{"levels": 4, "signed": signed, "rounding": rounding}, numbers]


def run(backend: str, x: torch.Tensor, options: dict, numbers: list) -> list[torch.Tensor]:
    """Return what is emitted, and the gradients of a weighted sum of it."""
    x = x.clone().requires_grad_()
    step, gain, threshold = numbers
    given = GradedParameters(step=step, gain=gain, threshold=threshold, **options)
    emitted = graded(x, given, backend=backend)
    weights = torch.randn(x.shape, generator=torch.Generator().manual_seed(2)).to(x.dtype)
    return [emitted, *torch.autograd.grad((emitted * weights).sum(), [x, *numbers])]


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("rounding", ["nearest", "power-of-two"])
def test_the_twin_is_the_reference(rounding: str, signed: bool, per_channel: bool) -> None:
    x = 2 * torch.randn(SHAPE)
    given = parameters(rounding, signed, per_channel, torch.float32)
    expected, found = (run(backend, x, *given) for backend in ("reference", "numba"))
    assert torch.equal(expected[0], found[0])
    for one, other in zip(expected[1:], found[1:], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@given(st.lists(st.floats(-100, 100, width=32), min_size=1), st.sampled_from([1, 3, 32]))
def test_counts_of_the_twin_are_equal_to_the_bit(x: list[float], levels: int) -> None:
    for rounding in ("nearest", "power-of-two"):
        given = GradedParameters(levels, 0.1, gain=0.7, signed=True, rounding=rounding)
        both = [graded(torch.tensor(x), given, backend=name) for name in ("reference", "numba")]
        assert torch.equal(*both)


def test_what_is_not_a_number_stays_none() -> None:
    for backend in ("reference", "numba"):
        emitted = graded(torch.tensor([float("nan"), float("inf"), 1.0]), backend=backend)
        assert emitted.isnan().tolist() == [True, False, False]
        assert emitted[1] == 16 * 0.25


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("signed", [False, True])
def test_without_rounding_gradients_are_those_of_the_formula(
    signed: bool, per_channel: bool
) -> None:
    options, numbers = parameters("none", signed, per_channel, torch.float64)
    x = (2 * torch.randn(SHAPE, dtype=torch.float64)).requires_grad_()

    def emit(x, step, gain, threshold):
        return graded(x, GradedParameters(step=step, gain=gain, threshold=threshold, **options))

    assert torch.autograd.gradcheck(emit, [x, *numbers])


def test_gradients_are_the_documented_ones() -> None:
    levels, step, gain, threshold = 4, 0.5, 1.5, 0.7
    x = torch.linspace(-4, 4, 41, dtype=torch.float64)
    options = {"levels": levels, "signed": True, "rounding": "nearest"}
    values = (step, gain, threshold)
    numbers = [torch.tensor(v, dtype=torch.float64).requires_grad_() for v in values]
    emitted, *found = run("reference", x, options, numbers)
    weights = torch.randn(x.shape, generator=torch.Generator().manual_seed(2)).double()
    z = ((gain * x).abs() - threshold) / step + 0.5
    inside, sign, count = (z >= 0) & (z <= levels + 0.5), x.sign(), emitted.detach() / step
    assert inside.any() and not inside.all()
    expected = [
        weights * inside * gain,
        (weights * (count - sign * inside * (z - 0.5))).sum(),
        (weights * inside * x).sum(),
        -(weights * inside * sign).sum(),
    ]
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(one, other)


def test_the_definition_runs_in_any_dtype() -> None:
    x = torch.tensor([-1.0, 0.6, 9.0])
    for dtype in (torch.float64, torch.bfloat16):
        assert graded(x.to(dtype)).tolist() == graded_reference(x).tolist()


def test_bad_options_are_named() -> None:
    x = torch.zeros(3)
    with pytest.raises(ValueError, match="rounding='up'"):
        graded(x, GradedParameters(rounding="up"))
    with pytest.raises(ValueError, match="backend='cuda'"):
        graded(x, backend="cuda")
    with pytest.raises(ValueError, match="no form of rounding='none'"):
        graded(x, GradedParameters(rounding="none"), backend="numba")

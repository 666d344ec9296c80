"""The numba twin of `snn_estimators.ops.graded.graded_reference`: float32, CPU, own backward.

Each kernel is one pass over the input, row by row, where the reference makes seven. Products are
not contracted with sums, so that counts are equal to the bit; sums over rows are left to PyTorch,
which adds them up as it does for the reference.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor

from snn_estimators.ops._graded_operator import GradedOptions, differentiate, emit_rows, save
from snn_estimators.ops._jit import F, jit
from snn_estimators.ops._threads import split_among_threads
from snn_estimators.ops.graded import GradedParameters


@numba.njit(inline="always")
def _size(x, gain, threshold, step, signed):  # type: ignore[no-untyped-def]
    """Return z of the module's formula."""
    current = x * gain
    return ((abs(current) if signed else current) - threshold) / step + F(0.5)


@numba.njit(inline="always")
def _power(z):  # type: ignore[no-untyped-def]
    """Return the nearest of 1, 2, 4, ... for z of at least 1/2: the exponent of z / 1.5."""
    exponent = (np.float32(z / F(1.5)).view(np.int32) >> np.int32(23)) - np.int32(126)
    exponent = max(exponent, np.int32(0)) + np.int32(127)
    return np.int32(exponent << np.int32(23)).view(np.float32)


@jit(contract=False)
def _emit_row(emitted, x, gain, threshold, neuron):  # type: ignore[no-untyped-def]
    step, levels, signed, powers = neuron
    for i in range(emitted.size):
        z = _size(x[i], gain[i], threshold[i], step, signed)
        count = np.rint(z)
        if powers:
            count = _power(z) if z >= F(0.5) else F(0.0)
        count = min(max(count, F(0.0)), levels) if z == z else z
        value = count * step
        emitted[i] = -value if (signed and x[i] * gain[i] < F(0.0)) else value


@jit(contract=False)
def _pass_row(passed, g_out, x, gain, threshold, neuron):  # type: ignore[no-untyped-def]
    step, levels, signed, _ = neuron
    for i in range(passed.size):
        z = _size(x[i], gain[i], threshold[i], step, signed)
        passed[i] = g_out[i] if (z >= F(0.0) and z <= levels + F(0.5)) else F(0.0)


@jit
def _emit(lo, hi, x, gain, threshold, neuron, emitted):  # type: ignore[no-untyped-def]
    for row in range(lo, hi):
        _emit_row(emitted[row], x[row], gain, threshold, neuron)


@jit
def _pass(lo, hi, x, gain, threshold, neuron, g_out, passed):  # type: ignore[no-untyped-def]
    for row in range(lo, hi):
        _pass_row(passed[row], g_out[row], x[row], gain, threshold, neuron)


def _each(value: Tensor, features: int) -> Any:
    return value.detach().expand(features).contiguous().numpy()


def emit(
    x: Tensor, step: Tensor, gain: Tensor, threshold: Tensor, options: GradedOptions
) -> Tensor:
    """Return what is emitted for rows x, [rows, features]."""
    emitted, features = torch.empty_like(x), x.shape[-1]
    each = (_each(gain, features), _each(threshold, features))
    rows = (x.numpy(), *each, _neuron(step, options), emitted.numpy())
    split_among_threads(_emit, len(x), features, *rows)
    return emitted


def pass_straight(
    g_out: Tensor,
    x: Tensor,
    step: Tensor,
    gain: Tensor,
    threshold: Tensor,
    options: GradedOptions,
) -> Tensor:
    """Return the gradient where it passes the rounding, zeros elsewhere."""
    passed, features = torch.empty_like(x), x.shape[-1]
    each = (_each(gain, features), _each(threshold, features))
    given = (_neuron(step, options), g_out.contiguous().numpy(), passed.numpy())
    split_among_threads(_pass, len(x), features, x.numpy(), *each, *given)
    return passed


def _neuron(step: Tensor, options: GradedOptions) -> tuple:
    levels, signed, powers = options
    return F(step.item()), F(levels), signed, powers


class _Graded(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        emitted = emit(*inputs)
        save(ctx, inputs, emitted)
        return emitted

    @staticmethod
    def backward(ctx: Any, g_out: Tensor) -> Any:
        return *differentiate(ctx, g_out, pass_straight), None


def graded_numba(x: Tensor, parameters: GradedParameters) -> Tensor:
    """Compute `graded_reference` by compiled kernels (see `snn_estimators.ops.graded`)."""
    return emit_rows(_Graded.apply, x, parameters)

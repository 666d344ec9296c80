"""The numba twin of `snn_estimators.ops.wkv.wkv_reference`: float32, CPU, own backward.

Both kernels walk over blocks of channels and, inside a block, over the tokens of one sequence; each
token is one vectorised loop over the block's channels. The forward pass keeps every 16th state, and
the backward recomputes the others, 16 tokens at a time, in scratch memory that stays in the cache.

Of the two exponentials of a maximum-shifted sum one is always exp(0), so a sum costs one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor

from snn_estimators.ops._jit import F, exp_minus, jit
from snn_estimators.ops._threads import split_among_threads
from snn_estimators.ops._wkv_operator import STRIDE, average_stacked
from snn_estimators.ops.wkv import GRID, WKVOutput, WKVParameters, WKVState, empty_state

_WIDTH = 1024  # channels of a block


@numba.njit(inline="always")
def _weights(gap):  # type: ignore[no-untyped-def]
    """Return exp(past - top) and exp(present - top), top being the larger of two exponents."""
    smaller = exp_minus(abs(gap))
    return (F(1.0), smaller) if gap >= F(0.0) else (smaller, F(1.0))


@jit
def _split_decays(decay):  # type: ignore[no-untyped-def]
    """Compute `snn_estimators.ops.wkv.split_decay` of all channels."""
    coarse, factor = np.empty_like(decay), np.empty_like(decay)
    for i in range(decay.size):
        coarse[i] = np.round(decay[i] * float(GRID)) / GRID
        factor[i] = np.exp(np.float64(coarse[i]) - np.float64(decay[i]))
    return coarse, factor


@jit
def _average_row(out, a, b, e, first, key, value):  # type: ignore[no-untyped-def]
    for i in range(out.size):
        past, present = _weights((e[i] - key[i]) - first[i])
        out[i] = (past * a[i] + present * value[i]) / (past * b[i] + present)


@jit
def _update_row(a, b, e, coarse, factor, key, value):  # type: ignore[no-untyped-def]
    for i in range(a.size):
        aged = e[i] - coarse[i]
        past, present = _weights(aged - key[i])
        past *= factor[i]
        a[i] = past * a[i] + present * value[i]
        b[i] = past * b[i] + present
        e[i] = aged if aged > key[i] else key[i]


@jit
def _backward_row(  # type: ignore[no-untyped-def]
    a, b, e, coarse, factor, first, key, value, g_out, g_a, g_b, g_decay, g_first, g_key, g_value
):
    for i in range(a.size):
        k, v = key[i], value[i]
        past, present = _weights((e[i] - k) - first[i])
        scale = F(1.0) / (past * b[i] + present)
        out = scale * (past * a[i] + present * v)
        g_sum = scale * g_out[i]
        g_bonus = present * g_sum * (v - out)
        decayed, added = _weights((e[i] - coarse[i]) - k)
        decayed *= factor[i]
        g_key[i] = g_bonus + added * (g_a[i] * v + g_b[i])
        g_value[i] = present * g_sum + added * g_a[i]
        g_first[i] += g_bonus
        g_decay[i] -= decayed * (g_a[i] * a[i] + g_b[i] * b[i])
        g_a[i] = decayed * g_a[i] + past * g_sum
        g_b[i] = decayed * g_b[i] - past * g_sum * out


@jit
def _forward(lo, hi, width, key, value, decay, bonus, start, out, end, kept):  # type: ignore[no-untyped-def]
    steps, channels = key.shape[1:]
    blocks = (channels + width - 1) // width
    coarses, factors = _split_decays(decay)
    for item in range(lo, hi):
        s, c = item // blocks, item % blocks * width
        stop = min(channels, c + width)
        a, b, e = end[0, s, c:stop], end[1, s, c:stop], end[2, s, c:stop]
        for j in range(3):
            end[j, s, c:stop] = start[j, s, c:stop]
        coarse, factor, first = coarses[c:stop], factors[c:stop], bonus[c:stop]
        for t in range(steps):
            if kept.size > 0 and t > 0 and t % STRIDE == 0:
                for j in range(3):
                    kept[s, t // STRIDE - 1, j, c:stop] = end[j, s, c:stop]
            k, v = key[s, t, c:stop], value[s, t, c:stop]
            _average_row(out[s, t, c:stop], a, b, e, first, k, v)
            _update_row(a, b, e, coarse, factor, k, v)


@jit
def _backward(  # type: ignore[no-untyped-def]
    lo, hi, width, key, value, decay, bonus, start, kept, g_out, g_state, g_time, g_key, g_value
):
    steps, channels = key.shape[1:]
    blocks = (channels + width - 1) // width
    coarses, factors = _split_decays(decay)
    scratch = np.empty((3, STRIDE + 1, width), np.float32)  # the state before each token
    for item in range(lo, hi):
        s, c = item // blocks, item % blocks * width
        stop = min(channels, c + width)
        n = stop - c
        coarse, factor, first = coarses[c:stop], factors[c:stop], bonus[c:stop]
        g_a, g_b = g_state[0, s, c:stop], g_state[1, s, c:stop]
        g_decay, g_first = g_time[0, s, c:stop], g_time[1, s, c:stop]
        for begin in range((steps - 1) // STRIDE * STRIDE, -1, -STRIDE):
            tokens = min(steps - begin, STRIDE)
            for j in range(3):
                if begin > 0:
                    scratch[j, 0, :n] = kept[s, begin // STRIDE - 1, j, c:stop]
                else:
                    scratch[j, 0, :n] = start[j, s, c:stop]
            for i in range(tokens - 1):
                for j in range(3):
                    scratch[j, i + 1, :n] = scratch[j, i, :n]
                a, b, e = scratch[0, i + 1, :n], scratch[1, i + 1, :n], scratch[2, i + 1, :n]
                k, v = key[s, begin + i, c:stop], value[s, begin + i, c:stop]
                _update_row(a, b, e, coarse, factor, k, v)
            for i in range(tokens - 1, -1, -1):
                t = begin + i
                a, b, e = scratch[0, i, :n], scratch[1, i, :n], scratch[2, i, :n]
                k, v, g = key[s, t, c:stop], value[s, t, c:stop], g_out[s, t, c:stop]
                g_k, g_v = g_key[s, t, c:stop], g_value[s, t, c:stop]
                _backward_row(
                    *(a, b, e, coarse, factor, first, k, v, g),
                    *(g_a, g_b, g_decay, g_first, g_k, g_v),
                )


def _split(kernel: Any, key: Tensor, *args: Tensor) -> None:
    """Share the blocks of channels of all sequences among the threads."""
    batch, steps, channels = key.shape
    width = max(1, min(channels, _WIDTH))
    items = batch * -(-channels // width)
    arrays = (t.numpy() for t in (key, *args))
    split_among_threads(kernel, items, steps * width, width, *arrays)


def average_forward(
    decay: Tensor, bonus: Tensor, key: Tensor, value: Tensor, start: Tensor, training: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Return averages, the last state and, in training, states that are kept for the gradient."""
    batch, steps, channels = key.shape
    kept = key.new_empty(batch, (steps - 1) // STRIDE if training else 0, 3, channels)
    out, end = torch.empty_like(key), torch.empty_like(start)
    _split(_forward, key, value, decay, bonus, start, out, end, kept)
    return out, end, kept


def average_backward(
    saved: Sequence[Tensor], g_out: Tensor, g_end: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of decay, bonus, key, value and start."""
    decay, bonus, key, value, start, kept = saved
    g_state = g_end.clone(memory_format=torch.contiguous_format)
    g_state[2] = 0.0  # exponents are bookkeeping
    g_time = key.new_zeros(2, *start.shape[1:])
    g_key, g_value = torch.empty_like(key), torch.empty_like(value)
    gradients = (g_state, g_time, g_key, g_value)
    _split(_backward, key, value, decay, bonus, start, kept, g_out.contiguous(), *gradients)
    return g_time[0].sum(0), g_time[1].sum(0), g_key, g_value, g_state


class _WKV(torch.autograd.Function):
    """The state travels as one tensor [3, batch, channels]."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Any:
        out, end, kept = average_forward(*inputs)
        ctx.save_for_backward(*inputs[:-1], kept)
        return out, end

    @staticmethod
    def backward(ctx: Any, g_out: Tensor, g_end: Tensor) -> Any:
        return *average_backward(ctx.saved_tensors, g_out, g_end), None


def wkv_numba(
    key: Tensor, value: Tensor, parameters: WKVParameters, state: WKVState | None
) -> WKVOutput:
    """Compute `wkv_reference` by compiled kernels (see `snn_estimators.ops.wkv`)."""
    out, (a, b, e) = average_stacked(_WKV.apply, key, value, parameters, state or empty_state(key))
    return WKVOutput(out, WKVState(a, b, e))

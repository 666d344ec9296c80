"""The numba twin of `snn_estimators.ops.lif.lif_reference`: float32, CPU, own backward.

Inputs are [outer, time, inner]. Both kernels walk over blocks of neurons that are neighbours in
memory and, inside a block, over time; each row of a block is one vectorised loop, in a function of
its own because the compiler gives up on loops that share a function with many arrays.

The forward pass keeps every 16th membrane and the backward recomputes the others, 16 steps at a
time, in scratch memory that stays in the cache: charging again costs less than storing and reading
back a membrane for each spike. Short scans keep nothing at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor

from snn_estimators.ops._jit import F, exp_minus, jit
from snn_estimators.ops._lif_operator import STRIDE, LIFOptions, scan_flat
from snn_estimators.ops._threads import split_among_threads
from snn_estimators.ops.lif import LIFOutput, LIFParameters
from snn_estimators.ops.surrogate import SIGMOID


@numba.njit(inline="always")
def _step(v, current, limit, tau, rest, hard):  # type: ignore[no-untyped-def]
    """Charge one membrane and reset it if it fires: return it before and after the reset."""
    h = v + (current - (v - rest)) / tau
    after = rest if hard else h - limit
    return h, after if h >= limit else h


@numba.njit(inline="always")
def _sigmoid_slope(u, alpha):  # type: ignore[no-untyped-def]
    e = exp_minus(alpha * abs(u))
    return alpha * e / ((F(1.0) + e) * (F(1.0) + e))


@numba.njit(inline="always")
def _atan_slope(u, alpha):  # type: ignore[no-untyped-def]
    z = F(np.pi / 2) * alpha * u
    return F(0.5) * alpha / (F(1.0) + z * z)


@numba.njit(inline="always")
def _charge_gradient(slope, h, limit, g_s, flow, rest, hard, through):  # type: ignore[no-untyped-def]
    """Turn the gradients of a spike and of the membrane after it into that of the charge h."""
    jump = rest - h if hard else -limit
    kept = F(0.0) if (hard and h >= limit) else flow
    return slope * (g_s + through * flow * jump) + kept


@jit
def _fire_row(fired, membrane, current, limit, neuron):  # type: ignore[no-untyped-def]
    tau, rest, hard = neuron
    for i in range(fired.size):
        h, membrane[i] = _step(membrane[i], current[i], limit[i], tau, rest, hard)
        fired[i] = F(1.0) if h >= limit[i] else F(0.0)


@jit
def _charge_row(charged, membrane, current, limit, neuron):  # type: ignore[no-untyped-def]
    tau, rest, hard = neuron
    for i in range(charged.size):
        charged[i], membrane[i] = _step(membrane[i], current[i], limit[i], tau, rest, hard)


@jit
def _sigmoid_row(g_current, flow, charged, g_s, limit, neuron, through, alpha):  # type: ignore[no-untyped-def]
    tau, rest, hard = neuron
    charging = F(1.0) / tau
    keep = F(1.0) - charging
    for i in range(charged.size):
        h = charged[i]
        slope = _sigmoid_slope(h - limit[i], alpha)
        g_h = _charge_gradient(slope, h, limit[i], g_s[i], flow[i], rest, hard, through)
        g_current[i] = g_h * charging
        flow[i] = g_h * keep


@jit
def _atan_row(g_current, flow, charged, g_s, limit, neuron, through, alpha):  # type: ignore[no-untyped-def]
    tau, rest, hard = neuron
    charging = F(1.0) / tau
    keep = F(1.0) - charging
    for i in range(charged.size):
        h = charged[i]
        slope = _atan_slope(h - limit[i], alpha)
        g_h = _charge_gradient(slope, h, limit[i], g_s[i], flow[i], rest, hard, through)
        g_current[i] = g_h * charging
        flow[i] = g_h * keep


@jit
def _limit_row(g_limit, flow, charged, g_s, limit, neuron, through, kind, alpha):  # type: ignore[no-untyped-def]
    _, rest, hard = neuron
    for i in range(charged.size):
        h = charged[i]
        u = h - limit[i]
        slope = _sigmoid_slope(u, alpha) if kind == SIGMOID else _atan_slope(u, alpha)
        jump = rest - h if hard else -limit[i]
        subtracted = flow[i] if (h >= limit[i] and not hard) else F(0.0)
        g_limit[i] -= slope * (g_s[i] + through * flow[i] * jump) + subtracted


@jit
def _forward(lo, hi, width, x, v, threshold, neuron, spikes, v_out, kept):  # type: ignore[no-untyped-def]
    steps, inner = x.shape[1:]
    blocks = (inner + width - 1) // width
    limits = np.full(width, threshold[0, 0])
    for item in range(lo, hi):
        o, start = item // blocks, item % blocks * width
        stop = min(inner, start + width)
        limit = threshold[o, start:stop] if threshold.size > 1 else limits[: stop - start]
        membrane = v_out[o, start:stop]
        membrane[:] = neuron[1]
        if v.size > 0:
            membrane[:] = v[o, start:stop]
        for t in range(steps):
            if kept.size > 0 and t > 0 and t % STRIDE == 0:
                kept[o, t // STRIDE - 1, start:stop] = membrane
            _fire_row(spikes[o, t, start:stop], membrane, x[o, t, start:stop], limit, neuron)


@jit
def _backward(  # type: ignore[no-untyped-def]
    lo, hi, width, x, v, threshold, neuron, surrogate, kept, g_spikes, g_out, g_x, g_v, g_th
):
    steps, inner = x.shape[1:]
    through, kind, alpha = surrogate
    blocks = (inner + width - 1) // width
    limits = np.full(width, threshold[0, 0])
    charge = np.empty((min(steps, STRIDE), width), np.float32)
    membranes, flows = np.empty(width, np.float32), np.empty(width, np.float32)
    for item in range(lo, hi):
        o, start = item // blocks, item % blocks * width
        stop = min(inner, start + width)
        n = stop - start
        limit = threshold[o, start:stop] if threshold.size > 1 else limits[:n]
        membrane, flow = membranes[:n], flows[:n]
        flow[:] = F(0.0)
        if g_out.size > 0:
            flow[:] = g_out[o, start:stop]
        for first in range((steps - 1) // STRIDE * STRIDE, -1, -STRIDE):
            last = min(steps, first + STRIDE)
            membrane[:] = neuron[1]
            if first > 0:
                membrane[:] = kept[o, first // STRIDE - 1, start:stop]
            elif v.size > 0:
                membrane[:] = v[o, start:stop]
            for t in range(first, last):
                _charge_row(charge[t - first, :n], membrane, x[o, t, start:stop], limit, neuron)
            for t in range(last - 1, first - 1, -1):
                charged, g_s = charge[t - first, :n], g_spikes[o, t, start:stop]
                if g_th.size > 0:
                    g_limit = g_th[o, start:stop]
                    _limit_row(g_limit, flow, charged, g_s, limit, neuron, through, kind, alpha)
                g_current = g_x[o, t, start:stop]
                if kind == SIGMOID:
                    _sigmoid_row(g_current, flow, charged, g_s, limit, neuron, through, alpha)
                else:
                    _atan_row(g_current, flow, charged, g_s, limit, neuron, through, alpha)
        if g_v.size > 0:
            g_v[o, start:stop] = flow


def _split(kernel: Any, x: Tensor, *args: Any) -> None:
    """Share the blocks of neurons of x, [outer, time, inner], among the threads."""
    outer, steps, inner = x.shape
    width = max(1, min(inner, 512 if steps <= STRIDE else 4096))
    items = outer * -(-inner // width)
    split_among_threads(kernel, items, steps * width, width, x.numpy(), *args)


def scan_forward(
    x: Tensor, start: Tensor, threshold: Tensor, options: LIFOptions, training: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Return spikes, the last membranes and, in training, those kept for the gradient."""
    outer, steps, inner = x.shape
    kept = x.new_empty(outer, (steps - 1) // STRIDE if training else 0, inner)
    spikes, v_out = torch.empty_like(x), x.new_empty(outer, inner)
    arrays = (t.numpy() for t in (spikes, v_out, kept))
    _split(_forward, x, start.numpy(), threshold.numpy(), _neuron(options), *arrays)
    return spikes, v_out, kept


def scan_backward(
    saved: Sequence[Tensor],
    g_spikes: Tensor | None,
    g_out: Tensor | None,
    options: LIFOptions,
    wants_start: bool,
    wants_threshold: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of x, start and threshold, empty ones where they are not wanted."""
    x, start, threshold, kept = saved
    _, _, detach, kind, alpha = options
    one_step = x.shape[::2]
    g_spikes = torch.zeros_like(x) if g_spikes is None else g_spikes.contiguous()
    g_out = x.new_empty(0, 0) if g_out is None else g_out.contiguous()
    g_x = torch.empty_like(x)
    g_v = x.new_empty(one_step if wants_start else (0, 0))
    g_th = x.new_zeros(one_step if wants_threshold else (0, 0))
    surrogate = (F(0.0) if detach else F(1.0), kind, F(alpha))
    arrays = (t.numpy() for t in (kept, g_spikes, g_out, g_x, g_v, g_th))
    given = (start.numpy(), threshold.numpy(), _neuron(options), surrogate)
    _split(_backward, x, *given, *arrays)
    if wants_threshold and threshold.numel() == 1:
        g_th = g_th.sum().view(1, 1)
    return g_x, g_v, g_th


def _neuron(options: LIFOptions) -> tuple:
    tau, v_reset, *_ = options
    return F(tau), F(v_reset or 0.0), v_reset is not None


class _LIF(torch.autograd.Function):
    """Absent tensors are empty ones, so that each kernel is compiled once."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, start: Tensor, threshold: Tensor, options: LIFOptions, training: bool
    ) -> Any:
        spikes, v_out, kept = scan_forward(x, start, threshold, options, training)
        ctx.save_for_backward(x, start, threshold, kept)
        ctx.options = options
        ctx.set_materialize_grads(False)
        return spikes, v_out

    @staticmethod
    def backward(ctx: Any, g_spikes: Tensor | None, g_out: Tensor | None) -> Any:
        _, wants_start, wants_threshold, *_ = ctx.needs_input_grad
        wanted = (wants_start, wants_threshold)
        g_x, g_v, g_th = scan_backward(ctx.saved_tensors, g_spikes, g_out, ctx.options, *wanted)
        return g_x, g_v if wants_start else None, g_th if wants_threshold else None, None, None


def lif_numba(x: Tensor, parameters: LIFParameters, state: Tensor | None, *, dim: int) -> LIFOutput:
    """Compute `lif_reference` by compiled kernels (see `snn_estimators.ops.lif`)."""
    return LIFOutput(*scan_flat(_LIF.apply, x, parameters, state, dim))

"""The numba twin of `snn_estimators.ops.lif.lif_reference`: float32, CPU, own backward.

Both kernels walk over blocks of neurons that fit the first-level cache and, inside a block, over
time with the neurons in the inner, vectorised loop. The backward recomputes the membranes of its
block instead of storing them: reading them back from memory would cost more than the arithmetic.

``fastmath`` is limited to the two flags under which spikes stay equal to the bit.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor

from snn_estimators.ops._threads import split_among_threads
from snn_estimators.ops.lif import LIFOutput


def _jit(kernel):  # type: ignore[no-untyped-def]
    """Compile, and keep the result on disk where there is a place to write to."""
    options = {"nogil": True, "fastmath": {"contract", "nsz"}, "error_model": "numpy"}
    try:
        return numba.njit(cache=True, **options)(kernel)
    except RuntimeError:  # numba finds no writable folder: compile anew in each process
        return numba.njit(**options)(kernel)


_SIGMOID, _ATAN = 0, 1
_F = np.float32
_LOG2_E = _F(1.4426950408889634)
_SCRATCH = 8192  # floats of membranes recomputed at a time: 32 KiB


@numba.njit(inline="always")
def _exp_minus(a):  # type: ignore[no-untyped-def]
    """Approximate exp(-a) for a >= 0 within 2e-7, in arithmetic that vectorises (np.exp does not).

    exp(-a) = 2^-n * 2^-f with n whole and f in [-1/2, 1/2]; 2^-f by its Taylor series.
    """
    y = min(a * _LOG2_E, _F(125.0))
    n = np.int32(y + _F(0.5))
    z = (_F(n) - y) * _F(0.6931471805599453)
    p = _F(1.0) + z * (
        _F(1.0)
        + z
        * (
            _F(0.5)
            + z
            * (
                _F(1 / 6)
                + z * (_F(1 / 24) + z * (_F(1 / 120) + z * (_F(1 / 720) + z * _F(1 / 5040))))
            )
        )
    )
    return p * np.int32((np.int32(127) - n) << np.int32(23)).view(np.float32)


@numba.njit(inline="always")
def _step(v, current, limit, tau, rest, hard):  # type: ignore[no-untyped-def]
    """Charge one membrane and reset it if it fires: return it before and after the reset."""
    h = v + (current - (v - rest)) / tau
    after = rest if hard else h - limit
    return h, after if h >= limit else h


@_jit
def _forward(lo, hi, x, v, threshold, tau, rest, hard, spikes, v_out):  # type: ignore[no-untyped-def]
    steps = x.shape[0]
    width = min(hi - lo, max(16, _SCRATCH // 4))
    limits = np.full(width, threshold[0])
    for start in range(lo, hi, width):
        stop = min(hi, start + width)
        n = stop - start
        membrane = v_out[start:stop]
        membrane[:] = v[start:stop]
        limit = limits[:n]
        if threshold.size > 1:
            limit = threshold[start:stop]
        for t in range(steps):
            current, fired = x[t, start:stop], spikes[t, start:stop]
            for i in range(n):
                h, membrane[i] = _step(membrane[i], current[i], limit[i], tau, rest, hard)
                fired[i] = _F(1.0) if h >= limit[i] else _F(0.0)


@_jit
def _backward(  # type: ignore[no-untyped-def]
    lo, hi, x, v, threshold, tau, rest, hard, detach, kind, alpha, g_spikes, g_out, g_x, g_v, g_th
):
    steps = x.shape[0]
    width = min(hi - lo, max(16, _SCRATCH // steps))
    charge = np.empty((steps, width), np.float32)
    limits = np.full(width, threshold[0])
    charging = _F(1.0) / tau
    keep = _F(1.0) - charging
    through = _F(0.0) if detach else _F(1.0)
    half_pi_alpha = _F(np.pi / 2) * alpha
    for start in range(lo, hi, width):
        stop = min(hi, start + width)
        n = stop - start
        limit = limits[:n]
        if threshold.size > 1:
            limit = threshold[start:stop]
        flow = g_v[start:stop]
        flow[:] = v[start:stop]
        for t in range(steps):  # membranes before the reset, as in the forward pass
            current, charged = x[t, start:stop], charge[t, :n]
            for i in range(n):
                charged[i], flow[i] = _step(flow[i], current[i], limit[i], tau, rest, hard)
        flow[:] = g_out[start:stop]
        for t in range(steps - 1, -1, -1):
            charged, g_s, g_current = charge[t, :n], g_spikes[t, start:stop], g_x[t, start:stop]
            if kind == _SIGMOID:
                for i in range(n):
                    e = _exp_minus(alpha * abs(charged[i] - limit[i]))
                    g_current[i] = alpha * e / ((_F(1.0) + e) * (_F(1.0) + e))
            else:
                for i in range(n):
                    z = half_pi_alpha * (charged[i] - limit[i])
                    g_current[i] = _F(0.5) * alpha / (_F(1.0) + z * z)
            if g_th.size > 0:
                g_limit = g_th[start:stop]
                for i in range(n):
                    jump = rest - charged[i] if hard else -limit[i]
                    subtracted = flow[i] if (charged[i] >= limit[i] and not hard) else _F(0.0)
                    g_limit[i] -= g_current[i] * (g_s[i] + through * flow[i] * jump) + subtracted
            for i in range(n):
                h = charged[i]
                jump = rest - h if hard else -limit[i]
                g_jump = g_current[i] * (g_s[i] + through * flow[i] * jump)
                g_h = g_jump + (_F(0.0) if (hard and h >= limit[i]) else flow[i])
                g_current[i] = g_h * charging
                flow[i] = g_h * keep


class _LIF(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, v: Tensor, threshold: Tensor, options: tuple) -> Any:
        tau, v_reset, *_ = options
        flat, start = x.reshape(x.shape[0], -1), v.reshape(-1)
        spikes, v_out = torch.empty_like(flat), torch.empty_like(start)
        split_among_threads(
            _forward,
            flat.shape[1],
            flat.shape[0],
            flat.numpy(),
            start.numpy(),
            threshold.reshape(-1).numpy(),
            _F(tau),
            _F(v_reset or 0.0),
            v_reset is not None,
            spikes.numpy(),
            v_out.numpy(),
        )
        ctx.save_for_backward(flat, start, threshold)
        ctx.options, ctx.shape = options, x.shape
        return spikes.view(x.shape), v_out.view(v.shape)

    @staticmethod
    def backward(ctx: Any, g_spikes: Tensor, g_out: Tensor) -> Any:
        flat, start, threshold = ctx.saved_tensors
        tau, v_reset, detach, kind, alpha = ctx.options
        g_x, g_v = torch.empty_like(flat), torch.empty_like(start)
        learned = ctx.needs_input_grad[2]
        g_th = torch.zeros_like(start) if learned else start.new_empty(0)
        split_among_threads(
            _backward,
            flat.shape[1],
            flat.shape[0],
            flat.numpy(),
            start.numpy(),
            threshold.reshape(-1).numpy(),
            _F(tau),
            _F(v_reset or 0.0),
            v_reset is not None,
            detach,
            kind,
            _F(alpha),
            g_spikes.reshape(flat.shape).numpy(),
            g_out.reshape(-1).numpy(),
            g_x.numpy(),
            g_v.numpy(),
            g_th.numpy(),
        )
        g_threshold = None
        if learned:
            g_th = g_th.sum() if threshold.numel() == 1 else g_th
            g_threshold = g_th.view(threshold.shape)
        return g_x.view(ctx.shape), g_v.view(ctx.shape[1:]), g_threshold, None


def lif_numba(
    x: Tensor,
    v: Tensor,
    *,
    dim: int,
    tau: float,
    v_threshold: float | Tensor,
    v_reset: float | None,
    detach_reset: bool,
    surrogate: str,
    alpha: float,
) -> LIFOutput:
    """Compute `lif_reference` by compiled kernels (see `snn_estimators.ops.lif`)."""
    threshold = torch.as_tensor(v_threshold, dtype=torch.float32)
    if threshold.numel() > 1:
        threshold = threshold.expand(v.shape).contiguous()
    kind = _SIGMOID if surrogate == "sigmoid" else _ATAN
    options = (tau, v_reset, detach_reset, kind, alpha)
    first = x.movedim(dim, 0).contiguous()
    spikes, v_out = _LIF.apply(first, v.contiguous(), threshold, options)
    return LIFOutput(spikes.movedim(0, dim), v_out)

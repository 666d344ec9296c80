"""Numba's LIF scan as a `torch.library` operator: what `torch.compile` sees of it.

`snn_estimators.ops._lif_numba` has the kernels; nothing here imports numba before they run.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor

from snn_estimators.ops._backends import kernels
from snn_estimators.ops.surrogate import SURROGATES

if TYPE_CHECKING:
    from snn_estimators.ops.lif import LIFParameters

STRIDE = 16  # steps from one kept membrane to the next
_NARROW = 16  # neurons side by side below which transposing costs less than short rows
_OPTIONS = "float tau, float? v_reset, bool detach_reset, int surrogate, float alpha"

LIFOptions: TypeAlias = "tuple[float, float | None, bool, int, float]"
"""Tau, v_reset, detach_reset, number of the surrogate's kernel, alpha."""


@torch.library.custom_op(
    "snn_estimators::lif",
    mutates_args=(),
    schema=f"(Tensor x, Tensor start, Tensor threshold, {_OPTIONS}, bool training)"
    " -> (Tensor, Tensor, Tensor)",
)
def _lif(x: Tensor, start: Tensor, threshold: Tensor, *options: Any) -> Any:
    *neuron, training = options
    return kernels("lif").scan_forward(x, start, threshold, tuple(neuron), training)  # type: ignore[union-attr]


@torch.library.custom_op(
    "snn_estimators::lif_backward",
    mutates_args=(),
    schema="(Tensor x, Tensor start, Tensor threshold, Tensor kept, Tensor? g_spikes, "
    f"Tensor? g_out, {_OPTIONS}, bool wants_start, bool wants_threshold)"
    " -> (Tensor, Tensor, Tensor)",
)
def _lif_backward(*given: Any) -> Any:
    saved, grads, neuron, wanted = given[:4], given[4:6], given[6:11], given[11:]
    return kernels("lif").scan_backward(saved, *grads, neuron, *wanted)  # type: ignore[union-attr]


@_lif.register_fake
def _(x: Tensor, start: Tensor, threshold: Tensor, *options: Any) -> Any:
    outer, steps, inner = x.shape
    kept = (steps - 1) // STRIDE if options[-1] else 0
    return torch.empty_like(x), x.new_empty(outer, inner), x.new_empty(outer, kept, inner)


@_lif_backward.register_fake
def _(x: Tensor, start: Tensor, threshold: Tensor, *others: Any) -> Any:
    *_, wants_start, wants_threshold = others
    g_start = x.new_empty(x.shape[::2] if wants_start else (0, 0))
    return torch.empty_like(x), g_start, x.new_empty(threshold.shape if wants_threshold else (0, 0))


def _save(ctx: Any, inputs: tuple, output: tuple) -> None:
    ctx.save_for_backward(*inputs[:3], output[2])
    ctx.options = inputs[3:-1]
    ctx.set_materialize_grads(False)


def _differentiate(ctx: Any, g_spikes: Tensor | None, g_out: Tensor | None, _: Any) -> Any:
    wanted = ctx.needs_input_grad[1:3]
    gradients = _lif_backward(*ctx.saved_tensors, g_spikes, g_out, *ctx.options, *wanted)
    g_start, g_threshold = (
        g if wants else None for g, wants in zip(gradients[1:], wanted, strict=True)
    )
    return gradients[0], g_start, g_threshold, *[None] * 6


_lif.register_autograd(_differentiate, setup_context=_save)


def scan_flat(
    scan: Callable[..., Any],
    x: Tensor,
    parameters: LIFParameters,
    state: Tensor | None,
    dim: int,
) -> tuple[Tensor, Tensor]:
    """Call `scan` with x as [outer, time, inner] and all else to match; undo that behind it."""
    tau, v_threshold, v_reset, detach_reset, surrogate, alpha = parameters
    one_step = x.shape[:dim] + x.shape[dim + 1 :]
    if dim > 0 and math.prod(x.shape[dim + 1 :]) < _NARROW:
        x, dim, back = x.movedim(dim, 0), 0, dim
    else:
        back = dim
    outer, inner = math.prod(x.shape[:dim]), math.prod(x.shape[dim + 1 :])
    flat = x.reshape(outer, x.shape[dim], inner).contiguous()
    start = x.new_empty(0, 0) if state is None else state.reshape(outer, inner).contiguous()
    threshold = torch.as_tensor(v_threshold, dtype=torch.float32)
    if threshold.numel() == 1:
        threshold = threshold.reshape(1, 1)
    else:
        threshold = threshold.expand(one_step).reshape(outer, inner).contiguous()
    training = torch.is_grad_enabled() and any(t.requires_grad for t in (flat, start, threshold))
    options = (tau, v_reset, detach_reset, SURROGATES[surrogate].kernel, alpha)
    spikes, v_out, *_ = scan(flat, start, threshold, options, training)
    return spikes.view(x.shape).movedim(dim, back), v_out.view(one_step)


def lif_operator(
    x: Tensor, parameters: LIFParameters, state: Tensor | None, *, dim: int
) -> tuple[Tensor, Tensor]:
    """Compute `snn_estimators.ops.lif` by the operator."""

    def scan(
        x: Tensor, start: Tensor, threshold: Tensor, options: LIFOptions, training: bool
    ) -> Any:
        tau, v_reset, *others = options
        numbers = (float(tau), None if v_reset is None else float(v_reset))
        return _lif(x, start, threshold, *numbers, *others, training)

    return scan_flat(scan, x, parameters, state, dim)

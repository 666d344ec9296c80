"""Numba's graded spikes as a `torch.library` operator: what `torch.compile` sees of them.

`snn_estimators.ops._graded_numba` has the kernels; nothing here imports numba before they run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor

from snn_estimators.ops._backends import kernels

if TYPE_CHECKING:
    from snn_estimators.ops.graded import GradedParameters

GradedOptions: TypeAlias = tuple[float, bool, bool]
"""Levels, whether counts may be negative, whether they are powers of two."""

_INPUTS = "Tensor x, Tensor step, Tensor gain, Tensor threshold"
_OPTIONS = "float levels, bool signed, bool powers"


@torch.library.custom_op(
    "snn_estimators::graded", mutates_args=(), schema=f"({_INPUTS}, {_OPTIONS}) -> Tensor"
)
def _graded(*given: Any) -> Any:
    return kernels("graded").emit(*given[:4], given[4:])  # type: ignore[union-attr]


@torch.library.custom_op(
    "snn_estimators::graded_pass",
    mutates_args=(),
    schema=f"(Tensor g_out, {_INPUTS}, {_OPTIONS}) -> Tensor",
)
def _graded_pass(*given: Any) -> Any:
    return kernels("graded").pass_straight(*given[:5], given[5:])  # type: ignore[union-attr]


@_graded.register_fake
def _(x: Tensor, *others: Any) -> Any:
    return torch.empty_like(x)


@_graded_pass.register_fake
def _(g_out: Tensor, x: Tensor, *others: Any) -> Any:
    return torch.empty_like(x)


def save(ctx: Any, inputs: tuple, output: Tensor) -> None:
    """Keep for `differentiate` what it needs; the options are the last of the inputs."""
    *tensors, options = inputs
    ctx.options = options
    ctx.save_for_backward(*tensors, *([output] * ctx.needs_input_grad[1]))


def differentiate(ctx: Any, g_out: Tensor, pass_straight: Callable[..., Tensor]) -> tuple:
    """Return the gradients of x, step, gain and threshold, None where they are not wanted."""
    x, step, gain, threshold, *kept = ctx.saved_tensors
    passed = pass_straight(g_out, x, step, gain, threshold, ctx.options)
    signed = ctx.options[1]
    _, for_step, for_gain, for_threshold, *_ = ctx.needs_input_grad
    g_step = g_gain = g_threshold = None
    if for_gain:
        g_gain = (passed * x).sum_to_size(gain.shape)
    if for_threshold:
        signs = (x * gain).sign() if signed else 1.0
        g_threshold = -(passed * signs).sum_to_size(threshold.shape)
    if for_step:
        above = (x * gain).abs() if signed else x * gain
        signs = (x * gain).sign() if signed else 1.0
        inside = passed * signs * (above - threshold)
        g_step = ((g_out * kept[0] - inside) / step).sum_to_size(step.shape)
    return passed * gain, g_step, g_gain, g_threshold


def _save(ctx: Any, inputs: tuple, output: Tensor) -> None:
    save(ctx, (*inputs[:4], inputs[4:]), output)


def _differentiate(ctx: Any, g_out: Tensor) -> Any:
    def pass_straight(*given: Any) -> Tensor:
        *tensors, options = given
        return _graded_pass(*tensors, *options)

    return *differentiate(ctx, g_out, pass_straight), None, None, None


_graded.register_autograd(_differentiate, setup_context=_save)


def emit_rows(emit: Callable[..., Tensor], x: Tensor, parameters: GradedParameters) -> Tensor:
    """Call `emit` with x as rows, all numbers as tensors, and the options."""
    levels, step, gain, threshold, signed, rounding = parameters
    features = x.shape[-1] if x.dim() else 1
    flat = x.reshape(-1, features).contiguous()
    numbers = [torch.as_tensor(value, dtype=torch.float32) for value in (step, gain, threshold)]
    options = (float(levels), signed, rounding == "power-of-two")
    return emit(flat, *numbers, options).view(x.shape)


def graded_operator(x: Tensor, parameters: GradedParameters) -> Tensor:
    """Compute `snn_estimators.ops.graded` by the operator."""

    def emit(*given: Any) -> Tensor:
        *tensors, options = given
        return _graded(*tensors, *options)

    return emit_rows(emit, x, parameters)

"""Numba's WKV average as a `torch.library` operator: what `torch.compile` sees of it.

`snn_estimators.ops._wkv_numba` has the kernels; nothing here imports numba before they run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from snn_estimators.ops._backends import kernels

if TYPE_CHECKING:
    from snn_estimators.ops.wkv import WKVParameters, WKVState

STRIDE = 16  # tokens from one kept state to the next
_INPUTS = "Tensor decay, Tensor bonus, Tensor key, Tensor value, Tensor start"


@torch.library.custom_op(
    "snn_estimators::wkv",
    mutates_args=(),
    schema=f"({_INPUTS}, bool training) -> (Tensor, Tensor, Tensor)",
)
def _wkv(*inputs: Any) -> Any:
    return kernels("wkv").average_forward(*inputs)  # type: ignore[union-attr]


@torch.library.custom_op(
    "snn_estimators::wkv_backward",
    mutates_args=(),
    schema=f"({_INPUTS}, Tensor kept, Tensor g_out, Tensor g_end)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
)
def _wkv_backward(*inputs: Any) -> Any:
    return kernels("wkv").average_backward(inputs[:6], *inputs[6:])  # type: ignore[union-attr]


@_wkv.register_fake
def _(
    decay: Tensor, bonus: Tensor, key: Tensor, value: Tensor, start: Tensor, training: bool
) -> Any:
    batch, steps, channels = key.shape
    kept = key.new_empty(batch, (steps - 1) // STRIDE if training else 0, 3, channels)
    return torch.empty_like(key), torch.empty_like(start), kept


@_wkv_backward.register_fake
def _(*inputs: Any) -> Any:
    return tuple(torch.empty_like(x) for x in inputs[:5])


def _save(ctx: Any, inputs: tuple, output: tuple) -> None:
    ctx.save_for_backward(*inputs[:5], output[2])


def _differentiate(ctx: Any, g_out: Tensor, g_end: Tensor, _: Any) -> Any:
    return *_wkv_backward(*ctx.saved_tensors, g_out, g_end), None


_wkv.register_autograd(_differentiate, setup_context=_save)


def average_stacked(
    average: Callable[..., Any],
    key: Tensor,
    value: Tensor,
    parameters: WKVParameters,
    state: WKVState,
) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
    """Call `average` with the decay itself and the state as one tensor, [3, batch, channels]."""
    time_decay, time_first = parameters
    inputs = (time_decay, time_first, key, value, *state)
    training = torch.is_grad_enabled() and any(x.requires_grad for x in inputs)
    per_channel = (time_decay.exp(), time_first.contiguous())
    per_token = (key.contiguous(), value.contiguous())
    out, end, *_ = average(*per_channel, *per_token, torch.stack(state), training)
    return out, (end[0], end[1], end[2].detach())


def wkv_operator(
    key: Tensor, value: Tensor, parameters: WKVParameters, state: WKVState
) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
    """Compute `snn_estimators.ops.wkv` by the operator."""
    return average_stacked(_wkv, key, value, parameters, state)

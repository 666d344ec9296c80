"""Recurrences as `torch.export` and ONNX have them: one loop, whatever the length."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

_UNROLLED = 16  # steps that are written out, as a loop would cost more


def is_short(steps: int | torch.SymInt) -> bool:
    """Return whether so many steps are known, and few enough to write them out."""
    return isinstance(steps, int) and steps <= _UNROLLED


def loop(
    step: Callable[..., Any], state: tuple[Tensor, ...], inputs: tuple[Tensor, ...]
) -> tuple[tuple[Tensor, ...], Tensor]:
    """Call ``step(state, inputs) -> (state, output)`` along the leading axis of the inputs.

    Returns the last state and the outputs, stacked.
    """
    from torch._higher_order_ops.scan import scan  # slow to import, and only for exports

    distinct = tuple(x.clone() for x in state)  # tensors that are one would become one state
    after, outputs = scan(step, distinct, inputs)
    return tuple(after), outputs

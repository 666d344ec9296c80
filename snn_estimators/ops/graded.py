r"""Graded spikes: whole multiples of a step, at once and without memory.

With a gain :math:`g`, a threshold :math:`\theta`, a step :math:`u` and :math:`D` levels a neuron
emits :math:`c\,u` with

.. math:: c = \mathrm{clip}(\mathrm{round}(z),\; 0,\; D),
          \qquad z = (g x - \theta) / u + \tfrac12,

or, signed, the same of the size of :math:`g x` with its sign. A count of one begins at the
threshold, the next a step later.

The gradient passes straight through the rounding, from half a step below the threshold to the top:
with :math:`m = [0 \le z \le D + \tfrac12]` and :math:`s = \mathrm{sign}(g x)` for signed neurons,
else 1,

.. math::
    \frac{\partial c u}{\partial x} = m\,g, \qquad
    \frac{\partial c u}{\partial g} = m\,x, \qquad
    \frac{\partial c u}{\partial \theta} = -m\,s, \qquad
    \frac{\partial c u}{\partial u} = s\,\bigl(c - m\,(z - \tfrac12)\bigr),

the last as in Esser et al., "Learned step size quantization", ICLR 2020.

One function, two bodies: `graded_reference` is the definition, in plain PyTorch on any device and
dtype; a numba twin runs float32 on the CPU. What the two emit is equal to the bit.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from snn_estimators._validation import check_choices
from snn_estimators.ops._backends import Twin, choose_backend
from snn_estimators.ops._graded_operator import graded_operator

ROUNDINGS = ("nearest", "power-of-two", "none")


class GradedParameters(NamedTuple):
    """What a layer of graded neurons is like; tensors broadcast to the input, and are trained."""

    levels: int = 16
    """The greatest count."""
    step: float | Tensor = 0.25
    """What a count of one is worth; one number."""
    gain: float | Tensor = 1.0
    """Factor on the input: one number, or one for each entry of the last axis."""
    threshold: float | Tensor = 0.5
    """Where a count of one begins, as the gain's shape."""
    signed: bool = False
    """Emit negative counts, too."""
    rounding: str = "nearest"
    """"nearest" whole number, the nearest "power-of-two", or "none": real numbers up to `levels`
    steps, with the gradient up to there."""


_DEFAULTS = GradedParameters()
_TWIN = Twin("graded", graded_operator)


def graded(x: Tensor, parameters: GradedParameters = _DEFAULTS, *, backend: str = "auto") -> Tensor:
    """Emit whole multiples of a step.

    Parameters
    ----------
    x : Tensor, shape [..., features]
    parameters : GradedParameters, optional
    backend : {"auto", "numba", "reference"}, default="auto"
        "auto" takes numba for float32 on the CPU, the reference everywhere else.

    Returns
    -------
    Tensor, shape of `x`

    Raises
    ------
    ValueError
        For an unknown rounding or backend.

    Examples
    --------
    >>> import torch
    >>> graded(torch.tensor([-1.0, 0.4, 0.8, 1.6, 9.0]), GradedParameters(levels=4, step=0.5))
    tensor([0.0000, 0.0000, 0.5000, 1.5000, 2.0000])
    """
    check_choices({"rounding": ROUNDINGS}, rounding=parameters.rounding)
    trained = (parameters.step, parameters.gain, parameters.threshold)
    body = choose_backend(
        backend,
        [x, *(value for value in trained if isinstance(value, Tensor))],
        {"reference": graded_reference},
        twin=_TWIN,
        lacks=None if parameters.rounding != "none" else "rounding='none'",
    )
    emitted: Tensor = body(x, parameters)
    return emitted


def graded_reference(x: Tensor, parameters: GradedParameters = _DEFAULTS) -> Tensor:
    """Emit counts times the step in plain PyTorch: the definition (see `graded`)."""
    levels, step, gain, threshold, signed, rounding = parameters
    x = x * gain
    z = (x.abs() if signed else x).sub(threshold).div(step).add(0.5)
    counts = z.clamp(0, levels) if rounding == "none" else _Round.apply(z, levels, rounding)
    emitted = counts * step
    return emitted * x.sign() if signed else emitted


class _Round(torch.autograd.Function):
    """Round and clip to 0..D; the gradient passes straight through from 0 to D + 1/2."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, levels: int, rounding: str) -> Tensor:
        ctx.save_for_backward(z)
        ctx.levels = levels
        rounded = z.round() if rounding == "nearest" else _nearest_power(z, levels)
        return rounded.clamp_(0, levels)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (z,) = ctx.saved_tensors
        return grad * ((z >= 0) & (z <= ctx.levels + 0.5)), None, None


def _nearest_power(z: Tensor, levels: int) -> Tensor:
    """Round to 0, 1, 2, 4, ...: counts of k from 1.5 k / 2 to 1.5 k, of 1 from 1/2."""
    counts = (z >= 0.5).to(z.dtype)
    for power in range(int(levels).bit_length()):
        counts = counts + (z >= 1.5 * 2**power) * 2.0**power
    return counts

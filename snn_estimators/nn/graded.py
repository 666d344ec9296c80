r"""Neurons that emit counts: graded spikes, the same without rounding, and quantised activations.

With a trained gain :math:`g`, a step :math:`u` and :math:`D` levels a graded neuron emits
:math:`c\,u` with

.. math:: c = \mathrm{clip}\bigl(\mathrm{round}((g x - 1/2)/u + 1/2),\; 0,\; D\bigr),

at once and without memory: one event that carries a count, or as many binary spikes one after
another. The step folds into the weights behind, so hardware adds a row of weights `c` times and
multiplies nothing. Signed neurons do so with the size of :math:`g x`, and give its sign.

Kin: the integers of I-LIF (Luo et al., "Integer-valued training and spike-driven inference spiking
neural network", ECCV 2024), elastic bi-spiking (Xing et al., "SpikeLM", ICML 2024), Loihi 2.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from snn_estimators._validation import check_flags, check_sizes, is_float
from snn_estimators.nn.neurons import NEURONS, Neuron, NeuronOptions, UpdateCost


class _Round(torch.autograd.Function):
    """Round and clip to 0..D; the gradient passes straight through from 0 to D + 1/2."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, levels: int, rounded: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.save_for_backward(z)
        ctx.levels = levels
        return rounded(z).clamp_(0, levels)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (z,) = ctx.saved_tensors
        return grad * ((z >= 0) & (z <= ctx.levels + 0.5)), None, None


class Graded(Neuron):
    """Emit whole multiples of a step, up to so many levels; see the module's formula.

    Parameters
    ----------
    levels : int, default=16
        The greatest count.
    step : float, default=0.25
        What a count of one is worth.
    signed : bool, default=False
        Emit negative counts, too.

    Raises
    ------
    ValueError
        For levels that are no whole number from 1 on, or a step that is not positive.

    Examples
    --------
    >>> import torch
    >>> Graded(levels=4, step=0.5)(torch.tensor([-1.0, 0.4, 0.8, 1.6, 9.0])).tolist()
    [0.0, 0.0, 0.5, 1.5, 2.0]
    """

    stateful = False

    def __init__(self, levels: int = 16, step: float = 0.25, signed: bool = False) -> None:
        super().__init__()
        check_sizes(levels=levels, most=2**24)  # up to which single precision counts
        check_flags(signed=signed)
        if not is_float(step) or not 0 < step < float("inf"):
            raise ValueError(f"step={step!r} must be a positive number: what one count is worth.")
        self.levels, self.unit, self.signed = int(levels), float(step), signed
        self.gain = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        """Turn currents into counts times the step, of the same shape."""
        x = x * self.gain
        z = (x.abs() if self.signed else x).sub(0.5).div(self.unit).add(0.5)
        emitted = self._whole(z) * self.unit
        return emitted * x.sign() if self.signed else emitted

    def _whole(self, z: Tensor) -> Tensor:
        return _Round.apply(z, int(self.levels or 0), torch.round)

    def update_cost(self) -> UpdateCost:
        """Count a comparison; the energy model adds those with further levels."""
        return UpdateCost(accumulates=1)

    def extra_repr(self) -> str:
        """Show what distinguishes one neuron from another."""
        return f"levels={self.levels}, step={self.unit:g}, signed={self.signed}"


class PowerOfTwo(Graded):
    """Counts of 1, 2, 4, ... alone: a shifted weight is added once for each event.

    A current is rounded to the nearest of them, so counts of k from 1.5 k/2 to 1.5 k. The energy
    model adds once for each unit of a count unless the profile has ``graded="shift-add"``.

    Parameters
    ----------
    levels, step, signed
        See `Graded`; the greatest count is the largest power of two up to `levels`.

    Examples
    --------
    >>> import torch
    >>> PowerOfTwo(levels=4, step=0.5)(torch.tensor([0.4, 0.8, 1.3, 1.6, 9.0])).tolist()
    [0.0, 0.5, 1.0, 1.0, 2.0]
    """

    def __init__(self, levels: int = 16, step: float = 0.25, signed: bool = False) -> None:
        super().__init__(levels, step, signed)
        self.levels = 1 << (int(levels).bit_length() - 1)

    def _whole(self, z: Tensor) -> Tensor:
        return _Round.apply(z, int(self.levels or 0), _nearest_power)


def _nearest_power(z: Tensor) -> Tensor:
    exponent = (z.clamp_min(0.5) / 1.5).log2().floor() + 1
    return torch.where(z >= 0.5, exponent.clamp_min(0).exp2(), 0.0)


class Quantized(Graded):
    """The same numbers as the quantised activation of a conventional network (QANN).

    They are no events: every synapse multiplies a small integer, zeros included.

    Parameters
    ----------
    levels, step, signed
        See `Graded`.
    """

    emits_spikes = False


class Relu(Graded):
    """The same without rounding: the sparse real twin of graded neurons.

    Parameters
    ----------
    levels, step, signed
        See `Graded`; real numbers from 0 to `levels` times `step`.

    Examples
    --------
    >>> import torch
    >>> Relu(levels=4, step=0.5)(torch.tensor([-1.0, 0.5, 1.0, 9.0])).tolist()
    [0.0, 0.25, 0.75, 2.0]
    """

    def __init__(self, levels: int = 16, step: float = 0.25, signed: bool = False) -> None:
        super().__init__(levels, step, signed)
        self.ceiling, self.levels = levels, None

    def _whole(self, z: Tensor) -> Tensor:
        return z.clamp(0, self.ceiling)


def _registered(neuron: type[Graded]) -> Any:
    def factory(options: NeuronOptions) -> Neuron:
        return neuron(options.levels, options.step, options.signed)

    return factory


NEURONS.update(
    {
        "graded": _registered(Graded),
        "power-of-two": _registered(PowerOfTwo),
        "quantized": _registered(Quantized),
        "relu": _registered(Relu),
    }
)

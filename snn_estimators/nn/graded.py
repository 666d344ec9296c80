"""Neurons that emit counts: graded spikes, the same without rounding, and quantised activations.

They emit whole multiples of a step, by the formula of `snn_estimators.ops.graded`, at once and
without memory: one event that carries a count, or as many binary spikes one after another. The step
folds into the weights behind, so hardware adds a row of weights as often as the count says and
multiplies nothing; gain and threshold are part of a comparison.

One step serves a whole layer, as attention adds up counts of all channels. Nothing is lost by that:
in front of a linear map a step of each channel's own is a gain, a threshold and a column of weights
of its own.

Kin: the integers of I-LIF (Luo et al., "Integer-valued training and spike-driven inference spiking
neural network", ECCV 2024), elastic bi-spiking (Xing et al., "SpikeLM", ICML 2024), Loihi 2.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from snn_estimators._validation import check_flags, check_sizes, is_float
from snn_estimators.nn.neurons import NEURONS, Neuron, NeuronOptions, UpdateCost
from snn_estimators.ops import GradedParameters, graded


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
    learnable_gain, learnable_threshold, learnable_step : bool, default=True, False and False
        Train the factor on the currents, from 1; the current at which a count of one begins, from
        1/2; the step, by its logarithm.
    features : int, optional
        Give each of so many neurons a gain and a threshold of its own instead of the layer's.

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
    ROUNDING: ClassVar[str] = "nearest"

    def __init__(
        self,
        levels: int = 16,
        step: float = 0.25,
        signed: bool = False,
        learnable_gain: bool = True,
        learnable_threshold: bool = False,
        learnable_step: bool = False,
        features: int | None = None,
    ) -> None:
        super().__init__()
        check_sizes(levels=levels, most=2**24)  # up to which single precision counts
        if features is not None:
            check_sizes(features=features)
        check_flags(
            signed=signed,
            learnable_gain=learnable_gain,
            learnable_threshold=learnable_threshold,
            learnable_step=learnable_step,
        )
        if not is_float(step) or not 0 < step < float("inf"):
            raise ValueError(f"step={step!r} must be a positive number: what one count is worth.")
        self.levels, self.ceiling, self.signed = int(levels), int(levels), signed
        self.step = float(step)
        shape = () if features is None else (features,)
        gain = torch.ones(shape)
        if learnable_gain:
            self.gain = nn.Parameter(gain)
        else:
            self.register_buffer("gain", gain)
        self.threshold: float | nn.Parameter = 0.5
        if learnable_threshold:
            self.threshold = nn.Parameter(torch.full(shape, 0.5))
        self.log_step: nn.Parameter | None = None
        if learnable_step:
            self.log_step = nn.Parameter(torch.tensor(math.log(step)))

    @property
    def unit(self) -> float:  # type: ignore[override]
        """What a count of one is worth."""
        return self.step if self.log_step is None else float(self.log_step.detach().exp())

    def forward(self, x: Tensor) -> Tensor:
        """Turn currents into counts times the step, of the same shape."""
        step = self.step if self.log_step is None else self.log_step.exp()
        parameters = GradedParameters(
            self.ceiling, step, self.gain, self.threshold, self.signed, self.ROUNDING
        )
        return graded(x, parameters)

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
    levels, **options
        See `Graded`; the greatest count is the largest power of two up to `levels`.

    Examples
    --------
    >>> import torch
    >>> PowerOfTwo(levels=4, step=0.5)(torch.tensor([0.4, 0.8, 1.3, 1.6, 9.0])).tolist()
    [0.0, 0.5, 1.0, 1.0, 2.0]
    """

    ROUNDING = "power-of-two"

    def __init__(self, levels: int = 16, step: float = 0.25, **options: Any) -> None:
        super().__init__(levels, step, **options)
        self.levels = self.ceiling = 1 << (int(levels).bit_length() - 1)


class Quantized(Graded):
    """The same numbers as the quantised activation of a conventional network (QANN).

    They are no events: every synapse multiplies a small integer, zeros included.

    Parameters
    ----------
    **options
        See `Graded`.
    """

    emits_spikes = False


class Relu(Graded):
    """The same without rounding: the sparse real twin of graded neurons.

    Parameters
    ----------
    levels, step, **options
        See `Graded`; real numbers from 0 to `levels` times `step`.

    Examples
    --------
    >>> import torch
    >>> Relu(levels=4, step=0.5)(torch.tensor([-1.0, 0.5, 1.0, 9.0])).tolist()
    [0.0, 0.25, 0.75, 2.0]
    """

    ROUNDING = "none"

    def __init__(self, levels: int = 16, step: float = 0.25, **options: Any) -> None:
        super().__init__(levels, step, **options)
        self.levels = None


def _registered(neuron: type[Graded]) -> Any:
    def factory(options: NeuronOptions) -> Neuron:
        return neuron(
            options.levels,
            options.step,
            signed=options.signed,
            learnable_gain=options.learnable_gain,
            learnable_threshold=options.learnable_threshold,
            learnable_step=options.learnable_step,
            features=options.features if options.per_channel else None,
        )

    return factory


NEURONS.update(
    {
        "graded": _registered(Graded),
        "power-of-two": _registered(PowerOfTwo),
        "quantized": _registered(Quantized),
        "relu": _registered(Relu),
    }
)

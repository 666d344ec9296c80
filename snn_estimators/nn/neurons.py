"""Spiking neurons as modules.

A neuron maps currents to what it emits, and knows what an update of it costs. `register_neuron`
adds one to the choices of a decoder.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from snn_estimators._validation import check_flags, check_numbers, check_optional_numbers, register
from snn_estimators.ops import LIFOutput, LIFParameters, lif
from snn_estimators.ops.surrogate import resolve_surrogate

NeuronFactory = Callable[[int], nn.Module]
"""Makes a layer of so many neurons; ``nn.Identity`` leaves real numbers."""


class UpdateCost(NamedTuple):
    """Operations of neurons outside of their synapses."""

    accumulates: float = 0
    """At each update: one neuron, one timestep."""
    macs: float = 0
    """At each update."""
    per_spike: float = 0
    """Further accumulates for each spike."""


class Neuron(nn.Module):
    """Base of neurons: maps currents, shape [time, ...], to what they emit, of the same shape.

    A call starts from rest; subclasses define `forward` and `update_cost`. Those that emit more
    than zeros and ones say so by the class or instance attributes below; the energy model holds
    them to it.
    """

    levels: int | None = 1
    """The greatest count that is emitted; None for real numbers."""
    unit: float = 1.0
    """What a count of one is worth; a constant factor, folded into the weights behind."""
    signed: bool = False
    """Whether counts may be negative."""
    emits_spikes: bool = True
    """Whether counts are spikes; if not, quantised activations, multiplied at every synapse."""
    stateful: bool = True
    """Whether there is a membrane to keep from one update to the next."""

    def forward(self, x: Tensor) -> Any:
        """Turn currents into spikes, both of shape [time, ...]."""
        raise NotImplementedError

    def emitted(self, output: Any) -> Tensor:
        """Return what the neurons emit, out of what `forward` returns."""
        return output

    def update_cost(self) -> UpdateCost:
        """Count the operations of an update, for the energy model."""
        raise NotImplementedError(
            f"{type(self).__name__} must define update_cost for its energy to be counted."
        )


@dataclass(frozen=True, kw_only=True)
class NeuronOptions:
    """What a module lets its user choose about neurons; see `LIF` and `snn_estimators.nn.Graded`.

    Raises
    ------
    ValueError
        For a value that is no number.
    """

    tau: float = 2.0
    v_threshold: float = 1.0
    v_reset: float | None = 0.0
    detach_reset: bool = True
    surrogate: str = "sigmoid"
    surrogate_alpha: float | None = None
    levels: int = 16
    step: float = 0.25
    signed: bool = False
    learnable_threshold: bool = False
    learnable_gain: bool = True
    learnable_step: bool = False
    per_channel: bool = False
    features: int | None = None
    """How many neurons the layer has: what `per_channel` gives numbers of their own."""

    def __post_init__(self) -> None:
        check_numbers(tau=self.tau, v_threshold=self.v_threshold)
        check_flags(
            detach_reset=self.detach_reset,
            signed=self.signed,
            learnable_threshold=self.learnable_threshold,
            learnable_gain=self.learnable_gain,
            learnable_step=self.learnable_step,
            per_channel=self.per_channel,
        )
        check_optional_numbers(v_reset=self.v_reset, surrogate_alpha=self.surrogate_alpha)


class LIF(Neuron):
    """Leaky integrate-and-fire neurons along the leading axis, from rest at every call.

    Parameters
    ----------
    tau : float, default=2.0
        Membrane time constant in steps.
    v_threshold : float, default=1.0
    v_reset : float or None, default=0.0
        None resets softly, by subtraction of the threshold.
    detach_reset : bool, default=True
    surrogate : str, default="sigmoid"
        A name in `snn_estimators.ops.SURROGATES`.
    surrogate_alpha : float, optional
    learnable_threshold : bool, default=False
        Train the threshold: one number, shared by the layer.
    features : int, optional
        Train one for each of so many neurons instead.

    Notes
    -----
    With `tau` 2 and threshold 1 a constant input of 1 charges the membrane to 1 - 2^-t: below the
    threshold, until float32 rounds up at step 25. A layer fed with zeros and ones alone is
    therefore silent at any usual number of timesteps; lower the threshold or `tau` (or learn the
    threshold) to wake it.

    Examples
    --------
    >>> import torch
    >>> LIF()(torch.ones(8, 1)).sum().item(), LIF(v_threshold=0.8)(torch.ones(8, 1)).sum().item()
    (0.0, 2.0)
    """

    def __init__(
        self,
        tau: float = 2.0,
        v_threshold: float = 1.0,
        v_reset: float | None = 0.0,
        detach_reset: bool = True,
        surrogate: str = "sigmoid",
        surrogate_alpha: float | None = None,
        learnable_threshold: bool = False,
        features: int | None = None,
    ) -> None:
        super().__init__()
        if not tau >= 1:
            raise ValueError(f"tau={tau} must be at least 1: a membrane cannot leak more than all.")
        if not v_threshold > (v_reset or 0.0):
            raise ValueError(
                f"v_threshold={v_threshold} must lie above the resting membrane {v_reset or 0.0}, "
                "or neurons fire without input."
            )
        self.tau = tau
        self.stateful = tau != 1
        self.v_reset = v_reset
        self.detach_reset = detach_reset
        self.surrogate = surrogate
        self.surrogate_alpha = resolve_surrogate(surrogate, surrogate_alpha)
        self.v_threshold: float | nn.Parameter = v_threshold
        if learnable_threshold:
            shape = () if features is None else (features,)
            self.v_threshold = nn.Parameter(torch.full(shape, float(v_threshold)))

    def forward(self, x: Tensor) -> Tensor:
        """Turn currents into spikes, both of shape [time, ...]."""
        return self.scan(x, None, dim=0).spikes

    def scan(self, x: Tensor, v: Tensor | None, dim: int) -> LIFOutput:
        """Integrate along an axis, from the membrane `v` or from rest; see `snn_estimators.ops`."""
        parameters = LIFParameters(
            self.tau,
            self.v_threshold,
            self.v_reset,
            self.detach_reset,
            self.surrogate,
            self.surrogate_alpha,
        )
        return lif(x, parameters, v, dim=dim)

    def update_cost(self) -> UpdateCost:
        r"""Count leak, input, threshold and reset.

        Measured from `v_reset` in units of :math:`1/\tau`, threshold alike, a step is
        :math:`u \leftarrow u - u/\tau + x`, a comparison and a reset. The comparison is an
        accumulate; the rest a MAC, or two accumulates where :math:`\tau` is a power of two (a
        shift), one where it is 2 (half of u is a shift), or nothing for :math:`\tau = 1`, which
        has no memory. A soft reset adds one accumulate a spike.
        """
        per_spike = int(self.v_reset is None)
        if self.tau == 1:
            return UpdateCost(1, 0, per_spike)
        if math.log2(self.tau).is_integer():
            return UpdateCost(1 + (1 if self.tau == 2 else 2), 0, per_spike)
        return UpdateCost(1, 1, per_spike)

    def extra_repr(self) -> str:
        """Show what distinguishes one neuron from another."""
        threshold = self.v_threshold
        shown = threshold.mean().item() if isinstance(threshold, Tensor) else threshold
        return f"tau={self.tau}, v_threshold={shown:g}, surrogate={self.surrogate}"


class TokenLIF(LIF):
    """Neurons whose time is the sequence: the membrane lasts from token to token.

    Parameters
    ----------
    **options
        See `LIF`.

    Examples
    --------
    >>> import torch
    >>> neurons, x = TokenLIF(v_threshold=0.8), torch.ones(1, 8, 1)
    >>> start, v = neurons(x[:, :5])
    >>> rest, v = neurons(x[:, 5:], v)
    >>> torch.cat([start, rest], 1).ravel()
    tensor([0., 0., 1., 0., 0., 1., 0., 0.])
    """

    def forward(self, x: Tensor, v: Tensor | None = None) -> LIFOutput:  # type: ignore[override]
        """Turn currents [batch, sequence, features] into spikes; `v` is [batch, features]."""
        return self.scan(x, v, dim=1)

    def emitted(self, output: LIFOutput) -> Tensor:
        """Return the spikes of a call's output, beside which there are membranes."""
        return output.spikes


def lif_options(options: NeuronOptions) -> dict[str, Any]:
    """Return what of the options `LIF` takes, as its keyword arguments."""
    names = ("tau", "v_threshold", "v_reset", "detach_reset", "surrogate", "surrogate_alpha")
    return {
        **{name: getattr(options, name) for name in names},
        "learnable_threshold": options.learnable_threshold,
        "features": options.features if options.per_channel else None,
    }


def _lif(options: NeuronOptions) -> LIF:
    return LIF(**lif_options(options))


NEURONS: dict[str, Callable[[NeuronOptions], Neuron]] = {"lif": _lif}
"""Neurons by name, each made from `NeuronOptions`; `register_neuron` adds to them."""


def register_neuron(
    name: str, factory: Callable[[NeuronOptions], Neuron], *, replace: bool = False
) -> None:
    """Make a neuron known as a choice of ``neuron``.

    Parameters
    ----------
    name : str
    factory : callable
        Makes a `Neuron` from `NeuronOptions`, a separate one for each layer.
    replace : bool, default=False
        Allow a name that is taken.

    Raises
    ------
    ValueError
        If the name is taken.

    Notes
    -----
    As with any registry, other processes know what was registered when they import the module in
    which it was: do it where that is imported, not in the script that starts them.

    Examples
    --------
    >>> from snn_estimators.nn import SpikingDecoder
    >>> from snn_estimators.ops import spike
    >>> class Memoryless(Neuron):
    ...     def forward(self, x):
    ...         return spike(x - 0.5)
    ...     def update_cost(self):
    ...         return UpdateCost(accumulates=1)  # a comparison
    >>> register_neuron("memoryless", lambda options: Memoryless())
    >>> decoder = SpikingDecoder(30, neuron="memoryless")
    >>> del NEURONS["memoryless"]
    """
    register(NEURONS, "neuron", name, factory, replace=replace)


def build_neuron(name: str, options: NeuronOptions, features: int) -> Neuron:
    """Make a layer of registered neurons."""
    neuron = NEURONS[name](replace(options, features=features))
    if not isinstance(neuron, Neuron):
        raise TypeError(
            f"neuron={name!r} makes {type(neuron).__name__}, which is no Neuron: make it a "
            "subclass of snn_estimators.nn.Neuron, so that its energy can be counted."
        )
    return neuron

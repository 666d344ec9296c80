"""The readout: spikes over the timesteps to logits."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from snn_estimators._validation import register
from snn_estimators.nn.neurons import NeuronFactory


class Readout(NamedTuple):
    """How the timesteps become one vector."""

    read: Callable[[Tensor], Tensor]
    """Maps [time, ..., width] to [..., width], or to a multiple of the width."""
    steps: slice = slice(None)
    """The timesteps that it reads; the others cost no operation."""
    additive: bool = True
    """Whether it adds spikes up, with constant weights: hardware then never needs the sum."""


def _average(x: Tensor) -> Tensor:
    return x.mean(0)


def _accumulate(x: Tensor) -> Tensor:
    return x.sum(0)


def _concatenate(x: Tensor) -> Tensor:
    return x.movedim(0, -2).flatten(-2)


def _final(x: Tensor) -> Tensor:
    return x[-1]


READOUTS = {
    "average": Readout(_average),
    "accumulate": Readout(_accumulate),
    "concatenate": Readout(_concatenate),
    "final": Readout(_final, steps=slice(-1, None)),
}
"""Readouts by name; `register_readout` adds to them."""


def register_readout(
    name: str,
    read: Callable[[Tensor], Tensor],
    *,
    steps: slice = slice(None),
    additive: bool = True,
    replace: bool = False,
) -> None:
    """Make a reading over the timesteps known as a choice of ``readout``.

    Parameters
    ----------
    name : str
    read : callable
        Maps [time, ..., width] to [..., width], or to a multiple of the width.
    steps : slice, default=slice(None)
        The timesteps that it reads: spikes at others are not counted.
    additive : bool, default=True
        Whether it is a sum with constant weights. If not, the energy model counts the output map by
        the values behind the readout instead of the spikes in front of it.
    replace : bool, default=False

    Examples
    --------
    >>> from snn_estimators.nn import SpikingDecoder
    >>> register_readout("any", lambda x: x.amax(0), additive=False)
    >>> decoder = SpikingDecoder(30, readout="any")
    >>> del READOUTS["any"]
    """
    register(READOUTS, "readout", name, Readout(read, steps, additive), replace=replace)


class Head(nn.Module):
    """Spikes to logits: neurons, a reading over the timesteps, one linear map.

    With `read_first` real numbers are read and the neurons fire once on the result.
    """

    def __init__(
        self,
        width: int,
        vocab_size: int,
        timesteps: int,
        readout: Readout,
        neuron: NeuronFactory,
        read_first: bool = False,
    ) -> None:
        super().__init__()
        self.readout, self.read_first = readout, read_first
        multiple = readout.read(torch.zeros(timesteps, 1, device="cpu")).shape[-1]
        features = width * multiple
        self.neuron = neuron(features if read_first else width)
        self.linear = nn.Linear(features, vocab_size)

    def forward(self, x: Tensor) -> Tensor:
        """Map [time, batch, sequence, width] to [batch, sequence, vocab_size]."""
        return self.linear(self.features(x))

    def features(self, x: Tensor) -> Tensor:
        """Give what the linear map reads, [batch, sequence, its inputs]."""
        if self.read_first:
            return self.neuron(self.readout.read(x)[None])[0]
        return self.readout.read(self.neuron(x))

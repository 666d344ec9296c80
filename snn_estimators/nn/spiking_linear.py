"""Linear maps with neurons: behind them, or in front of them.

`SpikingLinear` maps, normalises and fires, as the SpikeDecoder's layers do. `PreSpikingLinear`
fires first, so that its weights see spikes alone, as SpikeGPT's do with spikes everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from snn_estimators.nn.neurons import Neuron, NeuronFactory, TokenLIF
from snn_estimators.nn.norms import NormFactory

MaybeNeuron = Callable[[int], Neuron | None]
"""Makes so many neurons along the tokens (others start from rest at each); None: real numbers."""


class SpikingLinear(nn.Module):
    """Linear map, normalisation, neurons.

    With a `token_shift` it adds a bias-free linear map of the inputs of so many previous tokens.
    """

    def __init__(
        self,
        features: int,
        out_features: int,
        norm: NormFactory,
        neuron: NeuronFactory,
        token_shift: int = 0,
    ) -> None:
        super().__init__()
        self.linear = nn.Linear(features, out_features)
        self.shift = (
            nn.Linear(token_shift * features, out_features, bias=False) if token_shift else None
        )
        self.norm = norm(out_features)
        self.neuron = neuron(out_features)

    def forward(self, x: Tensor, previous: Tensor | None, valid: Tensor | None) -> Tensor:
        """Map [time, batch, sequence, features] to [time, batch, sequence, out_features]."""
        current = self.linear(x)
        if self.shift is not None:
            current = current + self.shift(previous)
        return self.neuron(self.norm(current, valid))


def previous_tokens(x: Tensor, count: int, past: Tensor | None) -> tuple[Tensor, Tensor]:
    """Give each token its predecessors' values beside one another, the nearest first.

    Maps x, shape [time, batch, sequence, width], to [time, batch, sequence, count * width]. `past`,
    shape [time, batch, count, width], holds the tokens before the first (silence if None); the one
    that is returned is for the call that continues the sequence.

    Examples
    --------
    >>> import torch
    >>> x = torch.tensor([1.0, 2.0, 3.0]).view(1, 1, 3, 1)
    >>> previous_tokens(x, 2, None)[0].squeeze()
    tensor([[0., 0.],
            [1., 0.],
            [2., 1.]])
    """
    if past is None:
        past = x.new_zeros(*x.shape[:-2], count, x.shape[-1])
    length, longer = x.shape[-2], torch.cat([past, x], dim=-2)
    shifted = [longer[..., count - lag : count - lag + length, :] for lag in range(1, count + 1)]
    return torch.cat(shifted, dim=-1), longer[..., length:, :]


class PreSpikingLinear(nn.Module):
    """A linear map without bias, and neurons in front of it if it is to see spikes alone.

    An input that is not `normalized` yet is normalised for the neurons.
    """

    def __init__(
        self, features: int, out_features: int, neuron: MaybeNeuron, normalized: bool = False
    ) -> None:
        super().__init__()
        self.neuron = neuron(features)
        normalizes = self.neuron is not None and not normalized
        self.norm = nn.LayerNorm(features) if normalizes else nn.Identity()
        self.linear = nn.Linear(features, out_features, bias=False)

    def forward(self, x: Tensor, v: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Map [batch, sequence, features]; `v` is the neurons' membrane, None without any."""
        x, v = self.fire(x, v)
        return self.linear(x), v

    def fire(self, x: Tensor, v: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Give what the linear map sees, and the neurons' membrane."""
        if self.neuron is None:
            return x, v
        if isinstance(self.neuron, TokenLIF):
            return self.neuron(self.norm(x), v)
        return self.neuron(self.norm(x)[None])[0], None

    def initialize_orthogonal(self, scale: float = 1.0) -> None:
        """Fill an orthogonal matrix, stronger where it widens; all zeros at scale 0."""
        rows, columns = self.linear.weight.shape
        gain = scale * math.sqrt(max(1.0, rows / columns))
        nn.init.orthogonal_(self.linear.weight, gain)

    def initialize_normal(self, deviation: float) -> None:
        """Draw weights that give inputs of deviation 1 outputs of the given deviation."""
        nn.init.normal_(self.linear.weight, std=deviation / math.sqrt(self.linear.in_features))

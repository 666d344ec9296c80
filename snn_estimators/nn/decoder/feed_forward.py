"""The position-wise half of a block: spiking, and the non-spiking twin's."""

from __future__ import annotations

from torch import Tensor, nn

from snn_estimators.nn.neurons import NeuronFactory
from snn_estimators.nn.norms import NormFactory
from snn_estimators.nn.spiking_linear import SpikingLinear, previous_tokens


class SpikingFeedForward(nn.Module):
    """Two linear maps, each normalised, with neurons in front of each.

    With `spikes_out` the neurons are behind instead of in front, for inputs that are spikes already
    and residuals that must add up spikes. With a `token_shift` the first map also sees the spikes
    of so many previous tokens, as RWKV's channel mixing sees one.
    """

    def __init__(
        self,
        width: int,
        hidden: int,
        norm: NormFactory,
        neuron: NeuronFactory,
        dropout: float = 0.0,
        spikes_out: bool = False,
        token_shift: int = 0,
    ) -> None:
        super().__init__()
        self.input_neuron = nn.Identity() if spikes_out else neuron(width)
        self.token_shift = token_shift
        self.expand = SpikingLinear(width, hidden, norm, neuron, token_shift)
        self.contract = SpikingLinear(hidden, width, norm, nn.Identity)
        self.dropout = nn.Dropout(dropout)
        self.output_neuron = neuron(width) if spikes_out else nn.Identity()

    def forward(
        self, x: Tensor, past: Tensor | None = None, valid: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Map x, shape [time, batch, sequence, width]; `past` is the token shift's state."""
        x, previous = self.input_neuron(x), None
        if self.token_shift:
            previous, past = previous_tokens(x, self.token_shift, past)
        hidden = self.expand(x, previous, valid)
        return self.output_neuron(self.dropout(self.contract(hidden, None, valid))), past


class FeedForward(nn.Module):
    """Two linear maps with a GELU between them (tanh form, as in GPT-2).

    With a `token_shift` the first map also sees the inputs of so many previous tokens.
    """

    def __init__(self, width: int, hidden: int, dropout: float = 0.0, token_shift: int = 0) -> None:
        super().__init__()
        self.token_shift = token_shift
        self.expand = nn.Linear(width, hidden)
        self.shift = nn.Linear(token_shift * width, hidden, bias=False) if token_shift else None
        self.activation = nn.GELU(approximate="tanh")
        self.contract = nn.Linear(hidden, width)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Tensor, past: Tensor | None = None, valid: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Map x, shape [time, batch, sequence, width]; `past` is the token shift's state."""
        hidden = self.expand(x)
        if self.shift is not None:
            previous, past = previous_tokens(x, self.token_shift, past)
            hidden = hidden + self.shift(previous)
        return self.dropout(self.contract(self.activation(hidden))), past

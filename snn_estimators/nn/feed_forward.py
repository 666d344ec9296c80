"""The position-wise half of a block: spiking, and the non-spiking twin's."""

from __future__ import annotations

from torch import Tensor, nn

from snn_estimators.nn.attention import Neuron, Norm, Projection


class SpikingFeedForward(nn.Module):
    """Two linear maps, each normalised, with neurons in front of each.

    Parameters
    ----------
    width, hidden : int
    norm, neuron : callable
    dropout : float
    spikes_out : bool, default=False
        Have the neurons behind instead of in front, for inputs that are spikes already and
        residuals that must add up spikes.
    """

    def __init__(
        self,
        width: int,
        hidden: int,
        norm: Norm,
        neuron: Neuron,
        dropout: float = 0.0,
        spikes_out: bool = False,
    ) -> None:
        super().__init__()
        self.input_neuron = nn.Identity() if spikes_out else neuron()
        self.expand = Projection(width, hidden, norm, neuron)
        self.contract = Projection(hidden, width, norm, nn.Identity)
        self.dropout = nn.Dropout(dropout)
        self.output_neuron = neuron() if spikes_out else nn.Identity()

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """Map [time, batch, sequence, width] to the same shape."""
        hidden = self.expand(self.input_neuron(x), None, valid)
        return self.output_neuron(self.dropout(self.contract(hidden, None, valid)))


class FeedForward(nn.Module):
    """Two linear maps with a GELU between them (tanh form, as in GPT-2).

    Parameters
    ----------
    width, hidden : int
    dropout : float
    """

    def __init__(self, width: int, hidden: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.expand = nn.Linear(width, hidden)
        self.activation = nn.GELU(approximate="tanh")
        self.contract = nn.Linear(hidden, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """Map [..., width] to the same shape."""
        return self.dropout(self.contract(self.activation(self.expand(x))))

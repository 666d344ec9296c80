"""The readout: spikes over the timesteps to logits."""

from __future__ import annotations

from torch import Tensor, nn

from snn_estimators.nn.attention import Neuron


class Head(nn.Module):
    """Spikes to logits: neurons, a reading over the timesteps, one linear map.

    Parameters
    ----------
    width, vocab_size, timesteps : int
    readout : {"average", "accumulate", "concatenate", "final"}
    neuron : callable
        ``nn.Identity`` makes the head real-valued.
    read_first : bool, default=False
        Read real numbers over the timesteps and let the neurons fire once on the result.
    """

    def __init__(
        self,
        width: int,
        vocab_size: int,
        timesteps: int,
        readout: str,
        neuron: Neuron,
        read_first: bool = False,
    ) -> None:
        super().__init__()
        self.readout, self.read_first = readout, read_first
        self.neuron = neuron()
        self.linear = nn.Linear(width * (timesteps if readout == "concatenate" else 1), vocab_size)

    def forward(self, x: Tensor) -> Tensor:
        """Map [time, batch, sequence, width] to [batch, sequence, vocab_size]."""
        return self.linear(self.features(x))

    def features(self, x: Tensor) -> Tensor:
        """Give what the linear map reads, [batch, sequence, its inputs]."""
        if self.read_first:
            return self.neuron(self.read(x)[None])[0]
        return self.read(self.neuron(x))

    def read(self, x: Tensor) -> Tensor:
        """Reduce [time, ...] over the timesteps."""
        match self.readout:
            case "average":
                return x.mean(0)
            case "accumulate":
                return x.sum(0)
            case "concatenate":
                return x.movedim(0, -2).flatten(-2)
            case _:
                return x[-1]

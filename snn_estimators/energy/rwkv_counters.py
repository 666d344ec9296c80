"""Counters of RWKV's and SpikeGPT's own parts."""

from __future__ import annotations

from typing import Any

from torch import nn

from snn_estimators.energy.counters import Counter, Operations, Tokens
from snn_estimators.nn.spike_gpt import SpikeGPTBlock

TIME_MIXING_MACS = 3 + 6 + 1
"""A channel and token: three token shifts, the WKV recurrence, a gate."""
CHANNEL_MIXING_MACS = 2 + 4 + 1
"""A channel and token: two token shifts, the squares of a layer four times as wide, a gate."""


class MixingCounter(Counter):
    r"""What a mixing multiplies value by value, outside its linear maps; all of it is real.

    A MAC a channel and token for each

    * token shift, :math:`x_{t-1} + \mu (x_t - x_{t-1})`: three in a time mixing, two in a channel
      mixing;
    * product with a gate :math:`\sigma(r)`: one in either;
    * square of a rectified key: four, as a channel mixing is four times as wide inside;
    * product in the WKV recurrence: six. With its running maximum as `snn_estimators.ops.wkv`
      computes it, the past and the present, each times its factor, are summed in the numerator (two
      MACs) and the denominator (one, the present being the factor itself), once for the output and
      once for the state. It is a recurrence in training and generation alike, so both forms are
      one.

    Not counted, as they are not in softmax attention and GELU: exponentials (four of a recurrence,
    one of a gate), divisions (one of either), the sums and comparisons that prepare them, and the
    differences of a token shift.
    """

    kind = "mixing"

    def __init__(self, mixing: nn.Module, macs: int) -> None:
        super().__init__(mixing=mixing)
        self.macs = macs

    def observe(self, which: str, args: tuple[Any, ...], output: Any, tokens: Tokens) -> None:
        """Observe one call."""
        self.stream.binary = False
        self.twin_macs += self.macs * tokens.number(args[0])

    def synaptic(self, attention: str) -> Operations:
        """Count products value by value."""
        return Operations(macs=self.twin_macs)


class ResidualCounter(Counter):
    """What a block adds to the residual stream: an accumulate a spike, or one a real value.

    These sums have no weights, so they are no synaptic operations: they stand beside the updates of
    the neurons that fire into the stream. Sums of real values, as in the non-spiking twin, are
    counted in the same place.
    """

    kind = "residual"

    def __init__(self, block: SpikeGPTBlock) -> None:
        super().__init__(
            mixing=block.mixing_neuron or block.mixing,
            channel_mixing=block.channel_neuron or block.channel_mixing,
        )

    def observe(self, which: str, args: tuple[Any, ...], output: Any, tokens: Tokens) -> None:
        """Observe one call of what comes last before a sum; its output has a state beside it."""
        added, _ = output
        self.stream.add(added, tokens)

    def neuron(self) -> Operations:
        """Count sums into the residual stream."""
        return Operations(self.stream.spikes if self.stream.binary else self.stream.size)

"""Counters of RWKV's and SpikeGPT's own parts."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import nn

from snn_estimators.energy.counters import Counter, Sources
from snn_estimators.energy.operations import Accesses, Bank, Operations
from snn_estimators.energy.profiles import EnergyProfile
from snn_estimators.energy.streams import Tokens


class Mixing(NamedTuple):
    """What a mixing does for each channel and token, outside of its linear maps."""

    macs: int
    functions: int
    accesses: int


TIME_MIXING = Mixing(macs=3 + 6 + 1, functions=5 + 2, accesses=2 + 3 + 3 + 3 + 2 + 3)
"""Three token shifts, the WKV recurrence, a gate."""
CHANNEL_MIXING = Mixing(macs=2 + 4 + 1, functions=2, accesses=2 + 2 + 8 + 3)
"""Two token shifts, the squares of a layer four times as wide, a gate."""


class MixingCounter(Counter):
    r"""What a mixing computes value by value, outside its linear maps; all of it is real.

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

    Functions: four exponentials and a division of the recurrence; an exponential and a division of
    a gate. Memory: the previous token read and written, a share read a token shift; the state of
    three numbers read and written, with two constants; two reads and a write a gate, a read and a
    write a square.

    Not counted, as they are not in softmax attention and GELU: the sums and comparisons that
    prepare exponentials, and the differences of a token shift.
    """

    kind = "mixing"

    def __init__(self, module: nn.Module, mixing: Mixing) -> None:
        super().__init__(mixing=module)
        self.mixing, self.width, self.values = mixing, 1, 0

    def observe(
        self, which: str, args: tuple[Any, ...], output: Any, tokens: Tokens, sources: Sources
    ) -> None:
        """Observe one call."""
        values, self.width = tokens.number(args[0]), args[0].shape[-1]
        self.values += values
        self.stream.add(args[0], tokens, ())
        self.twin.add(
            Operations(macs=self.mixing.macs * values),
            Operations(functions=self.mixing.functions * values),
            {Bank("value", 3 * self.width): self.mixing.accesses * values},
        )

    def synaptic(self, attention: str, profile: EnergyProfile) -> Operations:
        """Count products value by value."""
        return Operations(macs=self.mixing.macs * self.values)

    def effective_macs(self) -> float:
        """Count all of them."""
        return self.mixing.macs * self.values

    def functions(self) -> float:
        """Count exponentials and divisions."""
        return self.mixing.functions * self.values

    def accesses(self, profile: EnergyProfile) -> Accesses:
        """Count the state, the previous token, constants, gates and squares."""
        return {Bank("value", 3 * self.width): self.mixing.accesses * self.values}

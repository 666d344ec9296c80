"""Values that pass a point of a network: which are tokens', which are spikes, and how many."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from snn_estimators.nn.neurons import Neuron


class Tokens:
    """Which positions of a batch are tokens, and which are padding.

    Parameters
    ----------
    ids : LongTensor, shape [batch, sequence]
        Negative ids are padding, on the right.
    """

    def __init__(self, ids: Tensor) -> None:
        self.valid = ids >= 0
        self.lengths = self.valid.sum(1).tolist()
        self.count = sum(self.lengths)
        self.padded = self.count < ids.numel()

    def silence(self, x: Tensor) -> Tensor:
        """Set padded positions of x, shape [..., batch, sequence, features], to zero.

        Raises
        ------
        ValueError
            If the batch is padded and x has another shape.
        """
        if not self.padded:
            return x
        if x.shape[-3:-1] != self.valid.shape:
            raise ValueError(
                f"a layer sees values of shape {tuple(x.shape)}, where padding cannot be "
                f"distinguished from tokens of shape {tuple(self.valid.shape)}; measure it in "
                "batches without padding."
            )
        return x.masked_fill(~self.valid[..., None], 0)

    def number(self, x: Tensor) -> int:
        """Count the values of x that belong to tokens."""
        return x.numel() if not self.padded else x.numel() // self.valid.numel() * self.count


class Code(NamedTuple):
    """What neurons declare about what they emit: whole multiples of a unit."""

    levels: int = 1
    unit: float = 1.0
    signed: bool = False
    spikes: bool = True

    @classmethod
    def of(cls, neuron: Neuron) -> Code | None:
        """Return what a neuron declares; None if it emits real numbers."""
        if neuron.levels is None:
            return None
        return cls(neuron.levels, neuron.unit, neuron.signed, neuron.emits_spikes)

    @property
    def bits(self) -> int:
        """How many bits a count takes, with its sign."""
        return self.levels.bit_length() + self.signed

    def counts(self, x: Tensor) -> Tensor | None:
        """Return x in units, as whole numbers; None if it is nothing of the kind."""
        low, high = x.aminmax()
        least = -self.levels * self.unit if self.signed else 0
        if not (low >= least and high <= self.levels * self.unit):
            return None
        if self == BINARY:
            return x if torch.equal(x * x, x) else None
        counts = (x / self.unit).round_()
        return counts if torch.equal(counts * self.unit, x) else None


BINARY = Code()


def set_bits(counts: Tensor) -> Tensor:
    """Count the bits that are set in the size of each whole number."""
    rest, found = counts.abs().to(torch.int32), torch.zeros_like(counts)
    while bool(rest.any()):
        found += rest & 1
        rest >>= 1
    return found


def exact_sum(x: Tensor) -> int:
    """Add whole numbers up exactly: float32 is exact along one axis, but not for a batch."""
    return int(x.sum(-1, dtype=torch.float32).sum(dtype=torch.float64))


class Tally(NamedTuple):
    """Sums over a stream's counts, in units of the neurons that emit it."""

    total: int = 0
    """Sizes of the counts."""
    events: int = 0
    """Counts that are not zero."""
    set_bits: int = 0
    """Bits that are set in the sizes."""
    saturated: int = 0
    """Counts of the greatest size."""
    rows: int = 0
    """Inputs of a token that are not silent at all timesteps."""

    @classmethod
    def of(cls, counts: Tensor, code: Code) -> Tally:
        """Count whole numbers of shape [(time,) batch, sequence, features]."""
        over_time = counts.dim() > 3
        if code == BINARY:
            spikes = exact_sum(counts)
            rows = exact_sum(counts.amax(0)) if over_time else spikes
            return cls(spikes, spikes, spikes, spikes, rows)
        sizes, fired = counts.abs(), (counts != 0).to(counts.dtype)
        events = exact_sum(fired)
        return cls(
            exact_sum(sizes),
            events,
            exact_sum(set_bits(counts)),
            exact_sum((sizes == code.levels).to(counts.dtype)),
            exact_sum(fired.amax(0)) if over_time else events,
        )

    def plus(self, other: Tally) -> Tally:
        """Add the sums of another part of the stream."""
        return Tally(*(a + b for a, b in zip(self, other, strict=True)))


class Stream:
    """Values that passed a point of the network, and the counts if all are whole.

    Whether they are is decided in the end, over all calls, so that no split into batches changes
    the result.
    """

    def __init__(self) -> None:
        self.size = self.nonzero = self.rows = 0
        self.timesteps = 1
        self._tallies: dict[Code, Tally] | None = None

    def add(self, x: Tensor, tokens: Tokens, codes: Sequence[Code] = (BINARY,)) -> None:
        """Add x, shape [..., batch, sequence, features], which is in the first code that fits."""
        self.size += tokens.number(x)
        self.timesteps = len(x) if x.dim() > 3 else 1
        tallies = dict.fromkeys(codes, Tally()) if self._tallies is None else self._tallies
        self._tallies = {}
        x = tokens.silence(x) if tallies or tokens.padded else x
        for code, tally in tallies.items():
            if code in codes and (counts := code.counts(x)) is not None:
                self._tallies[code] = tally.plus(Tally.of(counts, code))
        used = x.count_nonzero(0) if x.dim() > 3 else x
        self.nonzero += int(x.count_nonzero())
        self.rows += int(used.count_nonzero())  # inputs that are not zero at all timesteps

    @property
    def code(self) -> Code | None:
        """The code of all values; None if some were real."""
        return next(iter(self._tallies or ()), None)

    @property
    def tally(self) -> Tally:
        """The sums over counts, in the code."""
        return (self._tallies or {}).get(self.code or BINARY, Tally())


def spike_rates_of(streams: Sequence[Stream]) -> tuple[float, float, float]:
    """Return three shares of what could have been emitted: spikes, their mean count, events.

    Spikes count as often as their counts say, in `levels` slots each. Not a number if some values
    were real.
    """
    size = sum(stream.size for stream in streams)
    if not size or any(stream.code is None for stream in streams):
        return math.nan, math.nan, math.nan
    slots = sum(stream.size * stream.code.levels for stream in streams if stream.code)
    count = sum(stream.tally.total for stream in streams)
    return count / slots, count / size, sum(stream.tally.events for stream in streams) / size

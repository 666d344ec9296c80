"""What is counted: operations, and accesses of memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import NamedTuple


@dataclass(frozen=True)
class Operations:
    """Numbers of operations; they add up, and multiply by a number."""

    accumulates: float = 0.0
    """Additions, comparisons included."""
    macs: float = 0.0
    """Multiply-accumulates."""
    functions: float = 0.0
    """Exponentials, divisions and roots."""
    shift_adds: float = 0.0
    """Accumulates of a shifted weight."""
    products: float = 0.0
    """Multiply-accumulates of integers, one of them small, ..."""
    bit_products: float = 0.0
    """... and the pairs of bits of their two factors, all together."""

    def __add__(self, other: Operations) -> Operations:
        return Operations(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def __mul__(self, factor: float) -> Operations:
        return Operations(*(getattr(self, f.name) * factor for f in fields(self)))


class Bank(NamedTuple):
    """A memory that is accessed word by word."""

    role: str
    """"weight"; "accumulator" of a sum; "value", any other number; "bit", a word of one bit."""
    words: int
    """How many it holds."""


WORD_BITS = 32
"""Bits of every word that is no weight and no bit."""

Accesses = Mapping[Bank, float]
"""How many words of each memory are read or written."""

EVENTS = Bank("value", 1000)
"""The queue that spikes wait in."""


@dataclass
class Cost:
    """Everything that a layer does, over all tokens that were seen."""

    synaptic: Operations = field(default_factory=Operations)
    """Products with weights and of attention."""
    other: Operations = field(default_factory=Operations)
    """Normalisation, neurons, biases, residual sums, functions."""
    accesses: Counter[Bank] = field(default_factory=Counter)

    def add(
        self,
        synaptic: Operations | None = None,
        other: Operations | None = None,
        accesses: Accesses | None = None,
    ) -> None:
        """Add operations and accesses."""
        self.synaptic += synaptic or Operations()
        self.other += other or Operations()
        for bank, number in (accesses or {}).items():
            self.accesses[bank] += number  # type: ignore[assignment]

    @property
    def weight_reads(self) -> float:
        """Weights that are read."""
        return weight_reads(self.accesses)


def weight_reads(accesses: Accesses) -> float:
    """Count the weights among all words that are accessed."""
    return sum(number for bank, number in accesses.items() if bank.role == "weight")


def added(*accesses: Accesses) -> dict[Bank, float]:
    """Add accesses up, memory by memory."""
    total: dict[Bank, float] = {}
    for one in accesses:
        for bank, number in one.items():
            total[bank] = total.get(bank, 0.0) + number
    return total


def real_linear(rows: float, inputs: int, outputs: int) -> dict[Bank, float]:
    """Give the accesses of so many real inputs times their weights, one matrix for all."""
    return {
        Bank("weight", inputs * outputs): rows * outputs,
        Bank("accumulator", outputs): 2 * rows * outputs,
        Bank("value", inputs): rows,
    }

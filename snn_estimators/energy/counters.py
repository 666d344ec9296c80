"""Counters: one watches one layer and knows how its operations are counted.

A counter sees every call of its layer with the `Tokens` of that call. Whether the layer's input is
binary is decided in the end, over all calls, so that no split into batches changes the result.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from snn_estimators.nn.head import Head
from snn_estimators.nn.neurons import Neuron


class Operations(NamedTuple):
    """Numbers of accumulates and of multiply-accumulates."""

    accumulates: float = 0.0
    macs: float = 0.0


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


@dataclass
class Stream:
    """Values that passed a point of the network, and the spikes among them if all are binary."""

    size: int = 0
    spikes: int = 0
    binary: bool = True

    def add(self, x: Tensor, tokens: Tokens) -> None:
        """Add x, shape [..., batch, sequence, features]."""
        self.size += tokens.number(x)
        if not self.binary:
            return
        x = tokens.silence(x)
        self.binary = is_binary(x)
        if self.binary:  # a float32 sum is exact along one axis, but not for a whole batch
            self.spikes += int(x.sum(-1, dtype=torch.float32).sum(dtype=torch.int64))

    @property
    def rate(self) -> float:
        """Share of spikes; not a number if some values were no spikes."""
        return self.spikes / self.size if self.binary and self.size else math.nan


def is_binary(x: Tensor) -> bool:
    """Return whether every value is exactly 0 or 1, as in silence."""
    low, high = x.aminmax()
    return bool(low >= 0) and bool(high <= 1) and torch.equal(x * x, x)


class Counter:
    """Base of all counters; on its own it only watches the spikes that a layer emits.

    Parameters
    ----------
    **watched : nn.Module
        Modules to watch, each under the name that `observe` gets to know it by.
    """

    kind = "encoding"

    def __init__(self, **watched: nn.Module) -> None:
        self.watched = watched
        self.stream = Stream()
        self.twin_macs = 0.0

    def observe(self, which: str, args: tuple[Any, ...], output: Any, tokens: Tokens) -> None:
        """Observe one call of a watched module."""
        self.stream.add(output, tokens)

    def synaptic(self, attention: str) -> Operations:
        """Count synaptic operations, attention in the "recurrent" or "parallel" form."""
        return Operations()

    def normalization(self) -> Operations:
        """Count normalisation."""
        return Operations()

    def neuron(self) -> Operations:
        """Count neuron updates."""
        return Operations()


class LinearCounter(Counter):
    """Spikes times fan-out, or a MAC a synapse. Biases are not synapses.

    `in_twin` is whether the non-spiking twin has such a layer.
    """

    def __init__(self, linear: nn.Linear, kind: str = "linear", in_twin: bool = True) -> None:
        super().__init__(linear=linear)
        self.linear, self.kind, self.in_twin = linear, kind, in_twin

    def observe(self, which: str, args: tuple[Any, ...], output: Any, tokens: Tokens) -> None:
        """Observe one call."""
        self.stream.add(args[0], tokens)
        self.twin_macs += self.in_twin * tokens.count * self.linear.weight.numel()

    def synaptic(self, attention: str) -> Operations:
        """Count synaptic operations."""
        fan_out = self.linear.out_features
        if self.stream.binary:
            return Operations(accumulates=self.stream.spikes * fan_out)
        return Operations(macs=self.stream.size * fan_out)


class HeadCounter(Counter):
    """The last linear map, booked by the spikes in front of the readout.

    Sums over the timesteps commute with the map, so hardware adds a row of weights for each spike
    as it comes and never sees the sum. Other readouts, and real numbers, are read first.
    """

    kind = "head"

    def __init__(self, head: Head) -> None:
        super().__init__(head=head, neuron=head.neuron, linear=head.linear)
        self.head = head
        self.read = Stream()

    def observe(self, which: str, args: tuple[Any, ...], output: Any, tokens: Tokens) -> None:
        """Observe one call of the head or a part of it."""
        match which:
            case "neuron":
                steps = slice(None) if self.head.read_first else self.head.readout.steps
                self.stream.add(output[steps], tokens)
            case "linear":
                self.read.add(args[0], tokens)
            case _:
                width = args[0].shape[-1]
                self.twin_macs += tokens.count * width * self.head.linear.out_features

    def synaptic(self, attention: str) -> Operations:
        """Count synaptic operations."""
        fan_out = self.head.linear.out_features
        spikes_pass = self.head.readout.additive or self.head.read_first
        seen = self.stream if spikes_pass else self.read
        if seen.binary:
            return Operations(accumulates=seen.spikes * fan_out)
        return Operations(macs=self.read.size * fan_out)


class DecisionCounter(LinearCounter):
    """A classifier's linear map: it sees a document once, pooled over its tokens.

    A mean of spikes is real and multiplied; the features of the last token may still be spikes. The
    twin pays for the same map.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__(linear, "head")

    def observe(self, which: str, args: tuple[Any, ...], output: Any, tokens: Tokens) -> None:
        """Observe one call, on features of shape [documents, features]."""
        pooled = args[0][None]
        documents = Tokens(torch.zeros(pooled.shape[:2]))  # each as if it were a token
        super().observe(which, (pooled,), output, documents)


class NeuronCounter(Counter):
    """Updates of neurons, each at the price that the neuron itself declares.

    Neurons along the tokens are updated once a token, at the price of a timestep's.
    """

    kind = "neuron"

    def __init__(self, neuron: Neuron) -> None:
        super().__init__(neuron=neuron)
        self.watched_neuron = neuron

    def observe(self, which: str, args: tuple[Any, ...], output: Any, tokens: Tokens) -> None:
        """Observe one call."""
        self.stream.add(self.watched_neuron.emitted(output), tokens)

    def neuron(self) -> Operations:
        """Count neuron updates."""
        cost, updates = self.watched_neuron.update_cost(), self.stream.size
        accumulates = cost.accumulates * updates + cost.per_spike * self.stream.spikes
        return Operations(accumulates, cost.macs * updates)


class LayerNormCounter(Counter):
    """Layer normalisation: a value's mean, deviation, square, scaling and affine map.

    Two accumulates (sum; difference from the mean) and two MACs (square; division by the deviation)
    a value, a third MAC for the trained scale and shift; a root a token is not counted.
    """

    kind = "norm"

    def __init__(self, norm: nn.LayerNorm) -> None:
        super().__init__(norm=norm)
        self.affine = norm.elementwise_affine
        self.seen = 0

    def observe(self, which: str, args: tuple[Any, ...], output: Any, tokens: Tokens) -> None:
        """Observe one call."""
        self.seen += tokens.number(output)
        self.stream.binary = False

    def normalization(self) -> Operations:
        """Count normalisation."""
        return Operations(2 * self.seen, (2 + self.affine) * self.seen)


class FoldedNormCounter(Counter):
    """Batch and power normalisation: free, as in inference they fold into the weights before them.

    Parameters
    ----------
    norm : nn.Module
    """

    kind = "norm"

    def observe(self, which: str, args: tuple[Any, ...], output: Any, tokens: Tokens) -> None:
        """Observe one call."""
        self.stream.binary = False

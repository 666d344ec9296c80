"""Counters: one watches one layer and knows how its operations and accesses are counted.

A counter sees every call of its layer with the `Tokens` of that call and the codes that its inputs
may be in (`Streams`). What is counted in the end depends on the profile's options.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from weakref import ref

import torch
from torch import Tensor, nn

from snn_estimators.energy.operations import (
    EVENTS,
    Accesses,
    Bank,
    Cost,
    Operations,
    added,
    real_linear,
)
from snn_estimators.energy.profiles import EnergyProfile
from snn_estimators.energy.streams import BINARY, Code, Stream, Tally, Tokens
from snn_estimators.nn.decoder.head import Head


class Sources:
    """Who emitted a tensor: what one call of a network has seen so far.

    Parameters
    ----------
    codes : iterable of Code
        All that the network's neurons declare.
    """

    def __init__(self, codes: Iterable[Code] = ()) -> None:
        finest_first = sorted({*codes} - {BINARY}, key=lambda code: code.unit)
        self._possible = (*finest_first, BINARY)
        self._seen: dict[int, tuple[ref[Tensor], Code | None]] = {}

    def emits(self, x: Tensor, code: Code | None) -> None:
        """Remember what x was emitted in."""
        self._seen[id(x)] = ref(x), code

    def codes_of(self, x: Tensor) -> tuple[Code, ...]:
        """Return what x may be in: what it was emitted in, or else all, the dearest first.

        A tensor that was made of others, such as the spikes of previous tokens side by side, is
        not known. The finest unit makes the greatest counts, so no doubt makes a layer cheaper.
        """
        known, code = self._seen.get(id(x), (lambda: None, None))
        if known() is not x:
            return self._possible
        return () if code is None else (code,)

    def emitted_in(self, x: Tensor) -> tuple[Code, ...]:
        """Return what neurons emitted x in; nothing if they did not: its zeros are numbers."""
        known, _ = self._seen.get(id(x), (lambda: None, None))
        return self.codes_of(x) if known() is x else ()


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
        self.streams = [self.stream]
        """What the table reports rates of."""
        self.twin = Cost()
        """What the same layer of the non-spiking twin does."""

    def observe(
        self, which: str, args: tuple[Any, ...], output: Any, tokens: Tokens, sources: Sources
    ) -> None:
        """Observe one call of a watched module."""
        self.stream.add(output, tokens)
        sources.emits(output, self.stream.code)

    def synaptic(self, attention: str, profile: EnergyProfile) -> Operations:
        """Count synaptic operations, attention in the "recurrent" or "parallel" form."""
        return Operations()

    def effective_macs(self) -> float:
        """Count the multiply-accumulates among them whose input is not zero."""
        return 0.0

    def normalization(self) -> Operations:
        """Count normalisation, without its functions."""
        return Operations()

    def neuron(self) -> Operations:
        """Count neuron updates, residual sums and biases."""
        return Operations()

    def functions(self) -> float:
        """Count exponentials, divisions and roots."""
        return 0.0

    def accesses(self, profile: EnergyProfile) -> Accesses:
        """Count reads and writes of memory, as a token at a time is computed."""
        return {}


def integer_products(number: float, bits: int, other_bits: int) -> Operations:
    """Count products of integers of so many bits."""
    return Operations(products=number, bit_products=number * bits * other_bits)


def spike_operations(
    tally: Tally, size: int, code: Code, fan_out: int, how: EnergyProfile
) -> Operations:
    """Count what spikes, or quantised activations, do at `fan_out` synapses each."""
    if not code.spikes or (how.graded == "multiply" and code.levels > 1):
        inputs = size if not code.spikes and not how.skip_zeros else tally.events
        return integer_products(inputs * fan_out, code.bits, how.weight_bits)
    if how.graded == "shift-add" and code.levels > 1:
        return Operations(shift_adds=tally.set_bits * fan_out)
    return Operations(accumulates=tally.total * fan_out)


class LinearCounter(Counter):
    """Counts times fan-out, or a MAC a synapse.

    Parameters
    ----------
    linear : nn.Linear
    kind : str, default="linear"
    in_twin : bool, default=True
        Whether the non-spiking twin has such a layer.
    twin_features : int, optional
        Its inputs there, if they are fewer.
    bias_folds : bool, default=False
        Whether the bias is a constant of the norm behind: read, but no operation.
    twin_bias_folds : bool, default=False
        Whether the twin's is.
    source : nn.Linear, optional
        A map before it that sees the same spikes, as they were emitted.
    twin_functions : int, default=0
        Functions of the twin's activation in front of the map, for each input.
    """

    def __init__(
        self,
        linear: nn.Linear,
        kind: str = "linear",
        in_twin: bool = True,
        twin_features: int | None = None,
        bias_folds: bool = False,
        twin_bias_folds: bool = False,
        source: nn.Linear | None = None,
        twin_functions: int = 0,
    ) -> None:
        watched = {"linear": linear} if source is None else {"source": source, "linear": linear}
        super().__init__(**watched)
        self.linear, self.kind, self.in_twin = linear, kind, in_twin
        self.twin_features = linear.in_features if twin_features is None else twin_features
        self.bias_folds, self.twin_bias_folds = bias_folds, twin_bias_folds
        self.twin_functions = twin_functions
        self._source: Stream | None = None if source is None else Stream()

    def observe(
        self, which: str, args: tuple[Any, ...], output: Any, tokens: Tokens, sources: Sources
    ) -> None:
        """Observe one call."""
        codes = sources.codes_of(args[0])
        if which == "source":
            assert self._source is not None
            self._source.add(args[0], tokens, codes)
            return
        if self._source is not None:  # the zeros before the first token are what the rest is
            codes = () if self._source.code is None else (self._source.code,)
        self.stream.add(args[0], tokens, codes)
        if self.in_twin:
            self._add_twin(tokens.count)

    def _add_twin(self, updates: int) -> None:
        inputs, outputs = self.twin_features, self.linear.out_features
        biases = 0 if self.linear.bias is None else updates * outputs
        self.twin.add(
            Operations(macs=updates * inputs * outputs),
            Operations(
                accumulates=0 if self.twin_bias_folds else biases,
                functions=updates * inputs * self.twin_functions,
            ),
            real_linear(updates * inputs, inputs, outputs),
        )
        self.twin.add(accesses={Bank("value", outputs): 2 * biases})

    @property
    def updates(self) -> float:
        """How often the map is applied: tokens times timesteps."""
        return self.stream.size / self.linear.in_features

    def synaptic(self, attention: str, profile: EnergyProfile) -> Operations:
        """Count synaptic operations."""
        stream, fan_out = self.stream, self.linear.out_features
        if stream.code is not None:
            return spike_operations(stream.tally, stream.size, stream.code, fan_out, profile)
        return Operations(macs=(stream.nonzero if profile.skip_zeros else stream.size) * fan_out)

    def effective_macs(self) -> float:
        """Count multiply-accumulates with inputs that are not zero."""
        is_real = self.stream.code is None or not self.stream.code.spikes
        return self.stream.nonzero * self.linear.out_features if is_real else 0.0

    def neuron(self) -> Operations:
        """Count biases."""
        if self.linear.bias is None or self.bias_folds:
            return Operations()
        return Operations(accumulates=self.updates * self.linear.out_features)

    def accesses(self, profile: EnergyProfile) -> Accesses:
        """Count weights, accumulators, events or inputs, and biases."""
        inputs, outputs = self.linear.in_features, self.linear.out_features
        biases = 0 if self.linear.bias is None else 2 * self.updates * outputs
        read = linear_accesses(self.stream, inputs, outputs, profile)
        return added(read, {Bank("value", outputs): biases})


def linear_accesses(
    stream: Stream, inputs: int, outputs: int, profile: EnergyProfile
) -> dict[Bank, float]:
    """Count what a map's inputs read: a row of weights an event, or one an input."""
    code, reuses = stream.code, profile.reuse == "timesteps"
    rows: float
    if code is not None and code.spikes:
        events = stream.tally.events
        rows = stream.tally.rows if reuses else events
        bank = EVENTS
    else:
        events = stream.nonzero if profile.skip_zeros else stream.size
        rows, bank = events, Bank("value", inputs)
        if reuses:
            rows = stream.rows if profile.skip_zeros else stream.size / stream.timesteps
    found = {
        Bank("weight", inputs * outputs): rows * outputs,
        Bank("accumulator", outputs): 2.0 * events * outputs,
    }
    found[bank] = found.get(bank, 0.0) + (events if bank is EVENTS else stream.size)
    return found


class HeadCounter(LinearCounter):
    """The last linear map, booked by the spikes in front of the readout.

    Sums over the timesteps commute with the map, so hardware adds a row of weights for each spike
    as it comes and never sees the sum. Other readouts, and real numbers, are read first.
    """

    def __init__(self, head: Head) -> None:
        super().__init__(head.linear, "head")
        self.watched = {"head": head, "neuron": head.neuron, "linear": head.linear}
        self.head = head
        self.spikes, self.read = Stream(), Stream()

    def observe(
        self, which: str, args: tuple[Any, ...], output: Any, tokens: Tokens, sources: Sources
    ) -> None:
        """Observe one call of the head or a part of it."""
        match which:
            case "neuron":
                steps = slice(None) if self.head.read_first else self.head.readout.steps
                spikes = output[steps]
                if self.linear.in_features == len(spikes) * spikes.shape[-1]:
                    spikes = spikes.movedim(0, -2).flatten(-2)  # a row of weights each timestep
                self.spikes.add(spikes, tokens, sources.codes_of(output))
            case "linear":
                self.read.add(args[0], tokens)
            case _:
                self.twin_features = args[0].shape[-1]
                self._add_twin(tokens.count)
                self._choose()

    def _choose(self) -> None:
        spikes_pass = self.head.readout.additive or self.head.read_first
        seen = self.spikes if spikes_pass else self.read
        self.stream = self.read if seen.code is None else seen
        self.streams = [seen]

    @property
    def updates(self) -> float:
        """How often the map is applied: once a token, whatever stands in front."""
        return self.read.size / self.linear.in_features


class DecisionCounter(LinearCounter):
    """A classifier's linear map: it sees a document once, pooled over its tokens.

    A mean of spikes is real and multiplied; the features of the last token may still be spikes. The
    twin pays for the same map of its one timestep.
    """

    def __init__(self, linear: nn.Linear, twin_features: int) -> None:
        super().__init__(linear, "head", twin_features=twin_features)

    def observe(
        self, which: str, args: tuple[Any, ...], output: Any, tokens: Tokens, sources: Sources
    ) -> None:
        """Observe one call, on features of shape [documents, features]."""
        pooled = args[0][None]
        documents = Tokens(torch.zeros(pooled.shape[:2]))  # each as if it were a token
        self.stream.add(pooled, documents, sources.codes_of(args[0]))
        self._add_twin(documents.count)

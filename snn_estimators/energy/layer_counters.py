"""Counters of neurons, norms, activations, embeddings, residual sums and token shifts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from snn_estimators.energy.counters import Counter, Sources
from snn_estimators.energy.operations import EVENTS, Accesses, Bank, Operations, added
from snn_estimators.energy.profiles import EnergyProfile
from snn_estimators.energy.streams import Code, Stream, Tokens
from snn_estimators.nn.neurons import Neuron


class NeuronCounter(Counter):
    """Updates of neurons, each at the price that the neuron itself declares.

    Neurons along the tokens are updated once a token, at the price of a timestep's. Beyond one
    level a neuron compares until it stays below the next one, and a signed one looks at the sign.

    Raises
    ------
    ValueError
        If it emits what it does not declare.
    """

    kind = "neuron"

    def __init__(self, neuron: Neuron) -> None:
        super().__init__(neuron=neuron)
        self.watched_neuron, self.features = neuron, 0

    def observe(
        self, which: str, args: tuple[Any, ...], output: Any, tokens: Tokens, sources: Sources
    ) -> None:
        """Observe one call."""
        emitted, code = self.watched_neuron.emitted(output), Code.of(self.watched_neuron)
        self.features = emitted.shape[-1]
        self.stream.add(emitted, tokens, () if code is None else (code,))
        if code is not None and self.stream.code is None and not emitted.isnan().any():
            raise ValueError(
                f"{type(self.watched_neuron).__name__} emits other values than the multiples of "
                f"unit={code.unit:g} up to levels={code.levels} (signed={code.signed}) that it "
                "declares: set its attributes levels, unit and signed, or levels=None for real "
                "numbers."
            )
        sources.emits(emitted, code)

    def neuron(self) -> Operations:
        """Count neuron updates."""
        cost, updates, tally = (
            self.watched_neuron.update_cost(),
            self.stream.size,
            self.stream.tally,
        )
        accumulates = cost.accumulates * updates + cost.per_spike * tally.total
        code = self.stream.code
        if code is not None:
            accumulates += code.signed * updates
            if code.levels > 1:
                accumulates += tally.total - tally.saturated
        return Operations(accumulates, cost.macs * updates)

    def accesses(self, profile: EnergyProfile) -> Accesses:
        """Count currents, membranes, and what is written."""
        code, updates = self.stream.code, self.stream.size
        values = (3 if self.watched_neuron.stateful else 1) * updates
        if code is not None and code.spikes:
            updated = {Bank("value", self.features): values}
            return added(updated, {EVENTS: self.stream.tally.events})
        written = self.stream.nonzero if profile.skip_zeros else updates
        return {Bank("value", self.features): values + written}


class LayerNormCounter(Counter):
    """Layer normalisation: a value's mean, deviation, square, scaling and affine map.

    Two accumulates (sum; difference from the mean) and two MACs (square; division by the deviation)
    a value, a third MAC for the trained scale and shift; two functions, a root and a division, for
    all values of a token.
    """

    kind = "norm"

    def __init__(self, norm: nn.LayerNorm, in_twin: bool = True) -> None:
        super().__init__(norm=norm)
        self.affine, self.in_twin = norm.elementwise_affine, in_twin
        self.width = norm.normalized_shape[-1]
        self.seen = 0

    def observe(
        self, which: str, args: tuple[Any, ...], output: Any, tokens: Tokens, sources: Sources
    ) -> None:
        """Observe one call."""
        self.seen += tokens.number(output)
        if self.in_twin:
            twin = tokens.count * self.width
            functions = Operations(functions=2 * tokens.count)
            self.twin.add(other=self._operations(twin) + functions, accesses=self._reads(twin))

    def _operations(self, values: float) -> Operations:
        return Operations(2 * values, (2 + self.affine) * values)

    def _reads(self, values: float) -> Accesses:
        constants = 2 * values * self.affine
        return {Bank("value", self.width): 2 * values, Bank("value", 2 * self.width): constants}

    def normalization(self) -> Operations:
        """Count normalisation."""
        return self._operations(self.seen)

    def functions(self) -> float:
        """Count roots and divisions."""
        return 2 * self.seen / self.width

    def accesses(self, profile: EnergyProfile) -> Accesses:
        """Count two reads of each value, and its scale and shift."""
        return self._reads(self.seen)


class FoldedNormCounter(Counter):
    """Batch and power normalisation: free, as in inference they fold into the weights before them.

    Parameters
    ----------
    norm : nn.Module
    """

    kind = "norm"

    def observe(
        self, which: str, args: tuple[Any, ...], output: Any, tokens: Tokens, sources: Sources
    ) -> None:
        """Observe one call."""
        self.stream.add(output, tokens, ())


class ActivationCounter(Counter):
    """A GELU: two functions a value, the exponential and the division of its tanh."""

    kind = "activation"
    FUNCTIONS = 2

    def observe(
        self, which: str, args: tuple[Any, ...], output: Any, tokens: Tokens, sources: Sources
    ) -> None:
        """Observe one call."""
        self.stream.add(output, tokens, ())
        functions = self.FUNCTIONS * tokens.count * output.shape[-1]
        self.twin.add(other=Operations(functions=functions))

    def functions(self) -> float:
        """Count exponentials and divisions."""
        return self.FUNCTIONS * self.stream.size


class EmbeddingCounter(Counter):
    """A table's rows: no operation, but a row read for each token."""

    kind = "embedding"

    def __init__(self, table: nn.Embedding, binary: bool = False, in_twin: bool = True) -> None:
        super().__init__(table=table)
        self.binary, self.in_twin = binary, in_twin
        if binary:
            self.kind = "encoding"
        self.words, self.read = table.num_embeddings * table.embedding_dim, 0

    def observe(
        self, which: str, args: tuple[Any, ...], output: Any, tokens: Tokens, sources: Sources
    ) -> None:
        """Observe one call; positions are looked up once for all sequences."""
        rows = tokens.count * output.shape[-1]
        self.read += rows
        if self.in_twin:
            self.twin.add(accesses={Bank("value", self.words): rows})
        if self.binary:
            self.stream.add(output, tokens)

    def accesses(self, profile: EnergyProfile) -> Accesses:
        """Count rows."""
        role = "bit" if self.binary else "value"
        return {Bank(role, self.words): self.read}


class EncodingCounter(Counter):
    """An encoding's output; the twin looks up a row of real numbers as wide as that.

    Parameters
    ----------
    encoding : nn.Module
    rows : sequence of int
        Rows of each of the twin's tables.
    """

    def __init__(self, encoding: nn.Module, rows: Sequence[int]) -> None:
        super().__init__(encoding=encoding)
        self.rows = rows

    def observe(
        self, which: str, args: tuple[Any, ...], output: Any, tokens: Tokens, sources: Sources
    ) -> None:
        """Observe one call."""
        super().observe(which, args, output, tokens, sources)
        width = output.shape[-1]
        for rows in self.rows:
            self.twin.add(accesses={Bank("value", rows * width): tokens.count * width})


class ResidualCounter(Counter):
    """What a block adds to the residual stream: an accumulate a count, or one a real value.

    These sums have no weights, so they are no synaptic operations: they stand beside the updates of
    the neurons. The stream is read and written for each of them. What no neurons emit is real, even
    if it is silent, as RWKV's output maps are at their start.
    """

    kind = "residual"

    def observe(
        self, which: str, args: tuple[Any, ...], output: Any, tokens: Tokens, sources: Sources
    ) -> None:
        """Observe one call of what comes last before a sum; it may have a state beside it."""
        added = output if isinstance(output, Tensor) else output[0]
        self.stream.add(added, tokens, sources.emitted_in(added))
        self.width = added.shape[-1]
        values = tokens.count * self.width
        self.timesteps = tokens.number(added) // values
        self.twin.add(other=Operations(values), accesses={Bank("value", self.width): 2 * values})

    def neuron(self) -> Operations:
        """Count sums into the residual stream."""
        stream = self.stream
        return Operations(stream.size if stream.code is None else stream.tally.total)

    def accesses(self, profile: EnergyProfile) -> Accesses:
        """Count reads and writes of the residual stream."""
        return {Bank("value", self.timesteps * self.width): 2 * self.stream.size}


class ShiftCounter(Counter):
    """The memory of what previous tokens emitted: no operation, but reads and writes.

    Parameters
    ----------
    source : nn.Module
        The first map that sees the token and its predecessors.
    shift : int
        How many tokens back it sees.
    """

    kind = "shift"

    def __init__(self, source: nn.Module, shift: int) -> None:
        super().__init__(source=source)
        self.shift = shift
        self._kept = Stream()

    def observe(
        self, which: str, args: tuple[Any, ...], output: Any, tokens: Tokens, sources: Sources
    ) -> None:
        """Observe one call of the map."""
        x = args[0]
        self._kept.add(x, tokens, sources.codes_of(x))
        values, self.width = tokens.count * x.shape[-1], x.shape[-1]
        self.timesteps = tokens.number(x) // values
        memory = Bank("value", self.shift * self.width)
        self.twin.add(accesses={memory: (self.shift + 1) * values})

    def accesses(self, profile: EnergyProfile) -> Accesses:
        """Count a token's writes, and the reads of those that are seen."""
        code, words = self._kept.code, self.shift * self.timesteps * self.width
        accessed = (self.shift + 1) * self._kept.size
        if code is None:
            return {Bank("value", words): accessed}
        return {Bank("bit", words * code.bits): accessed * code.bits}

"""Counters of attention: spiking, softmax and linear."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from snn_estimators.energy.counters import Counter, Sources, integer_products
from snn_estimators.energy.operations import (
    WORD_BITS,
    Accesses,
    Bank,
    Cost,
    Operations,
    added,
)
from snn_estimators.energy.profiles import EnergyProfile
from snn_estimators.energy.streams import Code, Stream, Tokens, set_bits
from snn_estimators.nn.decoder.attention import LinearCore, SoftmaxCore, SpikingCore, split_heads

SCORES_AT_ONCE = 2**24
"""Token-to-token scores held in memory while they are counted."""

WEIGHTS: dict[str, Callable[[Tensor], Tensor]] = {
    "accumulate": torch.abs,
    "shift-add": set_bits,
    "multiply": lambda counts: (counts != 0).to(counts.dtype),
}
"""How many operations a count is at a synapse, for each way that a profile knows."""


class SpikingCoreCounter(Counter):
    """Spiking attention, in both of its forms.

    Of each product one factor is expanded into additions, the other added as a whole number.

    Parallel: a query's counts at position i meet the keys of i + 1 tokens; a non-zero score is
    added for each of the value's counts; a decay multiplies each non-zero score of an earlier token
    by a power of the head's factor: a MAC, as powers of 1 - 2^-h are no shifts.

    Recurrent, for each head, token and timestep: a key's counts meet the value's spikes in the
    state; a decay touches each entry of the state, with an accumulate if it is "fixed" (a shift and
    a subtraction), else with a MAC; a query's counts read a row of the state.

    Queries, keys or values that are real make MACs of all of it, between all pairs and entries;
    quantised ones, products of their counts and of a count and a score or entry, which are words;
    or of what is not zero if the profile skips zeros.
    `attention_scale` is free: it folds into the threshold of the neurons behind. Memory is that of
    the recurrent form, as in generation.
    """

    kind = "attention"

    def __init__(self, core: SpikingCore, max_len: int) -> None:
        super().__init__(core=core)
        self.core, self.max_len = core, max_len
        self.streams = [Stream(), Stream(), Stream()]
        zero = dict.fromkeys(WEIGHTS, 0)
        self.spiking = {"parallel": dict(zero), "recurrent": dict(zero)}
        self.decays = {"parallel": 0, "recurrent": 0}
        self.dense = {"parallel": 0, "recurrent": 0}
        self.dense_decays = {"parallel": 0, "recurrent": 0}
        self.meetings = self.updates = self.reads = 0
        self.values = self.width = self.timesteps = 0

    def observe(
        self, which: str, args: tuple[Any, ...], output: Any, tokens: Tokens, sources: Sources
    ) -> None:
        """Observe one call."""
        q, k, v = args[:3]
        for stream, x in zip(self.streams, (q, k, v), strict=True):
            stream.add(x, tokens, sources.codes_of(x))
        heads, decaying = self.core.heads, self.core.decay_kind is not None
        pairs, values = causal_pairs(tokens), tokens.number(q)  # values: of all timesteps
        self.width, dim = q.shape[-1], q.shape[-1] // heads
        self.timesteps = steps = values // (self.width * tokens.count)

        self.values += values
        self.twin.add(*softmax(pairs, tokens.count, self.width, heads, self.max_len))
        self.decays["recurrent"] += decaying * values * dim
        self.dense["recurrent"] += 2 * values * dim
        self.dense["parallel"] += steps * (2 * pairs * self.width)
        self.dense_decays["recurrent"] += decaying * values * dim
        self.dense_decays["parallel"] += decaying * steps * heads * (pairs - tokens.count)
        codes = self._codes()
        parts = [tokens.silence(x) for x in (q, k, v)]
        if codes is None:  # zeros may count all the same
            counts = [(x != 0).to(x.dtype) for x in parts]
        else:
            pairs_of = zip(parts, codes, strict=True)
            counts = [(x / code.unit).round() for x, code in pairs_of]
        self._observe_counts(*(split_heads(x, heads) for x in counts))

    def _codes(self) -> tuple[Code, ...] | None:
        codes = [stream.code for stream in self.streams]
        return None if None in codes else tuple(code for code in codes if code is not None)

    def _observe_counts(self, q: Tensor, k: Tensor, v: Tensor) -> None:
        """Add whole numbers of shape [time, batch, heads, sequence, head_dim]."""
        dim = q.shape[-1]
        visible = torch.arange(1, q.shape[-2] + 1, device=q.device)
        spikes = _sums(WEIGHTS["multiply"], v)
        meetings, own_scores = nonzero_scores(q, k)
        for way, weight in WEIGHTS.items():
            queries, keys, values = (_sums(weight, x) for x in (q, k, v))
            self.spiking["parallel"][way] += int((queries * visible).sum())
            self.spiking["parallel"][way] += int((meetings * values).sum())
            self.spiking["recurrent"][way] += int((keys * spikes).sum()) + int(queries.sum()) * dim
        self.meetings += int((_sums(WEIGHTS["multiply"], q) * visible).sum())
        self.updates += int((_sums(WEIGHTS["multiply"], k) * spikes).sum())
        self.reads += int(_sums(WEIGHTS["multiply"], q).sum()) * dim
        if self.core.decay_kind is not None:
            self.decays["parallel"] += int(meetings.sum()) - own_scores

    def synaptic(self, attention: str, profile: EnergyProfile) -> Operations:
        """Count synaptic operations."""
        codes, is_dense = self._codes(), not self._skips_silence(profile)
        decays = (self.dense_decays if is_dense else self.decays)[attention]
        if codes is None:
            kept = self.dense[attention] if is_dense else self.spiking[attention]["multiply"]
            return Operations(macs=kept + decays)
        shifts = attention == "recurrent" and self.core.decay_kind == "fixed"
        decay = Operations(accumulates=decays) if shifts else Operations(macs=decays)
        bits, graded = max(code.bits for code in codes), max(code.levels for code in codes) > 1
        are_spikes = all(code.spikes for code in codes)
        if not are_spikes or (graded and profile.graded == "multiply"):
            return decay + self._products(attention, is_dense, bits)
        if graded and profile.graded == "shift-add":
            return decay + Operations(shift_adds=self.spiking[attention]["shift-add"])
        return decay + Operations(accumulates=self.spiking[attention]["accumulate"])

    def _products(self, attention: str, is_dense: bool, bits: int) -> Operations:
        """Count products of two counts, and those of a count and a word."""
        if is_dense:
            everything = self.dense[attention]
            of_counts = everything // 2
        else:
            everything = self.spiking[attention]["multiply"]
            of_counts = self.updates if attention == "recurrent" else self.meetings
        return integer_products(of_counts, bits, bits) + integer_products(
            everything - of_counts, bits, WORD_BITS
        )

    def _skips_silence(self, profile: EnergyProfile) -> bool:
        """Return whether only what is not zero takes part: spikes, or all that a profile skips."""
        codes = self._codes()
        only_spikes = codes is not None and all(code.spikes for code in codes)
        return profile.skip_zeros or only_spikes

    def effective_macs(self) -> float:
        """Count what is not zero, of real numbers and of quantised counts."""
        codes, kept = self._codes(), self.spiking["recurrent"]["multiply"]
        if codes is None:
            return kept + self.decays["recurrent"]
        return 0.0 if all(code.spikes for code in codes) else kept

    def accesses(self, profile: EnergyProfile) -> Accesses:
        """Count the state's reads and writes, and the accumulators of the output."""
        dim = self.width // self.core.heads
        state = Bank("value", self.timesteps * self.width * dim)
        everything, skips = self.values * dim, self._skips_silence(profile)
        is_dense = self.core.decay_kind is not None or not skips
        updates, reads = (self.updates, self.reads) if skips else (everything, everything)
        return {
            state: 2.0 * (everything if is_dense else updates) + reads,
            Bank("accumulator", dim): 2.0 * reads,
        }


class SoftmaxCoreCounter(Counter):
    """Softmax attention: MACs with the keys and values of the past, an exponential a score.

    Generation with a cache of keys and values costs what the whole sequence does, so both forms
    are one.
    """

    kind = "attention"

    def __init__(self, core: SoftmaxCore, max_len: int) -> None:
        super().__init__(core=core)
        self.core, self.max_len = core, max_len
        self.own, self.parallel = Cost(), 0

    def observe(
        self, which: str, args: tuple[Any, ...], output: Any, tokens: Tokens, sources: Sources
    ) -> None:
        """Observe one call."""
        width = args[0].shape[-1]
        steps = tokens.number(args[0]) // (width * tokens.count)
        self.stream.add(args[0], tokens, ())
        found = softmax(causal_pairs(tokens), tokens.count, width, self.core.heads, self.max_len)
        self.twin.add(*found)
        for _ in range(steps):
            self.own.add(*found)

    def synaptic(self, attention: str, profile: EnergyProfile) -> Operations:
        """Count synaptic operations."""
        return self.own.synaptic

    def effective_macs(self) -> float:
        """Count all of them."""
        return self.own.synaptic.macs

    def functions(self) -> float:
        """Count exponentials and divisions."""
        return self.own.other.functions

    def accesses(self, profile: EnergyProfile) -> Accesses:
        """Count the cache's reads and writes, and accumulators."""
        return self.own.accesses


class LinearCoreCounter(SoftmaxCoreCounter):
    """Linear attention: a state that every key and value changes and every query reads.

    Queries are divided by their product with the sum of the keys, a vector a head. The parallel
    form has the pairs of softmax attention, without exponentials of scores.
    """

    def observe(
        self, which: str, args: tuple[Any, ...], output: Any, tokens: Tokens, sources: Sources
    ) -> None:
        """Observe one call."""
        values, width = tokens.number(args[0]), args[0].shape[-1]
        dim = width // self.core.heads
        self.stream.add(args[0], tokens, ())
        found = (
            Operations(accumulates=values, macs=2 * values * dim + 2 * values),
            Operations(functions=2 * values + values / dim),
            added(
                {Bank("value", width * dim): 3.0 * values * dim},
                {Bank("value", width): 3.0 * values},
                {Bank("accumulator", dim): 2.0 * values * dim},
                {Bank("accumulator", self.core.heads): 2.0 * values},
            ),
        )
        self.own.add(*found)
        self.twin.add(*found)
        self.parallel += 2 * width * causal_pairs(tokens)

    def synaptic(self, attention: str, profile: EnergyProfile) -> Operations:
        """Count synaptic operations."""
        return self.own.synaptic if attention == "recurrent" else Operations(macs=self.parallel)


def softmax(
    pairs: int, tokens: int, width: int, heads: int, max_len: int
) -> tuple[Operations, Operations, dict[Bank, float]]:
    """Give the synaptic operations, the functions and the accesses of softmax attention."""
    macs = 2 * pairs * width
    cache = Bank("value", 2 * max_len * width)
    return (
        Operations(macs=macs),
        Operations(functions=(pairs + tokens) * heads),
        {cache: macs + 2.0 * width * tokens, Bank("accumulator", width // heads): 2.0 * macs},
    )


def causal_pairs(tokens: Tokens) -> int:
    """Count the pairs of a token and one that is not later."""
    return sum(length * (length + 1) // 2 for length in tokens.lengths)


def nonzero_scores(q: Tensor, k: Tensor) -> tuple[Tensor, int]:
    """Count how many queries meet each key in a non-zero score, and how many meet their own.

    Queries and keys are whole numbers of shape [time, batch, heads, sequence, head_dim]; the counts
    of shape [time, batch, heads, sequence].
    """
    shape = k.shape[:-1]
    q, k = q.flatten(0, 1), k.flatten(0, 1)
    at_once = max(1, SCORES_AT_ONCE // (q.shape[1] * q.shape[2] ** 2))
    found, own = [], 0
    for some_q, some_k in zip(q.split(at_once), k.split(at_once), strict=True):
        scores = (some_q @ some_k.mT != 0).tril()
        found.append(scores.sum(-2))
        own += int(scores.diagonal(dim1=-2, dim2=-1).sum())
    return torch.cat(found).view(shape), own


def _sums(weight: Callable[[Tensor], Tensor], counts: Tensor) -> Tensor:
    return weight(counts).sum(-1, dtype=torch.int64)


def core_counter(core: nn.Module, max_len: int) -> Counter:
    """Choose the counter of an attention core."""
    if isinstance(core, SpikingCore):
        return SpikingCoreCounter(core, max_len)
    if isinstance(core, LinearCore):
        return LinearCoreCounter(core, max_len)  # type: ignore[arg-type]
    assert isinstance(core, SoftmaxCore)
    return SoftmaxCoreCounter(core, max_len)

"""Counters of attention, spiking and softmax."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from snn_estimators.energy.counters import Counter, Operations, Tokens
from snn_estimators.nn.attention import SpikingCore, split_heads

SCORES_AT_ONCE = 2**24
"""Token-to-token scores held in memory while they are counted."""


class SpikingCoreCounter(Counter):
    """Spiking attention, in both of its forms.

    Parallel: a query spike at position i meets the keys of i + 1 tokens; a non-zero score reaches
    all of the head's values; a decay multiplies each non-zero score of an earlier token by a power
    of the head's factor: a MAC, as powers of 1 - 2^-h are no shifts.

    Recurrent, for each head, token and timestep: a key spike meets the value's spikes in the state;
    a decay touches each entry of the state, with an accumulate if it is "fixed" (a shift and a
    subtraction), else with a MAC; a query spike reads a row of the state.

    Queries, keys or values that are real make MACs of all of it, between all pairs and entries.
    `attention_scale` is free: it folds into the threshold of the neurons behind.
    """

    kind = "attention"

    def __init__(self, core: SpikingCore) -> None:
        super().__init__(core=core)
        self.core = core
        self.spiking = {"parallel": 0, "recurrent": 0}
        self.decays = {"parallel": 0, "recurrent": 0}
        self.dense = {"parallel": 0, "recurrent": 0}

    def observe(self, which: str, args: tuple[Any, ...], output: Any, tokens: Tokens) -> None:
        """Observe one call."""
        q, k, v = args[:3]
        for x in (q, k, v):
            self.stream.add(x, tokens)
        heads, decaying = self.core.heads, self.core.decay_kind is not None
        pairs, values = causal_pairs(tokens), tokens.number(q)  # values: of all timesteps
        width, dim = q.shape[-1], q.shape[-1] // heads
        steps = values // (width * tokens.count)

        self.twin_macs += 2 * pairs * width
        self.decays["recurrent"] += decaying * values * dim
        self.dense["recurrent"] += (2 + decaying) * values * dim
        self.dense["parallel"] += steps * (2 * pairs * width)
        self.dense["parallel"] += decaying * steps * heads * (pairs - tokens.count)
        if self.stream.binary:
            self._observe_spikes(*(split_heads(tokens.silence(x), heads) for x in (q, k, v)))

    def _observe_spikes(self, q: Tensor, k: Tensor, v: Tensor) -> None:
        """Add spikes of shape [time, batch, heads, sequence, head_dim]."""
        dim = q.shape[-1]
        queries, keys, values = (x.sum(-1, dtype=torch.int64) for x in (q, k, v))
        visible = torch.arange(1, q.shape[-2] + 1, device=q.device)
        scores, own_scores = nonzero_scores(q, k)
        self.spiking["parallel"] += int((queries * visible).sum()) + scores * dim
        self.spiking["recurrent"] += int((keys * values).sum()) + int(queries.sum()) * dim
        if self.core.decay_kind is not None:
            self.decays["parallel"] += scores - own_scores

    def synaptic(self, attention: str) -> Operations:
        """Count synaptic operations."""
        if not self.stream.binary:
            return Operations(macs=self.dense[attention])
        spiking, decays = self.spiking[attention], self.decays[attention]
        if attention == "recurrent" and self.core.decay_kind == "fixed":
            return Operations(spiking + decays)
        return Operations(spiking, decays)


class SoftmaxCoreCounter(Counter):
    """Softmax attention: MACs with the keys and values of the past; exponentials do not count.

    Generation with a cache of keys and values costs what the whole sequence does, so both forms
    are one.
    """

    kind = "attention"

    def __init__(self, core: nn.Module) -> None:
        super().__init__(core=core)
        self.macs = 0

    def observe(self, which: str, args: tuple[Any, ...], output: Any, tokens: Tokens) -> None:
        """Observe one call."""
        query = args[0]
        macs = 2 * causal_pairs(tokens) * query.shape[-1]
        self.stream.binary = False
        self.twin_macs += macs
        self.macs += macs * (tokens.number(query) // (query.shape[-1] * tokens.count))

    def synaptic(self, attention: str) -> Operations:
        """Count synaptic operations."""
        return Operations(macs=self.macs)


def causal_pairs(tokens: Tokens) -> int:
    """Count the pairs of a token and one that is not later."""
    return sum(length * (length + 1) // 2 for length in tokens.lengths)


def nonzero_scores(q: Tensor, k: Tensor) -> tuple[int, int]:
    """Count the non-zero scores of tokens with those not later, and with themselves alone.

    Queries and keys are spikes of shape [time, batch, heads, sequence, head_dim].
    """
    q, k = q.flatten(0, 1), k.flatten(0, 1)
    at_once = max(1, SCORES_AT_ONCE // (q.shape[1] * q.shape[2] ** 2))
    pairs = torch.zeros(q.shape[2], q.shape[2], dtype=torch.int64, device=q.device)
    for some_q, some_k in zip(q.split(at_once), k.split(at_once), strict=True):
        pairs += (some_q @ some_k.mT).clamp_max_(1).sum((0, 1), dtype=torch.float32).long()
    return int(pairs.tril().sum()), int(pairs.diagonal().sum())

"""Layers counted by hand, operations and memory, up to a whole block of RWKV and its totals."""

from __future__ import annotations

import math

import pytest
import torch
from published import published_decoder, published_spike_gpt
from spelled import Spelled, sums
from torch import Tensor, nn

from snn_estimators.energy import measure, summarize
from snn_estimators.nn import LIF
from snn_estimators.nn.decoder.attention import LinearCore
from snn_estimators.nn.decoder.block import Block
from snn_estimators.nn.decoder.feed_forward import FeedForward, SpikingFeedForward
from snn_estimators.nn.norms import LayerNorm
from snn_estimators.nn.rwkv.mixing import ChannelMixing

AC, MAC, FUNCTION = 0.9, 3.7 + 0.9, 4 * (3.7 + 0.9)
SMALL = 1.0  # pJ of 32 bits of a memory below 328 bytes: half of the 2 pJ of a register
SPIKES = ((0, 0, 0, 0), (1, 0, 0, 0), (1, 0, 1, 0))


def word(words: float) -> float:
    """Picojoules of 32 bits of a memory of so many words, as Horowitz's three points have it."""
    size = 4 * words
    if size <= 32 * 1024:
        return max(10 * math.sqrt(size / 8192), 2) / 2
    return 20 * (size / 32768) ** (math.log(5) / math.log(32)) / 2


def test_all_columns_of_two_spiking_layers() -> None:
    """Three tokens of 0, 1 and 2 spikes at two timesteps; maps from 4 to 3 to 2."""
    layers = nn.Sequential(nn.Linear(4, 3), LIF(v_threshold=1e-3), nn.Linear(3, 2, bias=False))
    nn.init.constant_(layers[0].weight, 1.0)
    nn.init.constant_(layers[0].bias, -0.5)  # so that silence stays silent
    table = sums(Spelled(layers, SPIKES, times=2))
    spikes, fired = 2 * (0 + 1 + 2), 2 * 2 * 3  # two tokens make all three neurons fire
    updates = 2 * 3 * 3  # timesteps, tokens, neurons
    events = word(1000)  # a queue of 1000 words
    expected = {
        "layer.0": {
            "accumulates": spikes * 3,
            "energy_pj": AC * spikes * 3,
            "neuron_pj": AC * updates,  # a bias for each output
            "weight_reads": spikes * 3,
            "memory_pj": (3 * spikes * 3 + 2 * updates) * SMALL + spikes * events,
            "ann_pj": MAC * 3 * 4 * 3,
            "ann_total_pj": MAC * 3 * 4 * 3 + AC * 3 * 3,
        },
        "layer.1": {
            "accumulates": 0,
            "energy_pj": 0,
            "neuron_pj": 2 * AC * updates,  # a comparison and an addition, as tau is 2
            "weight_reads": 0,
            "memory_pj": 3 * updates * SMALL + fired * events,
            "ann_pj": 0,
            "ann_total_pj": 0,
        },
        "layer.2": {
            "accumulates": fired * 2,
            "energy_pj": AC * fired * 2,
            "neuron_pj": 0,
            "weight_reads": fired * 2,
            "memory_pj": 3 * fired * 2 * SMALL + fired * events,
            "ann_pj": MAC * 3 * 3 * 2,
            "ann_total_pj": MAC * 3 * 3 * 2,
        },
    }
    for layer, columns in expected.items():
        row = table.loc[layer]
        assert row[list(columns)].to_dict() == pytest.approx(columns), layer
        free = ["macs", "effective_macs", "normalization_pj", "function_pj"]
        assert (row[free] == 0).all(), layer


class TestRealLayers:
    @pytest.mark.parametrize("affine", [True, False])
    def test_a_layer_norm(self, affine: bool) -> None:
        norm = LayerNorm(4, elementwise_affine=affine)
        row = sums(Spelled(norm, SPIKES, times=2)).loc["layer"]
        values, rows = 2 * 3 * 4, 2 * 3
        assert row["normalization_pj"] == pytest.approx(values * (2 * AC + (2 + affine) * MAC))
        assert row["function_pj"] == pytest.approx(rows * 2 * FUNCTION)  # a root and a division
        assert row["memory_pj"] == pytest.approx((2 + 2 * affine) * values * SMALL)

    def test_a_gelu(self) -> None:
        row = sums(Spelled(nn.GELU(), SPIKES, levels=None)).loc["layer"]
        assert row["function_pj"] == pytest.approx(3 * 4 * 2 * FUNCTION)
        assert row[["energy_pj", "memory_pj", "weight_reads"]].sum() == 0

    def test_linear_attention(self) -> None:
        class Attend(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.core = LinearCore(2, 0.0)

            def forward(self, x: Tensor) -> Tensor:
                return self.core(x, x, x, None)[0]

        row = sums(Spelled(Attend(), SPIKES, levels=None)).loc["layer.core"]
        values, dim = 3 * 4, 2
        # Keys meet values in the state, queries read it; queries meet the sum of the keys; the
        # output times one over that.
        assert row["macs"] == 2 * values * dim + 2 * values
        sums_of_keys = AC * values
        assert row["energy_pj"] == pytest.approx(MAC * row["macs"] + sums_of_keys)
        # Exponentials of keys and queries; a division for each token and head.
        assert row["function_pj"] == pytest.approx((2 * values + 3 * 2) * FUNCTION)
        state, sums_of_keys = 3 * values * dim, 3 * values  # a read and a write, and the query's
        accumulators = 2 * values * dim + 2 * values
        accesses = state + sums_of_keys + accumulators
        assert row["memory_pj"] == pytest.approx(accesses * SMALL)
        assert row["energy_parallel_pj"] == pytest.approx(MAC * 2 * (1 + 2 + 3) * 4)

    def test_an_embedding(self) -> None:
        model = nn.Sequential(nn.Embedding(3000, 8))
        row = measure(model, torch.tensor([[5, 7, 7]])).iloc[0]
        assert row["kind"] == "embedding"
        assert row["memory_pj"] == pytest.approx(8 * word(3000 * 8))
        assert row["energy_pj"] == row["weight_reads"] == 0


class TestShifts:
    """Two previous tokens of four values, seen by the first map of a feed-forward."""

    def test_spikes_are_kept_as_bits(self) -> None:
        layer = SpikingFeedForward(4, 8, LayerNorm, LIF, spikes_out=True, token_shift=2)
        row = sums(Spelled(layer, SPIKES, times=2)).loc["layer"]
        assert row["kind"] == "shift"
        bits = (2 + 1) * 2 * 3 * 4  # two read and one written; timesteps, tokens, values
        assert row["memory_pj"] == pytest.approx(bits * 2.0 / 64)

    def test_counts_take_the_bits_of_their_levels_and_a_sign(self) -> None:
        layer = SpikingFeedForward(4, 8, LayerNorm, LIF, spikes_out=True, token_shift=2)
        row = sums(Spelled(layer, SPIKES, levels=4, signed=True)).loc["layer"]
        assert row["memory_pj"] == pytest.approx((2 + 1) * 3 * 4 * (3 + 1) * 2.0 / 64)

    def test_real_numbers_are_kept_as_words_as_the_twin_keeps_them(self) -> None:
        layer = FeedForward(4, 8, token_shift=2)
        row = sums(Spelled(layer, SPIKES, levels=None)).loc["layer"]
        assert row["memory_pj"] == row["ann_memory_pj"] == pytest.approx((2 + 1) * 3 * 4 * SMALL)


class TestBiases:
    """Two blocks of width 80 at four timesteps: what fault 6 left out of "context"."""

    def biases(self, normalization: str) -> float:
        decoder = published_decoder(30, 16, blocks=2, timesteps=4, normalization=normalization)
        table = measure(decoder, torch.arange(4)[None])
        return table.loc[table["kind"] == "linear", "neuron_pj"].sum()

    def test_before_a_layer_norm_they_are_additions(self) -> None:
        outputs = 4 * 80 + 320 + 80  # queries, keys, values, output; the feed-forward
        assert self.biases("layer") == pytest.approx(AC * 4 * 2 * outputs) == pytest.approx(5184)

    @pytest.mark.parametrize("normalization", ["batch", "power"])
    def test_into_constant_norms_they_fold(self, normalization: str) -> None:
        assert self.biases(normalization) == 0


class TestRWKV:
    def test_a_channel_mixing(self) -> None:
        class One(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.mixing = ChannelMixing(0, 1, 4, lambda features: None)

            def forward(self, tokens: Tensor) -> Tensor:
                return self.mixing(torch.full((*tokens.shape, 4), 0.5))[0]

        row = measure(One(), torch.zeros(1, 2).long()).set_index("layer").loc["mixing"]
        # The previous token read and written, two shares, four squares read and written, a gate
        # and what it multiplies read, their product written.
        assert row["memory_pj"] == pytest.approx((2 + 2 + 4 * 2 + 3) * 4 * SMALL)
        assert row["function_pj"] == pytest.approx(2 * 4 * FUNCTION)  # the gate's
        assert row["macs"] == (2 + 4 + 1) * 4

    def memory(self, width: int, blocks: int, vocab_size: int) -> dict[str, float]:
        """Picojoules a token, from nothing but the dimensions."""
        n, hidden = width, 4 * width

        def linear(inputs: int, outputs: int) -> float:
            weights = inputs * outputs
            return weights * (word(weights) + 2 * word(outputs)) + inputs * word(inputs)

        norm = 2 * n * word(n) + 2 * n * word(2 * n)
        maps = 4 * linear(n, n) + linear(n, hidden) + linear(n, n) + linear(hidden, n)
        return {
            "embedding": n * word(vocab_size * n),
            "norm": (2 + 2 * blocks) * norm,
            "linear": blocks * maps,
            "mixing": blocks * (16 + 15) * n * word(3 * n),
            "residual": blocks * 2 * 2 * n * word(n),
            "head": linear(n, vocab_size),
        }

    @pytest.mark.parametrize(
        ("width", "blocks", "nj"), [(80, 4, 7098), (40, 2, 610), (24, 2, 180), (16, 2, 73)]
    )
    def test_memory_of_all_layers(self, width: int, blocks: int, nj: float) -> None:
        """The energy of the whole, without functions, is that of an independent recount."""
        module = published_spike_gpt(30, n_layer=blocks, n_embd=width, spikes="none")
        table = measure(module, torch.arange(3)[None])
        expected = self.memory(width, blocks, 30)
        assert table.groupby("kind")["memory_pj"].sum().to_dict() == pytest.approx(expected)
        # Maps and products value by value; two norms a block and two more; residual sums.
        macs = blocks * (13 * width**2 + (10 + 7) * width) + 30 * width
        norms = (2 + 2 * blocks) * width * (2 * AC + 3 * MAC)
        total = MAC * macs + norms + AC * 2 * blocks * width + sum(expected.values())
        measured = summarize(table)
        without_functions = measured["total_with_memory_nj"] - measured["function_nj"]
        assert without_functions == pytest.approx(total / 1e3)
        assert without_functions == pytest.approx(nj, rel=0.005)

    def test_zeros_of_squares_are_no_effective_macs(self) -> None:
        """Fault 5: 335,200 dense ones in linear maps of four blocks of width 80."""
        torch.manual_seed(0)
        module, skipped = published_spike_gpt(30, n_layer=4, n_embd=80, spikes="none"), []

        def count(linear: nn.Linear, args: tuple[Tensor]) -> None:
            skipped.append((args[0] == 0).sum().item() * linear.out_features)

        for part in module.modules():
            if isinstance(part, nn.Linear):
                part.register_forward_pre_hook(count)
        table = measure(module, torch.arange(8)[None])
        maps = table[table["kind"].isin(["linear", "head"])]
        assert maps["macs"].sum() == 4 * 13 * 80**2 + 80 * 30 == 335_200
        assert maps["effective_macs"].sum() == pytest.approx(335_200 - sum(skipped) / 8)
        assert sum(skipped) / 8 > 0.1 * 335_200  # half of a map that has 4 of 13 weights


class Adds(nn.Module):
    """Stands for attention or a feed-forward: it adds what it sees, real or not."""

    def forward(self, x: Tensor, state: object, valid: object) -> tuple[Tensor, None]:
        return x * 0.3, None


def test_a_residual_stream_is_read_and_written_for_each_sum() -> None:
    row = sums(Spelled(Block(Adds(), Adds()), SPIKES, times=2)).loc["layer"]
    values = 2 * 2 * 3 * 4  # sums, timesteps, tokens, values
    assert row["neuron_pj"] == pytest.approx(AC * values)
    assert row["memory_pj"] == pytest.approx(2 * values * SMALL)
    assert row["ann_total_pj"] == pytest.approx(AC * values / 2)
    assert row["ann_memory_pj"] == pytest.approx(values * SMALL)

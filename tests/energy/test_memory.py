"""Reads and writes of memory, counted by hand: who reads how many words of which memory."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from published import published_decoder, published_spike_gpt
from spelled import Spelled, sums
from torch import Tensor, nn

from snn_estimators.energy import (
    PROFILES,
    Bank,
    EnergyProfile,
    measure,
    register_counter,
    summarize,
)
from snn_estimators.nn import LIF, SpikeGPT, SpikingDecoder
from snn_estimators.nn.classifier import SequenceClassifier
from snn_estimators.nn.decoder.attention import SoftmaxCore, SpikingCore
from snn_estimators.nn.rwkv.mixing import TimeMixing

SRAM = PROFILES["45nm-sram"]
SMALL = 1.0  # pJ of 32 bits of a memory below 328 bytes: half of the 2 pJ of a register


def word(size: float) -> float:
    """Picojoules of 32 bits of a memory of so many bytes, as Horowitz's three points have it."""
    if size <= 32 * 1024:
        return max(10 * math.sqrt(size / 8192), 2) / 2
    return 20 * (size / 32768) ** (math.log(5) / math.log(32)) / 2


class TestPrices:
    @pytest.mark.parametrize(
        ("size", "pj"),
        [
            (8 * 1024, 10.0),
            (32 * 1024, 20.0),
            (1024 * 1024, 100.0),
            (16 * 1024, 10 * math.sqrt(2)),
            (2048, 5.0),  # a quarter of the size, half of the price
            (16, 2.0),  # never below a register's
        ],
    )
    def test_64_bits_by_the_size_of_the_memory(self, size: int, pj: float) -> None:
        two_words = {Bank("value", size // 4): 2.0}
        assert SRAM.memory_energy(two_words) == pytest.approx(pj)

    def test_beyond_32_kib_the_exponent_is_0_464(self) -> None:
        small, large = (SRAM.memory_energy({Bank("value", n * 2**18): 1.0}) for n in (1, 2))
        assert math.log2(large / small) == pytest.approx(0.464, abs=5e-4)

    def test_a_bit_costs_a_64th(self) -> None:
        assert SRAM.memory_energy({Bank("bit", 8): 64.0}) == pytest.approx(2.0)

    def test_narrow_weights_are_cheap_twice(self) -> None:
        weights = {Bank("weight", 8192): 8.0}  # 32 KiB of 32 bits, 8 KiB of 8
        assert SRAM.memory_energy(weights) == pytest.approx(4 * 20)
        assert replace(SRAM, weight_bits=8).memory_energy(weights) == pytest.approx(1 * 10)

    def test_weights_may_lie_in_one_memory_or_off_chip(self) -> None:
        weights = {Bank("weight", 8): 2.0, Bank("value", 8): 2.0}
        shared = replace(SRAM, bank=1024 * 1024)
        assert shared.memory_energy(weights) == pytest.approx(100 + 2)
        assert replace(SRAM, bank="dram").memory_energy(weights) == pytest.approx(1280 + 2)

    def test_sums_may_stay_in_the_element(self) -> None:
        accesses = {Bank("accumulator", 8): 2.0, Bank("value", 8): 2.0}
        assert replace(SRAM, accumulators="element").memory_energy(accesses) == pytest.approx(2)

    def test_without_a_price_there_is_no_number(self) -> None:
        table = measure(
            Spelled(nn.Linear(2, 2), [[1.0, 0]]), torch.zeros(1, 1).long(), profile="45nm"
        )
        total = summarize(table)
        assert math.isnan(total["memory_nj"]) and math.isnan(total["total_with_memory_nj"])
        assert total["total_nj"] > 0

    def test_a_user_adds_a_profile_in_five_lines(self, monkeypatch: pytest.MonkeyPatch) -> None:
        mine = EnergyProfile(name="mine", pj_per_ac=1, pj_per_mac=2, sram={1024: 4.0})
        monkeypatch.setitem(PROFILES, "mine", mine)
        model = Spelled(nn.Linear(256, 1, bias=False), [[1.0] * 256])  # a matrix of 1 KiB
        row = sums(model, profile="mine").loc["layer"]
        assert row["energy_pj"] == 256
        events = 256 * 0.5 * 4 * math.sqrt(1000 * 4 / 1024)
        assert row["memory_pj"] == pytest.approx(256 * 2 + 2 * 256 * SMALL + events)

    @pytest.mark.parametrize(
        ("options", "named"),
        [
            ({"pj_per_ac": 1}, "profile 'mine' has no pj_per_mac: give it in picojoules"),
            ({"pj_per_mac": 1}, "profile 'mine' has no pj_per_ac"),
            ({"pj_per_ac": 1, "pj_per_mac": 1, "sram": {8: -1.0}}, r"sram\[8\]=-1.0 must be a pos"),
            ({"pj_per_ac": 1, "pj_per_mac": 1, "bank": 0}, "bank must be a whole number"),
            ({"pj_per_ac": 1, "pj_per_mac": 1, "reuse": "all"}, "reuse='all' is unknown"),
            ({"pj_per_ac": 1, "pj_per_mac": 1, "graded": "free"}, "graded='free' is unknown"),
        ],
        ids=str,
    )
    def test_bad_profiles_are_named(self, options: dict[str, object], named: str) -> None:
        with pytest.raises(ValueError, match=named):
            EnergyProfile(name="mine", **options)


class TestTwoLayers:
    """Two timesteps of three tokens with 0, 1 and 2 spikes of four; then maps 4 to 3 to 2."""

    VALUES = ((0, 0, 0, 0), (1, 0, 0, 0), (1, 0, 1, 0))
    SPIKES, STEPS = 2 * (0 + 1 + 2), 2 * 3

    def rows(self, **options: object):
        torch.manual_seed(0)
        layers = nn.Sequential(nn.Linear(4, 3), LIF(v_threshold=1e-3), nn.Linear(3, 2, bias=False))
        nn.init.constant_(layers[0].weight, 1.0)
        nn.init.constant_(layers[0].bias, -0.5)
        return sums(Spelled(layers, self.VALUES, times=2), **options)

    def test_an_event_reads_its_row_of_weights_and_its_sums(self) -> None:
        row = self.rows().loc["layer.0"]
        assert row["weight_reads"] == self.SPIKES * 3
        weights = self.SPIKES * 3 * SMALL  # twelve words
        accumulators = 2 * self.SPIKES * 3 * SMALL
        events = self.SPIKES * word(4000)  # a queue of 1000 words
        biases = 2 * 3 * self.STEPS * SMALL
        assert row["memory_pj"] == pytest.approx(weights + accumulators + events + biases)
        assert row["neuron_pj"] == pytest.approx(0.9 * 3 * self.STEPS)  # a bias is an addition

    def test_neurons_read_and_write_their_membranes_and_write_events(self) -> None:
        rows = self.rows()
        fired = rows.loc["layer.2", "weight_reads"] / 2  # two synapses each
        assert fired == 2 * 2 * 3  # the two tokens with spikes, at both timesteps
        membranes = 3 * 3 * self.STEPS * SMALL
        assert rows.loc["layer.1", "memory_pj"] == pytest.approx(membranes + fired * word(4000))

    def test_the_twin_multiplies_everything_once(self) -> None:
        rows = self.rows()
        assert rows.loc["layer.0", "ann_weight_reads"] == 3 * 4 * 3
        reads = 3 * (4 * 3 + 2 * 4 * 3 + 4) * SMALL  # weights, sums, inputs
        assert rows.loc["layer.0", "ann_memory_pj"] == pytest.approx(reads + 2 * 3 * 3 * SMALL)

    def test_a_row_that_was_read_may_serve_all_timesteps(self) -> None:
        once = self.rows(profile=replace(SRAM, reuse="timesteps")).loc["layer.0"]
        every = self.rows().loc["layer.0"]
        assert once["weight_reads"] == every["weight_reads"] / 2
        assert every["memory_pj"] - once["memory_pj"] == pytest.approx(self.SPIKES / 2 * 3 * SMALL)

    def test_zeros_of_real_inputs_may_be_skipped(self) -> None:
        model = Spelled(nn.Linear(4, 3, bias=False), [[0.5, 0, 0, 2]], levels=None)
        dense, skipped = (
            sums(model, profile=replace(SRAM, skip_zeros=skip)).loc["layer"]
            for skip in (False, True)
        )
        assert (dense["weight_reads"], skipped["weight_reads"]) == (12, 6)
        assert (dense["macs"], skipped["macs"]) == (12, 6)
        assert dense["effective_macs"] == skipped["effective_macs"] == 6


class Attend(nn.Module):
    def __init__(self, core: nn.Module) -> None:
        super().__init__()
        self.core = core

    def forward(self, x: Tensor) -> Tensor:
        return self.core(x, x, x, None)[0]


class TestAttention:
    VALUES = ((1, 0, 0, 0), (1, 0, 1, 0), (0, 0, 0, 0), (1, 0, 1, 0))

    @pytest.mark.parametrize("decay", [None, "fixed"])
    def test_spiking_attention_has_a_state(self, decay: str | None) -> None:
        core = SpikingCore(1, scale=0.5, decay=decay, dropout=0.0)
        row = sums(Spelled(Attend(core), self.VALUES)).loc["layer.core"]
        updated = 1 + 4 + 0 + 4  # key spikes times value spikes
        touched = 2 * (4 * 16 if decay else updated)  # read and written; a leak touches all
        read = (1 + 2 + 0 + 2) * 4  # a row of four for each query spike, ...
        assert row["memory_pj"] == pytest.approx((touched + read + 2 * read) * SMALL)  # ... summed
        assert row["weight_reads"] == 0

    def test_real_numbers_may_skip_their_zeros_there_too(self) -> None:
        core = SpikingCore(1, scale=0.5, decay=None, dropout=0.0)
        model = Spelled(Attend(core), [[0.5, 0, 0, 0], [0.5, 0, 2.0, 0]], levels=None)
        dense, skipped = (
            sums(model, profile=replace(SRAM, skip_zeros=skip)).loc["layer.core"]
            for skip in (False, True)
        )
        assert dense["macs"] == 2 * (2 * 16)  # an update and a read of each entry, twice
        updated, read = 1 + 4, (1 + 2) * 4
        assert skipped["macs"] == dense["effective_macs"] == updated + read
        assert skipped["memory_pj"] == pytest.approx((2 * updated + read + 2 * read) * SMALL)

    def test_softmax_attention_has_a_cache(self) -> None:
        row = sums(Spelled(Attend(SoftmaxCore(2, 0.0)), self.VALUES, levels=None)).loc["layer.core"]
        pairs = 1 + 2 + 3 + 4
        macs = 2 * pairs * 4  # scores and values, of width 4
        assert row["macs"] == macs
        reads, writes = macs, 2 * 4 * 4
        assert row["memory_pj"] == pytest.approx((reads + writes + 2 * macs) * SMALL)
        exponentials, divisions = 2 * pairs, 2 * 4  # in each of two heads
        assert row["function_pj"] == pytest.approx(18.4 * (exponentials + divisions))

    def test_the_ratio_to_softmax_falls_with_the_length_and_to_linear_attention_does_not(
        self,
    ) -> None:
        def ratios(length: int, **options: object) -> tuple[float, float]:
            tokens = torch.arange(length)[None] % 7
            sizes = {"token_dim": 9, "position_dim": 7, "heads": 2, "blocks": 1, "timesteps": 1}
            torch.manual_seed(0)
            own, linear = (
                summarize(measure(published_decoder(7, 512, **sizes, **given), tokens))
                for given in (
                    {"v_threshold": 0.4, "float_embedding": True, "embedding_std": 1.0},
                    {"spike_degree": 0, "attention": "linear"},
                )
            )
            return own["relative"], own["synaptic_nj"] / linear["synaptic_nj"]

        (softmax, linear), (softmax_long, linear_long) = ratios(32), ratios(512)
        assert softmax_long < 0.7 * softmax
        assert linear_long == pytest.approx(linear, rel=0.1)


class TestRWKV:
    def test_a_time_mixing_by_hand(self) -> None:
        width, tokens = 4, 2

        class One(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.mixing = TimeMixing(0, 1, width, lambda features: None)

            def forward(self, ids: Tensor) -> Tensor:
                return self.mixing(torch.full((*ids.shape, width), 0.5))[0]

        table = measure(One(), torch.zeros(1, tokens).long()).set_index("layer")
        row = table.loc["mixing"]
        # The previous token read and written, three shares; the state of three read and written,
        # two constants; the gate and the average read, their product written.
        assert row["memory_pj"] == pytest.approx((2 + 3 + 3 + 3 + 2 + 3) * width * SMALL)
        assert row["function_pj"] == pytest.approx((4 + 1 + 2) * width * 18.4)
        assert table.loc["mixing.key.linear", "weight_reads"] == width**2
        per_map = (width**2 + 2 * width**2 + width) * SMALL
        assert table.loc["mixing.key.linear", "memory_pj"] == pytest.approx(per_map)


SIZES = {"token_dim": 9, "position_dim": 7, "heads": 2, "blocks": 2}


def transformer(**options: object) -> SpikingDecoder:
    return published_decoder(12, 8, spike_degree=0, **SIZES, **options)


def rwkv(**options: object) -> SpikeGPT:
    return published_spike_gpt(12, n_layer=2, n_embd=20, spikes="none", **options)


MODULES = {
    "transformer": transformer,
    "shifts": lambda: transformer(token_shift=2, mlp_token_shift=1),
    "linear": lambda: transformer(attention="linear", token_shift=1),
    "batch norm": lambda: transformer(normalization="batch"),
    "learned positions": lambda: transformer(position_encoding="learned"),
    "rwkv": rwkv,
    "ffn": lambda: rwkv(model_type="RWKV-ffnPre"),
    "classifier": lambda: SequenceClassifier(transformer(token_shift=1), 3),
    "rwkv classifier": lambda: SequenceClassifier(rwkv(), 3, "last"),
}


class TestTwins:
    @pytest.mark.parametrize("name", MODULES)
    def test_a_real_module_costs_what_its_twin_does(self, name: str) -> None:
        table = measure(MODULES[name](), torch.arange(8).repeat(2, 1))
        total = summarize(table)
        for share in ("relative", "relative_total", "relative_with_memory"):
            assert total[share] == pytest.approx(1, rel=1e-12), share
        assert total["ann_weight_reads"] == pytest.approx(total["weight_reads"])

    @pytest.mark.parametrize(
        "options",
        [
            {"token_shift": 2, "mlp_token_shift": 1},
            {"normalization": "batch"},
            {"timesteps": 2, "position_encoding": "learned"},
            {"spiking_residuals": 2, "readout": "concatenate"},
        ],
        ids=str,
    )
    def test_a_spiking_decoder_has_the_twin_that_it_would_be(self, options) -> None:
        tokens = torch.arange(8)[None]
        spiking = summarize(measure(published_decoder(12, 8, **SIZES, **options), tokens))
        twin = published_decoder(12, 8, spike_degree=0, **SIZES, **options)
        twin = summarize(measure(twin, tokens))
        for own, of_twin in (
            ("ann_nj", "synaptic_nj"),
            ("ann_total_nj", "total_nj"),
            ("ann_memory_nj", "memory_nj"),
        ):
            assert spiking[own] == pytest.approx(twin[of_twin]), own


def test_a_decision_is_paid_once_by_the_twin_whatever_the_readout() -> None:
    """Fault 1: 20 tokens of width 80, three classes; four timesteps side by side."""
    decoder = published_decoder(30, 32, blocks=1, readout="concatenate")
    table = measure(SequenceClassifier(decoder, 3).eval(), torch.zeros(1, 30).long())
    row = table.set_index("layer").loc["backbone.head.linear"]
    assert row["macs"] == pytest.approx(4 * 80 * 3 / 30)
    assert row["ann_pj"] == pytest.approx(4.6 * 80 * 3 / 30) == pytest.approx(36.8)


def test_a_layer_that_costs_nothing_may_say_so() -> None:
    class Free(nn.Linear):
        pass

    register_counter(Free, lambda layer, around: None)
    try:
        model = Spelled(Free(2, 2), [[1.0, 0.0]])
        assert "layer" not in set(measure(model, torch.zeros(1, 1).long())["layer"])
    finally:
        from snn_estimators.energy import COUNTERS

        del COUNTERS[Free]

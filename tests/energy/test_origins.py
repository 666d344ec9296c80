"""Whose spikes a layer sees: the same numbers cost what they cost whoever stands beside them."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
import torch
from published import published_decoder, published_spike_gpt
from spelled import Emits, Spelled, sums
from torch import Tensor, nn

from snn_estimators.energy import PROFILES, measure, summarize
from snn_estimators.nn import LIF, Relu
from snn_estimators.nn.decoder.block import Block
from snn_estimators.nn.decoder.head import READOUTS, Head

SRAM = PROFILES["45nm-sram"]
ONE_TOKEN = torch.zeros(1, 1).long()
SIZES = {"token_dim": 9, "position_dim": 7, "heads": 2, "blocks": 2}
COUNTS = [3, 0, 1, 4]


class Timed(nn.Module):
    """Hand a layer values of its own at each timestep, shape [time, features], for one token."""

    def __init__(self, layer: nn.Module, values: Tensor) -> None:
        super().__init__()
        self.layer, self.values = layer, values

    def forward(self, tokens: Tensor) -> Tensor:
        return self.layer(self.values[:, None, None])


def slots() -> Tensor:
    """Give the counts as four timesteps of single spikes."""
    return torch.tensor([[float(count > step) for count in COUNTS] for step in range(4)])


def graded() -> Tensor:
    """Give the counts as one timestep, in units of a half."""
    return torch.tensor([COUNTS]) * 0.5


class Emitting(nn.Module):
    """Stands for attention or a feed-forward: what it adds is what its neurons emit."""

    def __init__(self, neuron: nn.Module) -> None:
        super().__init__()
        self.neuron = neuron

    def forward(self, x: Tensor, state: object, valid: object) -> tuple[Tensor, None]:
        return self.neuron(x), None


class Silent(Emits):
    """Neurons that never fire."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x)


class TestSlotsAndCounts:
    """Four binary timesteps or one event with a count: as many additions."""

    @pytest.mark.parametrize("readout", ["average", "accumulate"])
    def test_in_the_head(self, readout: str) -> None:
        def row(values: Tensor, code: dict[str, object]):
            head = Head(4, 5, len(values), READOUTS[readout], lambda features: Emits(**code))
            return measure(Timed(head, values), ONE_TOKEN).set_index("layer").loc["layer.linear"]

        binary, counted = row(slots(), {}), row(graded(), {"levels": 4, "unit": 0.5})
        assert binary["accumulates"] == counted["accumulates"] == (3 + 1 + 4) * 5
        assert binary["spike_rate"] == counted["spike_rate"] == 8 / 16
        assert (binary["weight_reads"], counted["weight_reads"]) == (8 * 5, 3 * 5)
        assert binary["neuron_pj"] == counted["neuron_pj"] == pytest.approx(0.9 * 5)  # biases

    @pytest.mark.parametrize(
        ("values", "code"), [(slots(), {}), (graded(), {"levels": 4, "unit": 0.5})], ids=["T", "D"]
    )
    def test_in_the_residual_stream(self, values: Tensor, code: dict[str, object]) -> None:
        block = Block(Emitting(Emits(**code)), Emitting(Silent(**code)))
        table = measure(Timed(block, values), ONE_TOKEN).set_index("layer")
        assert table.loc["layer", "neuron_pj"] == pytest.approx(0.9 * (3 + 1 + 4))


class TestNeighbours:
    def test_single_spikes_stay_single_beside_graded_ones(self) -> None:
        """With a unit of a quarter known in the network, a spike is not four of them."""
        torch.manual_seed(0)
        options = {"spikes": "everywhere", "neuron": "graded", "initialization": "firing"}
        module = published_spike_gpt(12, n_layer=1, n_embd=16, v_threshold=0.3, **options).eval()
        fired = []
        for neuron in (module.blocks[0].mixing_neuron, module.blocks[0].channel_neuron):
            neuron.register_forward_hook(lambda _, __, out: fired.append(out.spikes.sum().item()))
        tokens = torch.arange(12)[None]
        row = measure(module, tokens).set_index("layer").loc["blocks.0"]
        assert sum(fired) > 0
        assert row["neuron_pj"] * 12 == pytest.approx(0.9 * sum(fired))
        assert row["spike_rate"] * 12 * 2 * 16 == pytest.approx(sum(fired))

    def test_counts_in_another_unit_are_real_to_a_layer_that_knows_its_source(self) -> None:
        class Scaled(nn.Module):  # what neurons emitted, times a number that does not fold
            def __init__(self) -> None:
                super().__init__()
                self.linear = nn.Linear(1, 5)

            def forward(self, x: Tensor) -> Tensor:
                return self.linear(x * 0.7)

        row = sums(Spelled(Scaled(), [[1.0], [0.0]], levels=4, unit=0.5)).loc["layer.linear"]
        assert (row["accumulates"], row["macs"]) == (0, 2 * 5)

    def test_real_neurons_stay_real_where_they_emit_ones(self) -> None:
        layers = nn.Sequential(Relu(levels=4, step=1.0), nn.Linear(2, 5))
        row = sums(Spelled(layers, [[1.0, 0.0]], levels=None)).loc["layer.1"]
        assert (row["accumulates"], row["macs"], row["effective_macs"]) == (0, 10, 5)


class TestSilenceOfRealNumbers:
    """Zeros are numbers where no neuron emits them: in the twin, too, they are added."""

    SHARES = ("relative", "relative_total", "relative_with_memory")

    @pytest.mark.parametrize("length", [1, 2])
    def test_no_token_stands_before_the_first(self, length: int) -> None:
        twin = published_decoder(12, 8, spike_degree=0, token_shift=1, mlp_token_shift=2, **SIZES)
        total = summarize(measure(twin, torch.arange(length)[None]))
        for share in self.SHARES:
            assert total[share] == pytest.approx(1, rel=1e-12), share
        assert total["weight_reads"] == pytest.approx(total["ann_weight_reads"])

    @pytest.mark.parametrize(("neuron", "macs"), [("relu", 16 * 16), ("graded", 0)])
    def test_maps_of_previous_tokens_are_what_their_layer_is(self, neuron: str, macs: int) -> None:
        module = published_decoder(12, 8, neuron=neuron, timesteps=1, token_shift=1, **SIZES)
        row = measure(module, ONE_TOKEN).set_index("layer").loc["blocks.0.attention.query.shift"]
        assert (row["accumulates"], row["macs"]) == (0, macs)

    def test_output_maps_that_start_at_zero_add_their_zeros(self) -> None:
        rwkv = published_spike_gpt(12, n_layer=2, n_embd=20, spikes="none", initialization="rwkv")
        table = measure(rwkv, torch.arange(12)[None])
        sums_of_a_block = 0.9 * 2 * 20
        assert table.set_index("layer").loc["blocks.0", "neuron_pj"] == pytest.approx(
            sums_of_a_block
        )
        total = summarize(table)
        for share in self.SHARES:
            assert total[share] == pytest.approx(1, rel=1e-12), share


class TestReuse:
    """Two timesteps in which all of four neurons fire, in front of five outputs."""

    def reads(self, readout: str, reuse: str) -> float:
        head = Head(4, 5, 2, READOUTS[readout], lambda features: LIF(tau=1.0, v_threshold=0.5))
        table = measure(
            Timed(head, torch.ones(2, 4)), ONE_TOKEN, profile=replace(SRAM, reuse=reuse)
        )
        return table.set_index("layer").loc["layer.linear", "weight_reads"]

    @pytest.mark.parametrize(
        ("readout", "rows", "reused"),
        [
            ("average", 2 * 4, 4),
            ("concatenate", 2 * 4, 2 * 4),  # each timestep has weights of its own
            ("final", 4, 4),
        ],
    )
    def test_only_a_row_that_serves_both_is_read_once(
        self, readout: str, rows: int, reused: int
    ) -> None:
        assert self.reads(readout, "none") == rows * 5
        assert self.reads(readout, "timesteps") == reused * 5

    def test_of_real_inputs_those_that_are_used_at_any_timestep_are_read_once(self) -> None:
        values = torch.tensor([[0.3, 0.0, 0.2, 0.0], [0.0, 0.7, 0.4, 0.0]])
        reads = {}
        for skip_zeros, reuse in product((False, True), ("none", "timesteps")):
            profile = replace(SRAM, reuse=reuse, skip_zeros=skip_zeros)
            layer = Timed(nn.Linear(4, 5, bias=False), values)
            table = measure(layer, ONE_TOKEN, profile=profile).set_index("layer")
            reads[skip_zeros, reuse] = table.loc["layer", "weight_reads"] / 5
        assert reads[False, "none"] == 8 and reads[False, "timesteps"] == 4
        assert reads[True, "none"] == 4 and reads[True, "timesteps"] == 3

"""Networks so small that their operations can be counted by hand."""

from __future__ import annotations

import math

import pandas as pd
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from snn_estimators.energy import HOROWITZ_45NM, Operations, measure, summarize
from snn_estimators.nn import LIF
from snn_estimators.nn.decoder.attention import SoftmaxCore, SpikingCore
from snn_estimators.nn.decoder.head import READOUTS, Head
from snn_estimators.nn.norms import BatchNorm, LayerNorm, PowerNorm

TIMESTEPS, WIDTH = 2, 4


class Spell(nn.Module):
    """Hand a layer the values that each token stands for, at every timestep."""

    def __init__(self, layer: nn.Module, values: list[list[float]], times: int = TIMESTEPS) -> None:
        super().__init__()
        self.layer, self.times = layer, times
        self.register_buffer("values", torch.tensor(values, dtype=torch.float32))

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.values[tokens].expand(self.times, *tokens.shape, -1)
        return self.layer(x)


class Attend(nn.Module):
    """Queries, keys and values are all the input."""

    def __init__(self, core: nn.Module) -> None:
        super().__init__()
        self.core = core

    def forward(self, x: Tensor) -> Tensor:
        return self.core(x, x, x, None)[0]


SILENT, ONE, TWO, HALF = [0, 0, 0, 0], [1, 0, 0, 0], [1, 0, 1, 0], [0.5, 0, 0, 0]


def only_row(layer: nn.Module, values: list[list[float]], **options: object) -> pd.Series:
    """Measure one sequence of all tokens; return the sums over it."""
    tokens = torch.arange(len(values))[None]
    table = measure(Spell(layer, values), tokens, **options)
    assert len(table) == 1
    numbers = table.drop(columns=["layer", "kind", "spike_rate"]).iloc[0] * tokens.numel()
    return pd.concat([numbers, table.iloc[0][["layer", "kind", "spike_rate"]]])


class TestLinear:
    def test_spikes_reach_their_fan_out_and_biases_are_free(self) -> None:
        row = only_row(nn.Linear(WIDTH, 3), [SILENT, ONE, TWO])
        assert row["accumulates"] == pytest.approx(TIMESTEPS * (1 + 2) * 3)
        assert row["macs"] == 0
        assert row["spike_rate"] == pytest.approx(3 / 12)
        assert row["energy_pj"] == pytest.approx(0.9 * row["accumulates"])
        assert row["ann_pj"] == pytest.approx(4.6 * 3 * WIDTH * 3)

    def test_one_real_value_makes_macs_of_all_synapses_at_every_timestep(self) -> None:
        row = only_row(nn.Linear(WIDTH, 3), [SILENT, HALF, TWO])
        assert row["macs"] == pytest.approx(TIMESTEPS * 3 * WIDTH * 3)
        assert row["accumulates"] == 0
        assert math.isnan(row["spike_rate"])

    @settings(derandomize=True, deadline=None, max_examples=25)
    @given(value=st.floats(width=32).filter(lambda value: value not in (0, 1)))
    @example(value=math.nan)
    @example(value=math.inf)
    @example(value=-1.0)
    def test_whatever_is_not_zero_or_one_is_real(self, value: float) -> None:
        assert only_row(nn.Linear(WIDTH, 3), [ONE, [value, 0, 0, 0]])["accumulates"] == 0

    def test_a_real_batch_makes_the_layer_real_for_all_batches(self) -> None:
        model = Spell(nn.Linear(WIDTH, 3), [ONE, HALF])
        spiking, real = torch.tensor([[0]]), torch.tensor([[1]])
        for batches in ([spiking, real], [real, spiking]):
            table = measure(model, batches)
            assert table["macs"].item() == TIMESTEPS * WIDTH * 3
            assert table["accumulates"].item() == 0

    def test_silence_is_free(self) -> None:
        row = only_row(nn.Linear(WIDTH, 3), [SILENT, SILENT])
        assert (row["accumulates"], row["macs"], row["spike_rate"]) == (0, 0, 0)


class TestSpikingAttention:
    """One head of four columns, where ONE and TWO meet, or two of two, with a half of TWO each."""

    VALUES = (ONE, TWO, SILENT, TWO)

    def core(self, heads: int, **options: object) -> nn.Module:
        settings = {"scale": 0.5, "decay": None, "dropout": 0.0, **options}
        return Attend(SpikingCore(heads, **settings))

    def row(self, heads: int, attention: str, **options: object) -> pd.Series:
        return only_row(self.core(heads, **options), list(self.VALUES), attention=attention)

    # Query spikes meet i + 1 keys: 1 * 1 + 2 * 2 + 2 * 4 = 13. Scores that are not zero, each with
    # the spikes of the value: token 0 with itself (1); 1 with 0 and 1 (1 + 2); 3 with 0, 1 and 3
    # (1 + 2 + 2), in one head. Split into two heads of a spike each, the first has the same six
    # scores, the second 1 with 1, 3 with 1 and 3.
    @pytest.mark.parametrize(("heads", "values"), [(1, 1 + 3 + 5), (2, 6 + 3)])
    def test_parallel(self, heads: int, values: int) -> None:
        row = self.row(heads, "parallel")
        assert row["accumulates"] == pytest.approx(TIMESTEPS * (13 + values))
        assert row["macs"] == 0

    # Updates: key spikes times value spikes, 1 + 4 + 4, in two heads 1 + (1 + 1) + (1 + 1).
    # Reads: five query spikes, a row of the state each.
    @pytest.mark.parametrize(("heads", "updates"), [(1, 9), (2, 5)])
    def test_recurrent(self, heads: int, updates: int) -> None:
        row = self.row(heads, "recurrent")
        assert row["accumulates"] == pytest.approx(TIMESTEPS * (updates + 5 * WIDTH // heads))
        assert row["macs"] == 0

    @pytest.mark.parametrize("attention", ["parallel", "recurrent"])
    def test_both_forms_stand_in_every_table(self, attention: str) -> None:
        row = self.row(2, attention)
        assert row["accumulates"] == row[f"accumulates_{attention}"]
        assert row["energy_pj"] == row[f"energy_{attention}_pj"]
        assert row["energy_recurrent_pj"] != row["energy_parallel_pj"]

    @pytest.mark.parametrize("kind", ["fixed", "learned"])
    def test_decay_multiplies_scores_of_the_past(self, kind: str) -> None:
        plain, decayed = (self.row(1, "parallel", decay=decay) for decay in (None, kind))
        assert decayed["accumulates"] == plain["accumulates"]
        assert decayed["macs"] == pytest.approx(TIMESTEPS * (6 - 3))

    def test_fixed_decay_of_the_state_is_shifts(self) -> None:
        plain, decayed = (self.row(2, "recurrent", decay=decay) for decay in (None, "fixed"))
        state = 2 * (WIDTH // 2) ** 2
        assert decayed["accumulates"] - plain["accumulates"] == pytest.approx(TIMESTEPS * 4 * state)
        assert decayed["macs"] == 0

    def test_learned_decay_of_the_state_is_macs(self) -> None:
        plain, decayed = (self.row(2, "recurrent", decay=decay) for decay in (None, "learned"))
        assert decayed["accumulates"] == plain["accumulates"]
        assert decayed["macs"] == pytest.approx(TIMESTEPS * 4 * 2 * (WIDTH // 2) ** 2)

    def test_real_numbers_are_macs_between_all_pairs_or_entries(self) -> None:
        values = [HALF, ONE, TWO]
        parallel = only_row(self.core(2), values, attention="parallel")
        recurrent = only_row(self.core(2), values, attention="recurrent")
        assert parallel["accumulates"] == recurrent["accumulates"] == 0
        assert parallel["macs"] == pytest.approx(TIMESTEPS * 2 * (1 + 2 + 3) * WIDTH)
        assert recurrent["macs"] == pytest.approx(TIMESTEPS * 3 * 2 * 2 * (WIDTH // 2) ** 2)

    @settings(derandomize=True, deadline=None, max_examples=25)
    @given(
        spikes=st.lists(st.lists(st.booleans(), min_size=4, max_size=4), min_size=1, max_size=6),
        heads=st.sampled_from([1, 2, 4]),
    )
    def test_counts_are_those_of_a_loop_over_all_spikes(
        self, spikes: list[list[bool]], heads: int
    ) -> None:
        dim = WIDTH // heads
        parallel = recurrent = 0
        for i, query in enumerate(spikes):
            for head in range(heads):
                part = slice(head * dim, (head + 1) * dim)
                recurrent += sum(query[part]) * (sum(query[part]) + dim)
                for key in spikes[: i + 1]:
                    score = sum(a and b for a, b in zip(query[part], key[part], strict=True))
                    parallel += sum(query[part]) + (score > 0) * sum(key[part])
        row = only_row(self.core(heads), [list(map(float, row)) for row in spikes])
        assert row["accumulates_parallel"] == pytest.approx(TIMESTEPS * parallel)
        assert row["accumulates_recurrent"] == pytest.approx(TIMESTEPS * recurrent)

    def test_scores_counted_in_parts_add_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        whole = self.row(2, "parallel")
        monkeypatch.setattr("snn_estimators.energy.attention_counters.SCORES_AT_ONCE", 1)
        assert self.row(2, "parallel").equals(whole)


def test_softmax_attention_is_macs_and_its_own_twin() -> None:
    model = Spell(Attend(SoftmaxCore(2, 0.0)), [HALF, ONE, TWO], times=1)
    table = measure(model, torch.arange(3)[None])
    assert table["macs"].sum() == pytest.approx(2 * (1 + 2 + 3) * WIDTH / 3)
    assert table["energy_pj"].sum() == table["ann_pj"].sum() == table["energy_parallel_pj"].sum()


class TestHead:
    VALUES = (ONE, TWO, SILENT)
    CURRENTS = tuple([3.0 * value for value in row] for row in VALUES)  # LIF fires at once

    def row(self, readout: str, neuron: type[nn.Module] = LIF, **options: object) -> pd.Series:
        head = Head(WIDTH, 5, TIMESTEPS, READOUTS[readout], lambda features: neuron(), **options)
        table = measure(Spell(head, list(self.CURRENTS)), torch.arange(3)[None])
        row = table[table["kind"] == "head"].iloc[0].copy()
        for column in ("accumulates", "macs", "ann_pj"):
            row[column] *= 3
        return row

    @pytest.mark.parametrize("readout", ["average", "accumulate", "concatenate"])
    def test_spikes_count_in_front_of_the_readout(self, readout: str) -> None:
        row = self.row(readout)
        assert row["accumulates"] == pytest.approx(TIMESTEPS * 3 * 5)
        assert row["macs"] == 0
        assert row["spike_rate"] == pytest.approx(3 / 12)

    def test_the_final_readout_only_sees_the_last_timestep(self) -> None:
        assert self.row("final")["accumulates"] == pytest.approx(3 * 5)

    @pytest.mark.parametrize("readout", ["average", "accumulate", "final"])
    def test_neurons_behind_the_readout_fire_once(self, readout: str) -> None:
        assert self.row(readout, read_first=True)["accumulates"] == pytest.approx(3 * 5)

    @pytest.mark.parametrize(
        ("readout", "times"), [("average", 1), ("final", 1), ("concatenate", TIMESTEPS)]
    )
    def test_a_real_head_multiplies_once(self, readout: str, times: int) -> None:
        row = self.row(readout, neuron=nn.Identity)
        assert row["macs"] == pytest.approx(3 * times * WIDTH * 5)
        assert row["accumulates"] == 0
        assert row["ann_pj"] == pytest.approx(4.6 * 3 * WIDTH * 5)


class TestNeurons:
    # Twelve neurons, two timesteps; the input 3 fires at every step, in three neurons.
    VALUES = tuple([3.0 * value for value in row] for row in (ONE, TWO, SILENT))
    UPDATES, SPIKES = TIMESTEPS * 12, TIMESTEPS * 3

    @pytest.mark.parametrize(
        ("options", "accumulates", "macs"),
        [
            ({"tau": 2.0}, 2 * UPDATES, 0),
            ({"tau": 4.0, "v_threshold": 0.5}, 3 * UPDATES, 0),
            ({"tau": 3.0}, UPDATES, UPDATES),
            ({"tau": 1.0}, UPDATES, 0),
            ({"tau": 2.0, "v_reset": None}, 2 * UPDATES + SPIKES, 0),
        ],
        ids=str,
    )
    def test_updates(self, options: dict[str, float], accumulates: int, macs: int) -> None:
        row = only_row(LIF(**options), list(self.VALUES))
        assert row["spike_rate"] == pytest.approx(3 / 12)
        assert row["neuron_pj"] == pytest.approx(
            HOROWITZ_45NM.energy(Operations(accumulates=accumulates, macs=macs))
        )
        assert row["energy_pj"] == row["ann_pj"] == 0

    def test_threshold_may_be_learned(self) -> None:
        plain, learned = (
            only_row(LIF(learnable_threshold=flag), list(self.VALUES)) for flag in (False, True)
        )
        assert plain["neuron_pj"] == learned["neuron_pj"]


class TestNorms:
    @pytest.mark.parametrize(("affine", "macs"), [(True, 3), (False, 2)])
    def test_layer_norm_reads_every_value_several_times(self, affine: bool, macs: int) -> None:
        row = only_row(LayerNorm(WIDTH, elementwise_affine=affine), [ONE, HALF])
        assert row["normalization_pj"] == pytest.approx(
            TIMESTEPS * 2 * WIDTH * HOROWITZ_45NM.energy(Operations(accumulates=2, macs=macs))
        )
        assert row["energy_pj"] == 0

    @pytest.mark.parametrize("norm", [BatchNorm, PowerNorm])
    def test_constant_norms_fold_into_the_weights(self, norm: type[nn.Module]) -> None:
        row = only_row(norm(WIDTH), [ONE, HALF])
        assert (row["kind"], row["normalization_pj"], row["energy_pj"]) == ("norm", 0, 0)


def test_the_overall_rate_weighs_neurons_by_their_number() -> None:
    wide = nn.Sequential(LIF(), nn.Linear(WIDTH, 2 * WIDTH), LIF())
    nn.init.zeros_(wide[1].weight)
    nn.init.constant_(wide[1].bias, 3.0)
    table = measure(Spell(wide, [[3.0, 0, 0, 0]]), torch.zeros(1, 1, dtype=torch.long))
    assert summarize(table)["spike_rate"] == pytest.approx((1 + 8) / (4 + 8))

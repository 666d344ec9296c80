"""Spikes that carry a count: what they cost, and that it is what as many binary spikes would."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from spelled import Emits, Spelled, sums
from torch import Tensor, nn

from snn_estimators.energy import PROFILES, measure, summarize
from snn_estimators.energy.streams import Code
from snn_estimators.nn import Graded, Quantized, Relu, SpikeGPT, SpikingDecoder
from snn_estimators.nn.decoder.attention import SpikingCore

SRAM = PROFILES["45nm-sram"]
CODE = {"levels": 4, "unit": 0.25, "signed": True}


def vector(**options: object) -> Spelled:
    """One token with the counts 3, 0, -1 and 4, and five synapses each."""
    counts = torch.tensor([[3.0, 0, -1, 4]]) * CODE["unit"]
    return Spelled(nn.Linear(4, 5), counts.tolist(), **{**CODE, **options})


def priced(way: str) -> object:
    return replace(SRAM, graded=way)


class TestLinear:
    def test_a_count_is_so_many_additions_and_reads_its_row_once(self) -> None:
        row = sums(vector()).loc["layer"]
        assert row["accumulates"] == (3 + 1 + 4) * 5 == 40
        assert row["weight_reads"] == 3 * 5 == 15
        assert (row["macs"], row["effective_macs"]) == (0, 0)
        assert row["energy_pj"] == pytest.approx(0.9 * 40)

    def test_rates(self) -> None:
        row = sums(vector()).loc["layer"]
        assert row["spike_rate"] == 8 / (4 * 4)
        assert row["mean_count"] == 8 / 4
        assert row["events"] == 3 / 4

    def test_shifts_add_the_weight_for_each_bit_that_is_set(self) -> None:
        row = sums(vector(), profile=priced("shift-add")).loc["layer"]
        assert row["accumulates"] == (2 + 1 + 1) * 5 == 20  # of 11, 1 and 100
        assert row["energy_pj"] == pytest.approx((0.9 + 0.03) * 20)
        assert row["accumulates_recurrent"] == row["accumulates_parallel"] == 20

    def test_or_an_event_is_one_small_multiplication(self) -> None:
        row = sums(vector(), profile=priced("multiply")).loc["layer"]
        assert (row["macs"], row["accumulates"]) == (15, 0)
        bits = 3 + 1  # up to 4, and a sign
        assert row["energy_pj"] == pytest.approx(15 * (3.1 * bits * 32 / 1024 + 0.1))

    @pytest.mark.parametrize("way", ["shift-add", "multiply"])
    def test_single_spikes_are_accumulates_in_any_way(self, way: str) -> None:
        model = Spelled(nn.Linear(2, 5), [[1.0, 0.0]])
        assert sums(model, profile=priced(way)).loc["layer", "energy_pj"] == pytest.approx(4.5)

    def test_biases_are_added_once_however_high_the_counts(self) -> None:
        assert sums(vector()).loc["layer", "neuron_pj"] == pytest.approx(0.9 * 5)

    @pytest.mark.slow
    @settings(derandomize=True, deadline=None, max_examples=25)
    @given(counts=st.lists(st.integers(0, 4), min_size=4, max_size=4))
    def test_as_binary_spikes_one_after_another(self, counts: list[int]) -> None:
        graded = Spelled(nn.Linear(4, 5), [[0.5 * c for c in counts]], levels=4, unit=0.5)
        slots = torch.tensor([[float(c > step) for c in counts] for step in range(4)])

        class Unrolled(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.neuron, self.layer = Emits(), nn.Linear(4, 5)

            def forward(self, tokens: Tensor) -> Tensor:
                return self.layer(self.neuron(slots[:, None, None]))

        binary = measure(Unrolled(), torch.zeros(1, 1).long()).set_index("layer").loc["layer"]
        row = sums(graded).loc["layer"]
        assert row["accumulates"] == binary["accumulates"]
        assert row["spike_rate"] == pytest.approx(binary["spike_rate"])
        assert row["weight_reads"] <= binary["weight_reads"]


class TestCodes:
    @settings(derandomize=True, deadline=None, max_examples=50)
    @given(
        unit=st.floats(0.125, 10, width=32),
        counts=st.lists(st.integers(-16, 16), min_size=1, max_size=8),
    )
    @example(unit=0.3, counts=[3, 7, -16])
    def test_multiples_are_recognised_whatever_the_unit(self, unit, counts) -> None:
        whole = torch.tensor(counts, dtype=torch.float32)
        found = Code(16, unit, signed=True).counts(whole * unit)
        assert found is not None and torch.equal(found, whole)

    @pytest.mark.parametrize(
        ("code", "values"),
        [
            (Code(4, 0.25), [0.25, 0.3]),  # between two multiples
            (Code(4, 0.25), [1.25]),  # beyond the levels
            (Code(4, 0.25), [-0.25]),  # not signed
            (Code(4, 0.25, signed=True), [math.nan]),
            (Code(1, 1.0), [2.0]),
        ],
    )
    def test_nothing_else_is(self, code: Code, values: list[float]) -> None:
        assert code.counts(torch.tensor(values)) is None

    def test_neurons_are_held_to_what_they_declare(self) -> None:
        with pytest.raises(ValueError, match=r"unit=1 up to levels=1 .*set its attributes levels"):
            sums(Spelled(nn.Linear(1, 1), [[2.0]]))

    def test_inputs_of_unknown_origin_are_in_the_finest_unit(self) -> None:
        class Joined(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.fine, self.coarse = Emits(16, 0.25), Emits(4, 1.0)
                self.linear = nn.Linear(2, 5)

            def forward(self, tokens: Tensor) -> Tensor:
                x = torch.ones(*tokens.shape, 1)
                return self.linear(torch.cat([self.fine(x), self.coarse(x)], -1))

        table = measure(Joined(), torch.zeros(1, 1).long()).set_index("layer")
        assert table.loc["linear", "accumulates"] == (4 + 4) * 5

    def test_a_known_origin_decides(self) -> None:
        counts = nn.Sequential(Emits(4, 1.0), nn.Linear(1, 5))
        model = Spelled(counts, [[1.0]], levels=16, unit=0.25)
        assert sums(model).loc["layer.1", "accumulates"] == 5


class TestNeurons:
    @pytest.mark.parametrize("signed", [False, True])
    def test_a_neuron_compares_until_it_stays_below_the_next_level(self, signed: bool) -> None:
        counts = [3, 0, 1, 4] if not signed else [3, 0, -1, 4]
        neuron = Graded(levels=4, step=1.0, signed=signed)
        row = sums(Spelled(neuron, [[float(c) for c in counts]], levels=None)).loc["layer"]
        comparisons = 4 + 1 + 2 + 4  # min(|c| + 1, 4)
        assert row["neuron_pj"] == pytest.approx(0.9 * (comparisons + 4 * signed))

    def test_without_a_membrane_only_the_current_is_read(self) -> None:
        row = sums(Spelled(Graded(4, 1.0), [[3.0, 0, 1, 4]], levels=None)).loc["layer"]
        queue = 10 * math.sqrt(4000 / 8192) / 2
        assert row["memory_pj"] == pytest.approx(4 * 1.0 + 3 * queue)

    def test_quantized_activations_multiply_zeros_too(self) -> None:
        def row(profile: object):
            layers = nn.Sequential(Quantized(4, 0.25, signed=True), nn.Linear(4, 5, bias=False))
            currents = [[0.95, 0.0, -0.6, 9.0]]  # counts of 3, 0, 1 and 4
            return sums(Spelled(layers, currents, levels=None), profile=profile).loc["layer.1"]

        dense, skipped = row(SRAM), row(replace(SRAM, skip_zeros=True))
        assert (dense["macs"], skipped["macs"], dense["effective_macs"]) == (20, 15, 15)
        assert (dense["weight_reads"], skipped["weight_reads"]) == (20, 15)
        product = 3.1 * 4 * 32 / 1024 + 0.1
        assert dense["energy_pj"] == pytest.approx(20 * product)

    def test_without_rounding_all_is_real(self) -> None:
        layers = nn.Sequential(Relu(4, 0.25), nn.Linear(4, 5))
        row = sums(Spelled(layers, [[0.9, 0, -0.5, 9]], levels=None)).loc["layer.1"]
        assert (row["macs"], row["effective_macs"]) == (20, 10)
        assert math.isnan(row["spike_rate"])


class Attend(nn.Module):
    """Queries, keys and values are the thirds of the input, each emitted by neurons of its own."""

    def __init__(self, core: nn.Module, *codes: dict[str, object]) -> None:
        super().__init__()
        self.core, self.neurons = core, nn.ModuleList(Emits(**code) for code in codes)

    def forward(self, x: Tensor) -> Tensor:
        parts = zip(self.neurons, x.chunk(3, -1), strict=True)
        return self.core(*(neuron(part) for neuron, part in parts), None)[0]


def integer_attention(counts: list[list[int]], dim: int, signed: bool, **options: object):
    """Measure attention of one head on whole numbers, each in a unit of its own."""
    units = torch.tensor([0.25, 0.5, 3.0]).repeat_interleave(dim)
    codes = [{"levels": 4, "unit": unit, "signed": signed} for unit in (0.25, 0.5, 3.0)]
    core = Attend(SpikingCore(1, scale=1.0, decay=None, dropout=0.0), *codes)
    values = (torch.tensor(counts, dtype=torch.float32) * units).tolist()
    return sums(Spelled(core, values, levels=None), **options).loc["layer.core"]


def bits(count: int) -> int:
    return abs(count).bit_count()


WAYS = {"accumulate": abs, "shift-add": bits, "multiply": lambda count: int(count != 0)}


class TestAttention:
    """Brute force: one factor of each product is expanded into additions of the other."""

    @pytest.mark.slow
    @settings(derandomize=True, deadline=None, max_examples=20)
    @given(
        counts=st.lists(
            st.lists(st.integers(-4, 4), min_size=6, max_size=6), min_size=1, max_size=4
        ),
        way=st.sampled_from(sorted(WAYS)),
    )
    def test_every_product_is_expanded_once(self, counts: list[list[int]], way: str) -> None:
        size, recurrent, parallel = WAYS[way], 0, 0
        tokens = [(row[:2], row[2:4], row[4:]) for row in counts]
        for i, (q, k, v) in enumerate(tokens):
            for a, b in product(k, v):  # into the state
                recurrent += size(a) * (b != 0)
            recurrent += sum(map(size, q)) * 2  # a row of the state for each
            for _, k_j, v_j in tokens[: i + 1]:
                parallel += sum(map(size, q))
                score = sum(a * b for a, b in zip(q, k_j, strict=True))
                parallel += (score != 0) * sum(map(size, v_j))
        column = "macs" if way == "multiply" else "accumulates"
        for form, expected in (("recurrent", recurrent), ("parallel", parallel)):
            row = integer_attention(counts, 2, True, attention=form, profile=priced(way))
            assert row[column] == expected, form

    def test_expansions_of_single_additions_give_the_integer_result(self) -> None:
        """What is counted computes the right thing: k as unit spikes, v as a whole number."""
        q, k, v = (torch.tensor(x) for x in ([2, -1], [3, -2], [-4, 1]))
        state, additions = torch.zeros(2, 2).long(), 0
        for i, count in enumerate(k.tolist()):
            for _ in range(abs(count)):
                state[i] += v * (1 if count > 0 else -1)
                additions += int((v != 0).sum())
        out = torch.zeros(2).long()
        for i, count in enumerate(q.tolist()):
            for _ in range(abs(count)):
                out += state[i] * (1 if count > 0 else -1)
                additions += 2
        assert torch.equal(out, (q @ k) * v)
        counts = [[2, -1, 3, -2, -4, 1]]
        assert integer_attention(counts, 2, True)["accumulates"] == additions

    def test_attentions_of_binary_slots_do_not_add_up_to_it(self) -> None:
        q = k = v = 2  # two slots of one each: 1 * 1 * 1 twice is not 2 * 2 * 2
        slots = sum(1 * 1 * 1 for _ in range(2))
        assert slots != q * k * v
        row = integer_attention([[2, 2, 2]], 1, False)
        assert row["accumulates"] == 2 * 1 + 2 * 1  # k into the state, q out of it

    def test_a_negative_score_is_a_score(self) -> None:
        counts = [[-1, 1, 1]]
        row = integer_attention(counts, 1, True, attention="parallel")
        assert row["accumulates"] == 1 + 1

    def test_state_words_are_touched_once_an_event(self) -> None:
        row = integer_attention([[4, 4, 4]], 1, False)
        assert row["memory_pj"] == pytest.approx((2 * 1 + 1 + 2 * 1) * 1.0)


class TestQuantizedAttention:
    """Two tokens of two-dimensional queries, keys and values, as quantised activations."""

    COUNTS = ((4, 0, 0, 4, 0, 0), (0, 2, 2, 0, 0, 2))  # in a unit of a half, up to 4

    def row(self, decay: str | None, skip: bool, attention: str):
        neurons = [Quantized(levels=4, step=0.5) for _ in range(3)]
        core = Attend(SpikingCore(1, scale=1.0, decay=decay, dropout=0.0))
        core.neurons.extend(neurons)
        # A current of c - 1/2 steps above the threshold of 1/2 makes a count of c.
        currents = [[(c - 0.5) * 0.5 + 0.5 if c else 0.0 for c in row] for row in self.COUNTS]
        profile = replace(SRAM, skip_zeros=skip)
        model = Spelled(core, currents, levels=None)
        return sums(model, profile=profile, attention=attention).loc["layer.core"]

    # Recurrent, dense: each of two tokens updates a state of 2 x 2 and reads it. Of that is not
    # zero: a key of the second token meets a value; two queries read a row of two each.
    # Parallel, dense: three pairs, scores and values of two. Not zero: the first query at one key,
    # the second at two; its score with itself is zero, with the first it meets a silent value.
    # Products of two counts, of three bits each; and those of a count and a word.
    @pytest.mark.parametrize(
        ("attention", "dense", "sparse"),
        [("recurrent", (2 * 4, 2 * 4), (1, 2 * 2)), ("parallel", (2 * 3, 3 * 2), (1 + 2, 0))],
    )
    def test_products_are_dense_unless_zeros_are_skipped(
        self, attention: str, dense: tuple[int, int], sparse: tuple[int, int]
    ) -> None:
        full, skipped = (self.row(None, skip, attention) for skip in (False, True))
        for row, (of_counts, of_words) in ((full, dense), (skipped, sparse)):
            assert row["macs"] == of_counts + of_words
            pairs = of_counts * 3 * 3 + of_words * 3 * 32
            assert row["energy_pj"] == pytest.approx(3.1 / 1024 * pairs + 0.1 * row["macs"])
        assert full["effective_macs"] == skipped["effective_macs"] == 1 + 2 * 2

    def test_so_is_the_memory(self) -> None:
        full, skipped = (self.row(None, skip, "recurrent") for skip in (False, True))
        # The state read and written, then read; two accumulators each: words at 1 pJ.
        assert full["memory_pj"] == pytest.approx(2 * 8 + 8 + 2 * 8)
        assert skipped["memory_pj"] == pytest.approx(2 * 1 + 4 + 2 * 4)

    @pytest.mark.parametrize("decay", ["fixed", "learned"])
    def test_a_decay_of_scores_is_counted_once(self, decay: str) -> None:
        plain, decayed = (self.row(kind, False, "parallel") for kind in (None, decay))
        assert decayed["macs"] - plain["macs"] == 1  # the pair of different tokens
        assert decayed["energy_pj"] - plain["energy_pj"] == pytest.approx(4.6)


class TestModels:
    TOKENS = torch.arange(12).reshape(2, 6)

    @pytest.mark.parametrize("where", ["linear", "everywhere"])
    def test_every_map_of_a_graded_spike_gpt_accumulates(self, where: str) -> None:
        module = SpikeGPT(12, n_layer=2, n_embd=20, spikes=where, neuron="graded")
        table = measure(module, self.TOKENS)
        maps = table[table["kind"].isin(["linear", "head"])]
        assert (maps["macs"] == 0).all() and maps["accumulates"].sum() > 0

    def test_so_does_a_graded_decoder_with_shifts(self) -> None:
        torch.manual_seed(0)
        sizes = {"token_dim": 9, "position_dim": 7, "heads": 2, "blocks": 2, "timesteps": 1}
        module = SpikingDecoder(
            12, 6, neuron="graded", token_shift=2, mlp_token_shift=1, readout="accumulate", **sizes
        )
        table = measure(module, self.TOKENS)
        assert table["macs"].sum() == 0 and table["accumulates"].sum() > 0
        assert (table.loc[table["kind"] == "neuron", "mean_count"] >= 0).all()

    def test_the_three_neurons_are_priced_apart(self) -> None:
        totals = {}
        for neuron in ("graded", "quantized", "relu"):
            torch.manual_seed(0)
            module = SpikeGPT(12, n_layer=2, n_embd=20, spikes="linear", neuron=neuron)
            totals[neuron] = summarize(measure(module, self.TOKENS))
        assert totals["graded"]["accumulates"] > 0 == totals["quantized"]["accumulates"]
        assert totals["graded"]["weight_reads"] < totals["quantized"]["weight_reads"]
        assert totals["quantized"]["synaptic_nj"] < totals["relu"]["synaptic_nj"]
        assert totals["quantized"]["weight_reads"] == totals["relu"]["weight_reads"]

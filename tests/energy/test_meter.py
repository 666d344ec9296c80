from __future__ import annotations

import threading
import warnings

import pandas as pd
import pytest
import torch
from pandas.testing import assert_frame_equal
from published import published_decoder
from torch import Tensor, nn

from snn_estimators.energy import PROFILES, EnergyMeter, EnergyProfile, measure, summarize
from snn_estimators.nn import SpikingDecoder

VOCABULARY, LENGTH = 12, 10
LIVELY = {"float_embedding": True, "embedding_std": 1.0, "v_threshold": 0.4}
TOKENS = torch.arange(4 * LENGTH).reshape(4, LENGTH) * 7 % VOCABULARY


def decoder(**options: object) -> SpikingDecoder:
    sizes = {"token_dim": 9, "position_dim": 7, "heads": 2, "blocks": 2, "timesteps": 3}
    torch.manual_seed(0)
    return published_decoder(VOCABULARY, LENGTH, **{**sizes, **LIVELY, **options})


def hooks(module: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in module.modules())


VARIANTS = [
    {},
    {"normalization": "batch", "readout": "accumulate"},
    {"normalization": "power", "readout": "concatenate", "token_shift": True},
    {"attention_decay": "fixed", "token_shift": True},
    {"attention_decay": "learned", "readout": "final", "learnable_threshold": True},
    {"spiking_residuals": 1, "first_block_spiking_residual": True},
    {"spiking_residuals": 2, "float_readout": True},
    {"temporal_coding": "rate", "float_embedding": False},
    {"temporal_coding": "latency", "float_embedding": False, "v_reset": None},
    {"encoding": "one-hot", "position_encoding": "linear"},
    {"encoding": "two-hot", "position_encoding": "binary"},
    {"encoding": "binary", "position_encoding": "linear"},
    {"combine_position": True, "token_dim": 8},
    *({"spike_degree": degree} for degree in (0, 1, 2, 3, "attention_only")),
]


@pytest.fixture(params=VARIANTS, ids=str)
def variant(request: pytest.FixtureRequest) -> SpikingDecoder:
    options = dict(request.param)
    if options.get("encoding") in ("one-hot", "binary"):  # widths that two heads divide
        options["heads"] = 1 if options["encoding"] == "binary" else 2
    return decoder(**options)


class TestEveryVariant:
    def test_all_layers_are_counted(self, variant: SpikingDecoder) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            table = measure(variant, TOKENS)
        linear = [n for n, m in variant.named_modules() if isinstance(m, nn.Linear)]
        assert table["layer"].is_unique
        assert set(linear) <= set(table["layer"])
        numbers = table.drop(columns=["layer", "kind", "spike_rate", "mean_count", "events"])
        assert numbers.notna().all(axis=None)
        assert (numbers >= 0).all(axis=None)
        assert table["spike_rate"].dropna().between(0, 1).all()

    def test_the_split_into_batches_does_not_matter(self, variant: SpikingDecoder) -> None:
        whole = measure(variant, [TOKENS])
        assert_frame_equal(measure(variant, TOKENS.split(1)), whole)
        assert_frame_equal(measure(variant, [TOKENS[3:], TOKENS[:3]]), whole)

    def test_padding_is_neither_counted_nor_averaged_over(self, variant: SpikingDecoder) -> None:
        padded = torch.full((2, LENGTH), -1)
        padded[0, :7], padded[1, :4] = TOKENS[0, :7], TOKENS[1, :4]
        apart = [TOKENS[:1, :7], TOKENS[1:2, :4]]
        assert_frame_equal(measure(variant, padded), measure(variant, apart))

    def test_forms_of_attention_differ_in_attention_alone(self, variant: SpikingDecoder) -> None:
        recurrent, parallel = (
            measure(variant, TOKENS, attention=form) for form in ("recurrent", "parallel")
        )
        rest = recurrent["kind"] != "attention"
        assert_frame_equal(recurrent[rest], parallel[rest])
        assert (recurrent["energy_pj"] == recurrent["energy_recurrent_pj"]).all()
        assert (parallel["energy_pj"] == recurrent["energy_parallel_pj"]).all()

    def test_summaries_add_up(self, variant: SpikingDecoder) -> None:
        table = measure(variant, TOKENS)
        totals = summarize(table)
        parts = ["energy_pj", "normalization_pj", "neuron_pj", "function_pj"]
        assert totals["total_nj"] == pytest.approx(table[parts].sum().sum() / 1e3)
        assert totals["synaptic_nj"] == totals["recurrent_nj"]
        assert totals["relative"] == pytest.approx(totals["synaptic_nj"] / totals["ann_nj"])
        with_memory = totals["total_nj"] + table["memory_pj"].sum() / 1e3
        assert totals["total_with_memory_nj"] == pytest.approx(with_memory)
        ann = table[["ann_total_pj", "ann_memory_pj"]].sum().sum() / 1e3
        assert totals["relative_with_memory"] == pytest.approx(with_memory / ann)
        assert totals["length"] == LENGTH


def test_the_seeds_first_block_is_silent_and_free() -> None:
    silent = decoder(float_embedding=False, v_threshold=1.0)
    table = measure(silent, TOKENS).set_index("layer")
    query = table.loc["blocks.0.attention.query.linear"]
    assert (query["spike_rate"], query["energy_pj"]) == (0, 0)
    assert query["ann_pj"] > 0


def test_spike_degree_0_has_no_spikes_to_speak_of() -> None:
    table = measure(decoder(spike_degree=0), TOKENS)
    assert pd.isna(summarize(table)["spike_rate"])
    assert table["spike_rate"].isna().all()


def test_a_real_feed_forward_pays_at_every_timestep() -> None:
    table = measure(decoder(spike_degree=2), TOKENS).set_index("layer")
    expand = table.loc["blocks.1.feed_forward.expand"]
    assert expand["macs"] == pytest.approx(3 * 16 * 64)
    assert expand["energy_pj"] == pytest.approx(3 * expand["ann_pj"])


def test_without_decay_a_recurrent_token_costs_its_spikes_however_long_the_past() -> None:
    model = decoder(position_encoding="learned", heads=1)
    nn.init.zeros_(model.encoding.position.table.weight)  # the same spikes at every position
    tokens = torch.full((1, LENGTH), 3)
    short, long = (
        measure(model, tokens[:, :length]).set_index("layer").loc["blocks.0.attention.core"]
        for length in (3, LENGTH)
    )
    assert short["accumulates_recurrent"] > 0
    assert long["accumulates_recurrent"] == pytest.approx(short["accumulates_recurrent"])
    # In the mean a spike meets (length + 1) / 2 keys, and as many scores reach the values' spikes.
    growth = (LENGTH + 1) / (3 + 1)
    assert long["accumulates_parallel"] == pytest.approx(growth * short["accumulates_parallel"])


def test_a_sequence_costs_no_less_than_its_beginning() -> None:
    model = decoder(attention_decay="fixed", token_shift=True)
    part, whole = measure(model, TOKENS[:, :6]), measure(model, TOKENS)
    for column in ("accumulates_recurrent", "accumulates_parallel", "neuron_pj", "ann_pj"):
        assert (part[column] * 6 <= whole[column] * LENGTH + 1e-6).all(), column


def test_neurons_and_norms_cost_the_same_for_every_token() -> None:
    model = decoder()
    part, whole = measure(model, TOKENS[:, :6]), measure(model, TOKENS)
    constant = part["kind"] != "residual"
    for column in ("neuron_pj", "normalization_pj", "n_values"):
        expected = whole.loc[constant, column].to_list()
        assert part.loc[constant, column].to_list() == pytest.approx(expected), column


class TestManners:
    @pytest.mark.parametrize("training", [True, False])
    def test_modes_are_restored_part_by_part(self, training: bool) -> None:
        model = decoder().train(training)
        model.head.train(not training)
        before = [part.training for part in model.modules()]
        measure(model, TOKENS)
        assert [part.training for part in model.modules()] == before
        assert hooks(model) == 0

    def test_nothing_is_left_behind_by_a_failure(self) -> None:
        model = decoder().train()
        with pytest.raises(ValueError, match="vocab_size"):
            measure(model, [TOKENS, TOKENS + VOCABULARY])
        assert hooks(model) == 0
        assert all(part.training for part in model.modules())

    def test_measuring_changes_neither_weights_nor_statistics_nor_random_numbers(self) -> None:
        model = decoder(normalization="batch", temporal_coding="rate", float_embedding=False)
        before = {name: value.clone() for name, value in model.state_dict().items()}
        state = torch.get_rng_state()
        measure(model.train(), TOKENS)
        assert torch.equal(torch.get_rng_state(), state)
        for name, value in model.state_dict().items():
            assert torch.equal(value, before[name]), name

    def test_the_meter_leaves_the_output_alone_and_needs_one_pass(self) -> None:
        model = decoder().eval()
        with torch.no_grad(), EnergyMeter(model) as meter:
            watched = model(TOKENS)
        assert torch.equal(watched, model(TOKENS))
        assert_frame_equal(meter.table(), measure(model, TOKENS))

    def test_the_meter_stops_at_the_end_of_its_context(self) -> None:
        model = decoder().eval()
        with EnergyMeter(model) as meter:
            model(TOKENS)
        model(TOKENS)
        assert meter.tokens_seen == TOKENS.numel()

    def test_the_meter_goes_on_after_a_call_that_failed(self) -> None:
        model = decoder().eval()
        with EnergyMeter(model) as meter:
            with pytest.raises(ValueError, match="vocab_size"):
                model(TOKENS + VOCABULARY)
            model.stream(TOKENS)  # no call of the module: not watched
            assert meter._tokens is None

    def test_keyword_calls_are_seen(self) -> None:
        model = decoder().eval()
        with torch.no_grad(), EnergyMeter(model) as meter:
            model(tokens=TOKENS)
        assert_frame_equal(meter.table(), measure(model, TOKENS))


class TestThreads:
    def test_calls_of_other_threads_do_not_count(self) -> None:
        model = decoder().eval()
        alone = measure(model, TOKENS)
        counting, done = threading.Event(), threading.Event()

        def score() -> None:
            counting.wait()
            for _ in range(5):
                model(TOKENS[:, :4])
            done.set()

        other = threading.Thread(target=score)
        other.start()
        with torch.no_grad(), EnergyMeter(model) as meter:
            counting.set()
            model(TOKENS)
            done.wait()
        other.join()
        assert_frame_equal(meter.table(), alone)

    def test_each_meter_counts_its_own_thread(self) -> None:
        model, tables = decoder().eval(), {}
        both = threading.Barrier(2)

        def count(tokens: Tensor) -> None:
            with torch.no_grad(), EnergyMeter(model) as meter:
                both.wait()
                for row in tokens.split(1):
                    model(row)
                both.wait()
            tables[len(tokens)] = meter.table()

        threads = [threading.Thread(target=count, args=(part,)) for part in (TOKENS, TOKENS[:1])]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for part in (TOKENS, TOKENS[:1]):
            assert_frame_equal(tables[len(part)], measure(model, part))


def test_what_was_counted_can_be_priced_again() -> None:
    model = decoder().eval()
    with torch.no_grad(), EnergyMeter(model) as meter:
        model(TOKENS)
    for name in PROFILES:
        assert_frame_equal(meter.table(name), measure(model, TOKENS, profile=name))


def test_the_profile_sets_the_price() -> None:
    model = decoder()
    cheap = measure(model, TOKENS, profile=EnergyProfile(name="unit", pj_per_mac=1, pj_per_ac=1))
    assert cheap["energy_pj"].to_list() == pytest.approx(
        (cheap["accumulates"] + cheap["macs"]).to_list()
    )
    named, default = measure(model, TOKENS, profile="45nm-sram"), measure(model, TOKENS)
    assert_frame_equal(named, default)


class Strange(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens * self.weight.sum()


def test_layers_that_no_counter_knows_are_named() -> None:
    with pytest.warns(UserWarning, match=r"energy of 0 \(Strange\) is not counted"):
        EnergyMeter(nn.Sequential(Strange(), nn.Identity()))


class Pooled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(1, 1)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.linear(tokens.sum(1, keepdim=True).float())


def test_padding_must_be_recognisable() -> None:
    assert len(measure(Pooled(), torch.ones(2, 3, dtype=torch.long))) == 1
    with pytest.raises(ValueError, match="padding cannot be"):
        measure(Pooled(), torch.tensor([[1, 2, -1]]))


class TestBadInput:
    def test_no_token(self) -> None:
        with pytest.raises(ValueError, match="no token was seen"):
            measure(decoder(), [])
        with pytest.raises(ValueError, match="no token was seen"):
            measure(decoder(), torch.full((1, 3), -1))

    @pytest.mark.parametrize(
        "batch", [torch.arange(3), torch.ones(1, 3), [[1, 2, 3]]], ids=["1d", "real", "list"]
    )
    def test_what_is_no_batch(self, batch: object) -> None:
        with pytest.raises(TypeError, match="integer tensor of shape"):
            measure(decoder(), [batch])

    def test_unknown_form(self) -> None:
        with pytest.raises(ValueError, match="attention='serial' is unknown"):
            measure(decoder(), TOKENS, attention="serial")

    def test_unknown_profile(self) -> None:
        with pytest.raises(ValueError, match="profile='3nm' is unknown"):
            measure(decoder(), TOKENS, profile="3nm")

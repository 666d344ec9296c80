"""SpikeGPT and RWKV: what is multiplied, what is added, and what is only said to spike."""

from __future__ import annotations

import math
import warnings

import pytest
import torch
from pandas.testing import assert_frame_equal
from published import published_spike_gpt
from torch import Tensor, nn

from snn_estimators.energy import HOROWITZ_45NM, Operations, measure, summarize
from snn_estimators.nn import SpikeGPT, TokenLIF
from snn_estimators.nn.rwkv.mixing import ChannelMixing, TimeMixing

VOCABULARY, WIDTH, LENGTH = 11, 16, 12
TOKENS = torch.arange(4 * LENGTH).reshape(4, LENGTH) * 7 % VOCABULARY
VARIANTS = [
    {},
    {"spikes": "everywhere"},
    {"spikes": "none"},
    {"model_type": "RWKV-ffnPre"},
    {"model_type": "RWKV-ffnPre", "spikes": "everywhere"},
    {"initialization": "published"},
    {"v_reset": None, "tau": 1.5},
    {"n_layer": 1},
]


def spike_gpt(**options: object) -> SpikeGPT:
    """Build one that fires, in double precision: no batch rounds across a threshold."""
    torch.manual_seed(0)
    sizes = {"ctx_len": LENGTH, "n_layer": 2, "n_embd": WIDTH, "initialization": "firing"}
    lively = {"v_threshold": 0.5} if options.get("spikes") == "everywhere" else {}
    return published_spike_gpt(VOCABULARY, **{**sizes, **lively, **options}).double()


@pytest.fixture(params=VARIANTS, ids=str)
def variant(request: pytest.FixtureRequest) -> SpikeGPT:
    return spike_gpt(**request.param)


class TestEveryVariant:
    def test_all_layers_are_counted(self, variant: SpikeGPT) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            table = measure(variant, TOKENS)
        linear = {n for n, m in variant.named_modules() if isinstance(m, nn.Linear)}
        assert table["layer"].is_unique
        assert set(table.loc[table["kind"].isin(["linear", "head"]), "layer"]) == linear
        assert table.set_index("layer").loc["head.linear", "kind"] == "head"
        numbers = table.drop(columns=["layer", "kind", "spike_rate", "mean_count", "events"])
        assert numbers.notna().all(axis=None)
        assert (numbers >= 0).all(axis=None)
        assert table["spike_rate"].dropna().between(0, 1).all()

    def test_the_split_into_batches_does_not_matter(self, variant: SpikeGPT) -> None:
        assert_frame_equal(measure(variant, TOKENS.split(1)), measure(variant, TOKENS))

    def test_padding_is_neither_counted_nor_averaged_over(self, variant: SpikeGPT) -> None:
        padded = torch.full((2, LENGTH), -1)
        padded[0, :7], padded[1, :4] = TOKENS[0, :7], TOKENS[1, :4]
        apart = [TOKENS[:1, :7], TOKENS[1:2, :4]]
        assert_frame_equal(measure(variant, padded), measure(variant, apart))

    def test_both_forms_cost_the_same(self, variant: SpikeGPT) -> None:
        recurrent, parallel = (
            measure(variant, TOKENS, attention=form) for form in ("recurrent", "parallel")
        )
        assert_frame_equal(recurrent, parallel)
        totals = summarize(recurrent)
        assert totals["recurrent_nj"] == totals["parallel_nj"] == totals["synaptic_nj"] > 0

    def test_neurons_and_norms_cost_the_same_for_every_token(self, variant: SpikeGPT) -> None:
        part, whole = measure(variant, TOKENS[:, :5]), measure(variant, TOKENS)
        for column in ("normalization_pj", "n_values", "ann_pj"):
            assert part[column].to_list() == pytest.approx(whole[column].to_list()), column


@pytest.mark.parametrize("model_type", ["RWKV", "RWKV-ffnPre"])
def test_every_variant_is_compared_to_the_same_rwkv(model_type: str) -> None:
    published, everywhere, twin = (
        summarize(measure(spike_gpt(spikes=where, model_type=model_type), TOKENS))
        for where in ("residual", "everywhere", "none")
    )
    assert twin["ann_nj"] == published["ann_nj"] == everywhere["ann_nj"]
    assert published["relative"] == twin["relative"] == 1
    assert published["macs"] == twin["macs"]
    assert published["accumulates"] == twin["accumulates"] == 0
    assert everywhere["relative"] < 0.5


def test_as_published_only_the_embedding_and_the_residual_stream_are_binary() -> None:
    table = measure(spike_gpt(), TOKENS)
    binary = set(table.loc[table["spike_rate"].notna(), "kind"])
    assert binary == {"encoding", "neuron", "residual"}
    real = table[table["kind"].isin(["linear", "head", "mixing"])]
    assert real["spike_rate"].isna().all()
    assert (real["macs"] > 0).all()


def test_with_neurons_everywhere_all_linear_maps_accumulate() -> None:
    table = measure(spike_gpt(spikes="everywhere"), TOKENS)
    maps = table[table["kind"].isin(["linear", "head"])]
    assert (maps["macs"] == 0).all()
    assert (maps["spike_rate"] > 0).all()
    real = table[table["macs"] > 0]
    assert set(real["kind"]) == {"mixing"}


class Spell(nn.Module):
    """Hand a layer the values that each token stands for."""

    def __init__(self, layer: nn.Module, values: list[list[float]]) -> None:
        super().__init__()
        self.layer = layer
        self.register_buffer("values", torch.tensor(values))

    def forward(self, tokens: Tensor) -> Tensor:
        return self.layer(self.values[tokens])[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "accumulates", "macs"),
    [
        ({"tau": 2.0}, 2 * 12, 0),
        ({"tau": 3.0}, 12, 12),
        ({"tau": 1.0}, 12, 0),
        ({"tau": 2.0, "v_reset": None}, 2 * 12 + 3, 0),
    ],
    ids=str,
)
def test_neurons_are_updated_once_a_token(
    options: dict[str, float], accumulates: int, macs: int
) -> None:
    values = [[3.0, 0, 0, 0], [3.0, 0, 3.0, 0], [0.0, 0, 0, 0]]
    row = measure(Spell(TokenLIF(**options), values), torch.arange(3)[None]).iloc[0]
    assert row["spike_rate"] == pytest.approx(3 / 12)
    expected = HOROWITZ_45NM.energy(Operations(accumulates=accumulates, macs=macs)) / 3
    assert row["neuron_pj"] == pytest.approx(expected)
    assert row["energy_pj"] == row["ann_pj"] == 0


# Time mixing: shifts of keys, values and receptances; the recurrence's numerator (two products) and
# denominator (one), for output and state; a gate. Channel mixing: two shifts, four squares, a gate.
@pytest.mark.parametrize(("mixing", "macs"), [(TimeMixing, 3 + 2 * 3 + 1), (ChannelMixing, 7)])
def test_products_value_by_value(mixing: type[nn.Module], macs: int) -> None:
    layer = mixing(0, 2, 4, lambda features: None)
    table = measure(Spell(layer, [[0.5] * 4, [1.0] * 4]), torch.tensor([[0, 1], [1, -1]]))
    row = table.set_index("kind").loc["mixing"]
    assert (row["macs"], row["accumulates"]) == (macs * 4, 0)
    assert row["energy_pj"] == row["ann_pj"] == pytest.approx(4.6 * macs * 4)


class TestResidualStream:
    def row(self, **options: object) -> dict[str, float]:
        model = spike_gpt(n_layer=1, **options)
        fired = []
        for part in (model.blocks[0].mixing_neuron, model.blocks[0].channel_neuron):
            if part is not None:
                part.register_forward_hook(lambda _, __, out: fired.append(out.spikes.sum()))
        row = measure(model, TOKENS).set_index("layer").loc["blocks.0"].to_dict()
        return {**row, "fired": float(sum(fired)) / TOKENS.numel()}

    def test_a_spike_is_an_accumulate_beside_the_neurons(self) -> None:
        row = self.row()
        assert row["fired"] > 0
        assert row["neuron_pj"] == pytest.approx(0.9 * row["fired"])
        assert row["spike_rate"] == pytest.approx(row["fired"] / (2 * WIDTH))
        assert row["energy_pj"] == row["ann_pj"] == 0

    def test_so_is_a_real_number(self) -> None:
        row = self.row(spikes="none")
        assert math.isnan(row["spike_rate"])
        assert row["neuron_pj"] == pytest.approx(0.9 * 2 * WIDTH)

    def test_at_the_published_start_it_is_silent(self) -> None:
        row = self.row(initialization="published")
        assert (row["spike_rate"], row["neuron_pj"]) == (0, 0)


def test_the_embedding_tells_its_bits_and_is_free() -> None:
    model = spike_gpt()
    row = measure(model, TOKENS).set_index("layer").loc["embedding"]
    bits = (model.embedding.weight[TOKENS] >= 0).double().mean()
    assert (row["kind"], row["spike_rate"]) == ("encoding", pytest.approx(bits.item()))
    assert row[["energy_pj", "normalization_pj", "neuron_pj", "ann_pj"]].sum() == 0
    real = measure(spike_gpt(spikes="none"), TOKENS).set_index("layer").loc["embedding"]
    assert (real["kind"], real["n_values"]) == ("embedding", 0)

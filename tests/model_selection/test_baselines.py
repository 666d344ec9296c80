from __future__ import annotations

import math

import pytest
from sklearn.exceptions import NotFittedError

from snn_estimators import SpikeDecoderLM, SpikeGPTLM
from snn_estimators.model_selection import baselines

pytestmark = pytest.mark.slow

TEXT = ["the quick brown fox jumps over the lazy dog. " * 20]
SHAPES = [(1, 8), (1, 16), (1, 32), (2, 32)]
COST = "energy_with_memory_per_token_nj"


@pytest.fixture(scope="module")
def model() -> SpikeGPTLM:
    return SpikeGPTLM(
        module__ctx_len=16,
        module__n_layer=1,
        module__n_embd=32,
        module__spikes="linear",
        module__neuron="graded",
        lr=1e-2,
        max_steps=20,
        random_state=0,
    ).fit(TEXT)


@pytest.fixture(scope="module")
def decoder() -> SpikeDecoderLM:
    return SpikeDecoderLM(
        module__max_len=16,
        module__blocks=1,
        module__heads=1,
        module__token_dim=20,
        module__position_dim=12,
        module__token_shift=1,
        module__timesteps=2,
        max_steps=5,
        random_state=0,
    ).fit(TEXT)


@pytest.fixture(scope="module")
def table(model: SpikeGPTLM):
    return baselines(model, TEXT, TEXT, shapes=SHAPES).set_index("baseline")


def test_the_model_stands_first_with_its_own_scores(model, table) -> None:
    assert table.index[0] == "the model"
    assert table["perplexity"].iloc[0] == pytest.approx(model.perplexity(TEXT))
    assert tuple(table[["blocks", "width"]].iloc[0]) == (1, 32)


def test_the_same_size_is_the_twin_of_the_models_own_shape(model, table) -> None:
    twin = model.twin().fit(TEXT)
    assert table.loc["same size", "perplexity"] == pytest.approx(twin.perplexity(TEXT))
    assert table.loc["same size", "n_parameters"] == table.loc["the model", "ann_n_parameters"]


def test_the_same_cost_is_the_largest_twin_that_costs_no_more(table) -> None:
    costs = table[COST]
    assert costs["same cost"] <= 1.05 * costs["the model"]  # training changes some zeros
    assert table.loc["same cost", "n_parameters"] < table.loc["same size", "n_parameters"]


def test_the_same_perplexity_is_reached_and_by_none_that_is_cheaper(model, table) -> None:
    found = table.loc["same perplexity"]
    assert found["perplexity"] <= table.loc["the model", "perplexity"]
    smaller = [shape for shape in SHAPES if shape < (found["blocks"], found["width"])]
    for blocks, width in smaller:
        twin = model.twin(module__n_layer=blocks, module__n_embd=width).fit(TEXT)
        assert twin.perplexity(TEXT) > table.loc["the model", "perplexity"]


def test_the_sparse_real_twin_has_the_models_shape_and_skips_its_zeros(table) -> None:
    sparse = table.loc["sparse, real"]
    assert sparse["n_parameters"] == table.loc["the model", "n_parameters"]
    assert sparse["weight_reads_per_token"] < table.loc["same size", "weight_reads_per_token"]
    assert math.isnan(sparse["spike_rate"])


def test_zeros_may_count(model) -> None:
    options = {"shapes": SHAPES[:1], "cost": "synaptic", "skip_zeros": False}
    dense = baselines(model, TEXT, TEXT, **options).set_index("baseline")
    assert dense.loc["same cost", "weight_reads_per_token"] == 13 * 8**2 + 8 * model.vocab_size_


@pytest.mark.parametrize("twin", ["rwkv", "linear"])
def test_another_kind_of_twin_is_found_by_its_shape(decoder, twin: str) -> None:
    table = baselines(decoder, TEXT, TEXT, twin=twin, shapes=[(1, 8), (1, 24)])
    table = table.set_index("baseline")
    assert tuple(table.loc["same size", ["blocks", "width"]]) == (1, 24)
    assert table.loc["same size", "n_parameters"] <= table.loc["the model", "n_parameters"]


def test_no_twin_scores_as_well_as_a_better_model(model) -> None:
    table = baselines(model, TEXT, TEXT, shapes=[(1, 8)], lr=1e-6, lr_final=1e-6)
    assert math.isnan(table.set_index("baseline").loc["same perplexity", "perplexity"])


class TestBadInput:
    def test_no_twin_is_as_cheap(self, model) -> None:
        with pytest.raises(ValueError, match=r"no shape costs as little .* give smaller shapes"):
            baselines(model, TEXT, TEXT, shapes=[(4, 160)])

    def test_no_twin_is_as_small(self, decoder) -> None:
        with pytest.raises(ValueError, match="no shape is as small"):
            baselines(decoder, TEXT, TEXT, twin="rwkv", shapes=[(4, 320)])

    def test_a_cost_without_a_price(self, model) -> None:
        with pytest.raises(ValueError, match="no price of memory: use cost='total'"):
            baselines(model, TEXT, TEXT, profile="45nm")

    @pytest.mark.parametrize(
        ("options", "named"),
        [
            ({"twin": "lstm"}, "twin='lstm' is unknown"),
            ({"cost": "time"}, "cost='time' is unknown"),
            ({"profile": "3nm"}, "profile='3nm' is unknown"),
            ({"shapes": [(0, 8)]}, "blocks must be a whole number"),
        ],
        ids=str,
    )
    def test_unknown_options(self, model, options: dict[str, object], named: str) -> None:
        with pytest.raises(ValueError, match=named):
            baselines(model, TEXT, TEXT, **options)

    def test_a_model_that_was_not_fitted(self) -> None:
        with pytest.raises(NotFittedError):
            baselines(SpikeGPTLM(), TEXT, TEXT)

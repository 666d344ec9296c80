"""Classifiers: a backbone along the tokens, and one linear map a document."""

from __future__ import annotations

import warnings

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal
from published import published_decoder, published_spike_gpt

from snn_estimators.energy import measure, summarize
from snn_estimators.nn import SpikeGPT, SpikingDecoder
from snn_estimators.nn.classifier import SequenceClassifier

VOCABULARY, LIMIT, CLASSES = 12, 8, 3
LIVELY = {"float_embedding": True, "embedding_std": 1.0, "v_threshold": 0.4}
SIZES = {"token_dim": 9, "position_dim": 7, "heads": 2, "blocks": 1, "timesteps": 2}
TOKENS = torch.arange(20).reshape(1, 20) * 7 % VOCABULARY


def spiking_decoder(**options: object) -> SpikingDecoder:
    return published_decoder(VOCABULARY, LIMIT, **{**SIZES, **LIVELY, **options})


def spike_gpt(**options: object) -> SpikeGPT:
    sizes = {"ctx_len": LIMIT, "n_layer": 2, "n_embd": 16, "initialization": "firing"}
    return published_spike_gpt(VOCABULARY, **{**sizes, **options})


BACKBONES = {"decoder": spiking_decoder, "gpt": spike_gpt}


@pytest.fixture(params=BACKBONES, scope="module")
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def classifier(name: str, decision: str = "mean", **options: object) -> SequenceClassifier:
    torch.manual_seed(0)
    return SequenceClassifier(BACKBONES[name](**options), CLASSES, decision).double()


def padded(*lengths: int) -> torch.Tensor:
    tokens = TOKENS.repeat(len(lengths), 1)[:, : max(lengths)]
    return tokens.masked_fill(torch.arange(max(lengths)) >= torch.tensor(lengths)[:, None], -1)


def head(table):
    return table.set_index("layer").loc["backbone.head.linear"]


def test_pooled_features_are_real_and_multiplied_once_a_document(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        row = head(measure(classifier(name), padded(5, 3)))
    assert row["kind"] == "head"
    assert row["accumulates"] == 0
    assert row["macs"] == pytest.approx(2 * 16 * CLASSES / (5 + 3))
    assert row["energy_pj"] == pytest.approx(row["ann_pj"])


def test_spikes_of_the_last_token_accumulate() -> None:
    model = classifier("gpt", "last", spikes="everywhere", v_threshold=0.5).eval()
    spikes = model.pool(padded(5, 3)).sum().item()
    row = head(measure(model, padded(5, 3)))
    assert row["macs"] == 0
    assert row["accumulates"] == pytest.approx(spikes * CLASSES / (5 + 3))


def test_the_backbone_costs_what_it_costs_alone(name: str) -> None:
    model, tokens = classifier(name), padded(5, 3)
    ours = measure(model, tokens)
    alone = measure(model.backbone, tokens)
    rest = ours["layer"] != "backbone.head.linear"
    alone = alone[alone["layer"] != "head.linear"]
    alone = alone.assign(layer="backbone." + alone["layer"])
    assert_frame_equal(ours[rest], alone)


@pytest.mark.slow
@pytest.mark.parametrize("decision", ["mean", "last"])
@settings(derandomize=True, deadline=None, max_examples=5)
@given(lengths=st.lists(st.integers(1, 20), min_size=1, max_size=3))
@example(lengths=[8, 1])
@example(lengths=[17, 16])
def test_padding_does_not_count(name: str, decision: str, lengths: list[int]) -> None:
    model = classifier(name, decision)
    apart = [TOKENS[:, :length] for length in lengths]
    assert_frame_equal(measure(model, padded(*lengths)), measure(model, apart))


def test_windows_attend_within_themselves() -> None:
    model = classifier("decoder", spike_degree=0)
    longer, window = (measure(model, TOKENS[:, :n]) for n in (2 * LIMIT, LIMIT))
    rest = window["kind"] != "head"
    columns = ["macs", "ann_pj", "normalization_pj"]
    assert_frame_equal(longer.loc[rest, columns], window.loc[rest, columns])


def test_what_the_last_window_does_not_hold_is_free() -> None:
    model = classifier("decoder", "last", spike_degree=0)
    longer, window = (measure(model, TOKENS[:, :n]) for n in (2 * LIMIT, LIMIT))
    assert longer["macs"].sum() == pytest.approx(window["macs"].sum() / 2)


@pytest.mark.parametrize("decision", ["mean", "last"])
def test_twins_are_their_own_measure(name: str, decision: str) -> None:
    twin = {"decoder": {"spike_degree": 0}, "gpt": {"spikes": "none"}}[name]
    totals = summarize(measure(classifier(name, decision, **twin), padded(20, 5)))
    assert totals["relative"] == pytest.approx(1)

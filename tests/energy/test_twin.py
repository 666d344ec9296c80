from __future__ import annotations

import pytest
import torch
from pandas.testing import assert_frame_equal
from published import published_decoder, published_spike_gpt
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from snn_estimators.energy import (
    HOROWITZ_45NM,
    EnergyProfile,
    Operations,
    ann_twin,
    measure,
    rwkv_twin,
    spike_gpt_twins,
    summarize,
)
from snn_estimators.nn import SpikeGPT, SpikingDecoder

SIZES = {"blocks": 2, "mlp_ratio": 3, "vocab_size": 11}
TOKENS = torch.arange(7).expand(2, 7)


def twin(**options: object) -> SpikingDecoder:
    sizes = {**SIZES, "max_len": 9, "token_dim": 7, "position_dim": 5, "heads": 2}
    return published_decoder(**{**sizes, "spike_degree": 0, **options}).eval()


@pytest.mark.slow
def test_macs_are_half_the_flops_that_torch_counts() -> None:
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        twin()(TOKENS)
    dense = ann_twin(width=12, length=7, causal=False, **SIZES)
    assert dense.sum() * TOKENS.numel() == counter.get_total_flops() / 2


def test_the_twin_measures_what_its_dimensions_say() -> None:
    table = measure(twin(), TOKENS)
    expected = ann_twin(width=12, length=7, **SIZES)
    assert table["macs"].sum() == pytest.approx(expected.sum())
    assert table["accumulates"].sum() == 0
    assert table["ann_pj"].sum() == pytest.approx(
        HOROWITZ_45NM.energy(Operations(macs=expected.sum()))
    )
    assert summarize(table)["relative"] == pytest.approx(1)


@pytest.mark.parametrize(
    "options",
    [
        {"spike_degree": 4},
        {"spike_degree": 1},
        {"spike_degree": "attention_only", "timesteps": 2},
        {"token_shift": 1, "attention_decay": "learned"},
        {"token_shift": 2, "mlp_token_shift": 1},
        {"readout": "concatenate"},
        {"spiking_residuals": 2},
    ],
    ids=str,
)
def test_every_variant_is_compared_to_the_same_twin(options: dict[str, object]) -> None:
    shifts = {name: options.get(name, 0) for name in ("token_shift", "mlp_token_shift")}
    expected = ann_twin(width=12, length=7, **SIZES, **shifts).sum()
    table = measure(twin(**{"spike_degree": 4, **options}), TOKENS)
    assert table["ann_pj"].sum() == pytest.approx(HOROWITZ_45NM.energy(Operations(macs=expected)))


def test_only_attention_depends_on_the_length() -> None:
    short, long = (ann_twin(width=12, length=length, **SIZES) for length in (3, 7))
    assert long["attention"] == 2 * short["attention"]
    assert (long.drop("attention") == short.drop("attention")).all()


MODEL_TYPES = pytest.mark.parametrize("model_type", ["RWKV", "RWKV-ffnPre"])


def rwkv(**options: object) -> SpikeGPT:
    torch.manual_seed(0)
    return published_spike_gpt(
        11, **{"ctx_len": 7, "n_layer": 3, "n_embd": 12, "spikes": "none", **options}
    )


@MODEL_TYPES
def test_rwkv_macs_are_half_the_flops_of_its_matrices(model_type: str) -> None:
    with FlopCounterMode(display=False) as counter:
        rwkv(model_type=model_type)(TOKENS)
    macs = rwkv_twin(width=12, blocks=3, vocab_size=11, model_type=model_type)
    value_by_value = macs["attention"] + (4 if model_type == "RWKV-ffnPre" else 3) * 7 * 12
    assert (macs.sum() - value_by_value) * TOKENS.numel() == counter.get_total_flops() / 2


@MODEL_TYPES
@pytest.mark.parametrize("spikes", ["none", "residual", "everywhere"])
def test_rwkv_measures_what_its_dimensions_say(spikes: str, model_type: str) -> None:
    module = rwkv(spikes=spikes, model_type=model_type)
    table = measure(module, TOKENS)
    expected = rwkv_twin(width=12, blocks=3, vocab_size=11, model_type=model_type)
    assert table["ann_pj"].sum() == pytest.approx(
        HOROWITZ_45NM.energy(Operations(macs=expected.sum()))
    )
    if spikes != "everywhere":
        assert table["macs"].sum() == pytest.approx(expected.sum())
    twins = spike_gpt_twins(module)
    assert twins["rwkv"].sum() == pytest.approx(summarize(table)["ann_nj"])


def test_the_transformer_of_a_spike_gpt_is_the_decoder_of_its_size() -> None:
    decoder = twin(blocks=3, mlp_ratio=4, max_len=7)
    expected = summarize(measure(decoder, TOKENS))["synaptic_nj"]
    assert spike_gpt_twins(rwkv())["transformer"].sum() == pytest.approx(expected)
    assert list(spike_gpt_twins(rwkv()).index) == list(ann_twin(width=12, length=7, **SIZES).index)


def test_only_the_transformer_depends_on_the_length() -> None:
    short, long = (spike_gpt_twins(rwkv(), length=length) for length in (7, 1000))
    assert (short["rwkv"] == long["rwkv"]).all()
    assert long["transformer"].sum() > 2 * short["transformer"].sum()
    assert spike_gpt_twins(rwkv()).equals(short)


def test_the_profile_prices_both_twins() -> None:
    dear, default = (
        spike_gpt_twins(rwkv(), profile=p)
        for p in (EnergyProfile(name="x", pj_per_mac=9.2, pj_per_ac=1), "45nm")
    )
    assert_frame_equal(dear, 2 * default)


def test_unknown_model_types_are_refused() -> None:
    with pytest.raises(ValueError, match="model_type='GPT' is unknown"):
        rwkv_twin(width=12, blocks=3, vocab_size=11, model_type="GPT")

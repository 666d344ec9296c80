from __future__ import annotations

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from snn_estimators.energy import HOROWITZ_45NM, ann_twin, measure, summarize
from snn_estimators.nn import SpikingDecoder

SIZES = {"blocks": 2, "mlp_ratio": 3, "vocab_size": 11}
TOKENS = torch.arange(7).expand(2, 7)


def twin(**options: object) -> SpikingDecoder:
    sizes = {**SIZES, "max_len": 9, "token_dim": 7, "position_dim": 5, "heads": 2}
    return SpikingDecoder(**{**sizes, "spike_degree": 0, **options}).eval()


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
    assert table["ann_pj"].sum() == pytest.approx(HOROWITZ_45NM.energy(macs=expected.sum()))
    assert summarize(table)["relative"] == pytest.approx(1)


@pytest.mark.parametrize(
    "options",
    [
        {"spike_degree": 4},
        {"spike_degree": 1},
        {"spike_degree": "attention_only", "timesteps": 2},
        {"token_shift": True, "attention_decay": "learned"},
        {"readout": "concatenate"},
        {"spiking_residuals": 2},
    ],
    ids=str,
)
def test_every_variant_is_compared_to_the_same_twin(options: dict[str, object]) -> None:
    expected = ann_twin(width=12, length=7, **SIZES).sum()
    table = measure(twin(**{"spike_degree": 4, **options}), TOKENS)
    assert table["ann_pj"].sum() == pytest.approx(HOROWITZ_45NM.energy(macs=expected))


def test_only_attention_depends_on_the_length() -> None:
    short, long = (ann_twin(width=12, length=length, **SIZES) for length in (3, 7))
    assert long["attention"] == 2 * short["attention"]
    assert (long.drop("attention") == short.drop("attention")).all()

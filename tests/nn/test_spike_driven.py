"""Counts run as binary spikes give the same logits, at the additions that are accounted for."""

from __future__ import annotations

import pytest
import torch

from snn_estimators.energy import measure
from snn_estimators.nn import (
    NEURONS,
    Neuron,
    SpikeGPT,
    SpikingDecoder,
    UpdateCost,
    register_neuron,
    spike_driven,
)
from snn_estimators.nn.classifier import SequenceClassifier

TOKENS = torch.randint(12, (2, 8), generator=torch.Generator().manual_seed(0))
MODULES = {
    "SpikeGPT": lambda: SpikeGPT(12, n_layer=2, n_embd=20),
    "signed": lambda: SpikeGPT(12, n_layer=2, n_embd=20, signed=True, levels=3),
    "everywhere": lambda: SpikeGPT(12, n_layer=2, n_embd=20, spikes="everywhere"),
    "SpikeDecoder": lambda: SpikingDecoder(12, 8, heads=2),
    "coarse": lambda: SpikingDecoder(12, 8, heads=2, levels=2, step=1.0, token_shift=0),
    "trained": lambda: SpikeGPT(
        12, n_embd=20, learnable_threshold=True, learnable_step=True, per_channel=True
    ),
    "trained decoder": lambda: SpikingDecoder(
        12, 8, heads=2, learnable_threshold=True, learnable_step=True, per_channel=True
    ),
    "powers": lambda: SpikeGPT(12, n_layer=2, n_embd=20, neuron="power-of-two"),
    **{
        readout: lambda readout=readout: SpikingDecoder(
            12, 8, heads=2, levels=3, timesteps=2, readout=readout
        )
        for readout in ("average", "accumulate", "concatenate", "final")
    },
}


@pytest.fixture(params=MODULES)
def module(request):
    torch.manual_seed(0)
    made = MODULES[request.param]()
    with torch.no_grad():  # RWKV's initialisation has silent maps
        for weights in made.parameters():
            if not weights.any():
                weights.normal_(std=0.3)
        for name, numbers in made.named_parameters():  # as if trained
            if name.endswith(("gain", "threshold", "log_step")):
                numbers += 0.2 * torch.randn_like(numbers)
    return made.eval()


@torch.no_grad()
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
def test_the_logits_are_the_same(module, dtype, bound):
    module.to(dtype)
    expected = module(TOKENS)
    with spike_driven(module) as additions:
        found = module(TOKENS)
    torch.testing.assert_close(found, expected, rtol=bound, atol=bound)
    assert sum(additions.values()) > 0
    assert torch.equal(module(TOKENS), expected)  # nothing is left behind


@torch.no_grad()
def test_it_makes_the_additions_that_the_energy_model_counts(module):
    with spike_driven(module) as additions:
        module(TOKENS)
    table = measure(module, [TOKENS]).set_index("layer")
    for name, number in additions.items():
        assert table.loc[name, "accumulates"] * TOKENS.numel() == pytest.approx(number), name
    spiking = table[table["kind"].isin(["linear", "head"]) & (table["accumulates"] > 0)]
    assert set(spiking.index) == set(additions)


def test_binary_and_real_neurons_have_nothing_to_spread():
    for neuron in ("lif", "relu", "quantized"):
        with (
            pytest.raises(ValueError, match="No neurons of the module emit counts as spikes"),
            spike_driven(SpikeGPT(12, n_embd=16, neuron=neuron)),
        ):
            pass


@torch.no_grad()
def test_a_classifier_decides_as_it_did_and_its_decision_is_not_spread():
    classifier = SequenceClassifier(SpikingDecoder(12, 4, heads=2), n_classes=3).double().eval()
    with spike_driven(classifier) as additions:
        found = classifier(TOKENS)
    torch.testing.assert_close(found, classifier(TOKENS), rtol=1e-9, atol=1e-9)
    assert additions["backbone.blocks.0.attention.query.linear"] > 0
    assert "backbone.head.linear" not in additions


@torch.no_grad()
def test_padding_is_run_and_counted():
    module = SpikeGPT(12, n_layer=1, n_embd=20).eval()
    with spike_driven(module) as of_tokens:
        module(TOKENS)
    with spike_driven(module) as with_padding:
        logits = module(torch.nn.functional.pad(TOKENS, (0, 3), value=-1))
    torch.testing.assert_close(logits[:, :8], module(TOKENS), rtol=1e-4, atol=1e-4)
    assert with_padding.total() > of_tokens.total()


class Sevenfold(Neuron):
    levels, unit, signed = 3, 0.5, True

    def forward(self, x):
        return (x / 0.5).round().clamp(-3, 3) * 0.5

    def update_cost(self):
        return UpdateCost(accumulates=1)


@torch.no_grad()
def test_a_registered_neuron_that_declares_levels_is_spread_too():
    register_neuron("sevenfold", lambda options: Sevenfold())
    try:
        module = SpikeGPT(12, n_embd=20, neuron="sevenfold").double().eval()
    finally:
        del NEURONS["sevenfold"]
    with spike_driven(module) as additions:
        found = module(TOKENS)
    torch.testing.assert_close(found, module(TOKENS), rtol=1e-9, atol=1e-9)
    assert additions["head.linear"] > 0

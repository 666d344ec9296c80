"""Counts run as binary spikes give the same logits, at the additions that are accounted for."""

from __future__ import annotations

import pytest
import torch

from snn_estimators.energy import measure
from snn_estimators.nn import SpikeGPT, SpikingDecoder, spike_driven

TOKENS = torch.randint(12, (2, 8), generator=torch.Generator().manual_seed(0))
MODULES = {
    "SpikeGPT": lambda: SpikeGPT(12, n_layer=2, n_embd=20),
    "signed": lambda: SpikeGPT(12, n_layer=2, n_embd=20, signed=True, levels=3),
    "everywhere": lambda: SpikeGPT(12, n_layer=2, n_embd=20, spikes="everywhere"),
    "SpikeDecoder": lambda: SpikingDecoder(12, 8, heads=2),
    "coarse": lambda: SpikingDecoder(12, 8, heads=2, levels=2, step=1.0, token_shift=0),
    "concatenate": lambda: SpikingDecoder(12, 8, heads=2, timesteps=2, readout="concatenate"),
}


@pytest.fixture(params=MODULES)
def module(request):
    torch.manual_seed(0)
    made = MODULES[request.param]()
    with torch.no_grad():  # RWKV's initialisation has silent maps
        for weights in made.parameters():
            if not weights.any():
                weights.normal_(std=0.3)
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
    for neuron in ("lif", "relu"):
        with (
            pytest.raises(ValueError, match="No neurons of the module emit counts"),
            spike_driven(SpikeGPT(12, n_embd=16, neuron=neuron)),
        ):
            pass

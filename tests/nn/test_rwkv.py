"""RWKV's two mixings: their formulas, their states, and how they start out."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from snn_estimators.nn import SpikeGPT, TokenLIF
from snn_estimators.nn.rwkv.mixing import ChannelMixing, TimeMixing, shift
from snn_estimators.nn.spiking_linear import PreSpikingLinear

WIDTH = 12
MIXINGS = pytest.mark.parametrize("mixing", [TimeMixing, ChannelMixing])


def some_input(length=9):
    return torch.randn(3, length, WIDTH, dtype=torch.float64)


def build(mixing, neuron=lambda features: None):
    return mixing(1, 2, WIDTH, neuron).double()


@MIXINGS
@pytest.mark.parametrize(
    "neuron", [lambda features: None, lambda features: TokenLIF(v_threshold=0.3)]
)
def test_any_cut_of_a_sequence_equals_the_whole(mixing, neuron):
    layer, x, state, parts = build(mixing, neuron), some_input(), None, []
    for part in x.split([1, 5, 3], dim=1):
        out, state = layer(part, state)
        parts.append(out)
    whole, last = layer(x)
    torch.testing.assert_close(torch.cat(parts, 1), whole)
    torch.testing.assert_close(state, last)


def test_channel_mixing_is_a_gated_squared_relu():
    layer, x = build(ChannelMixing), some_input()
    previous, _ = shift(x, None)
    key, receptance = (
        share * x + (1 - share) * previous for share in (layer.mix_key, layer.mix_receptance)
    )
    hidden = F.relu(key @ layer.key.linear.weight.mT) ** 2
    gate = torch.sigmoid(receptance @ layer.receptance.linear.weight.mT)
    torch.testing.assert_close(layer(x)[0], gate * (hidden @ layer.value.linear.weight.mT))


def test_time_mixing_of_one_token_is_its_gated_value():
    layer, x = build(TimeMixing), some_input(1)
    value, gate = (
        share * x @ getattr(layer, name).linear.weight.mT
        for share, name in ((layer.mix_value, "value"), (layer.mix_receptance, "receptance"))
    )
    expected = (torch.sigmoid(gate) * value) @ layer.output.linear.weight.mT
    torch.testing.assert_close(layer(x)[0], expected)


def test_a_shift_gives_the_predecessor():
    x = some_input()
    previous, last = shift(x, None)
    assert not previous[:, 0].any()
    assert torch.equal(previous[:, 1:], x[:, :-1]) and torch.equal(last, x[:, -1:])
    assert torch.equal(shift(x, last)[0][:, 0], x[:, -1])


def test_neurons_in_front_of_a_map_see_normalised_input_unless_it_is():
    x = 100 + some_input()
    plain = PreSpikingLinear(WIDTH, 4, lambda features: None).double()
    assert plain(x)[1] is None
    torch.testing.assert_close(plain(x)[0], x @ plain.linear.weight.mT)
    spiking = PreSpikingLinear(WIDTH, 4, lambda features: TokenLIF()).double()
    spikes = spiking.neuron(spiking.norm(x)).spikes
    assert 0 < spikes.mean() < 0.5
    torch.testing.assert_close(spiking(x)[0], spikes @ spiking.linear.weight.mT)
    given = PreSpikingLinear(WIDTH, 4, lambda features: TokenLIF(), normalized=True).double()
    assert given.neuron(given.norm(x)).spikes.mean() == 1


@MIXINGS
def test_initialisations_set_the_strength_of_maps(mixing):
    layer = mixing(1, 2, 64, lambda features: None)
    layer.initialize_as_rwkv()
    for name, linear in layer.named_children():
        weight = linear.linear.weight
        if name in mixing.SILENT:
            assert not weight.any()
        else:
            gain = max(1, weight.shape[0] / weight.shape[1]) ** 0.5
            torch.testing.assert_close(weight.norm(2).item(), 8 * gain, rtol=1e-4, atol=0)
    layer.initialize_firing()
    for name, deviation in mixing.FIRING.items():
        linear = getattr(layer, name).linear
        made = linear(torch.randn(500, linear.in_features)).std().item()
        assert made == pytest.approx(deviation, rel=0.1)


def test_rwkv_initialisation():
    module = SpikeGPT(11, n_layer=2, n_embd=16, initialization="rwkv")
    block = module.blocks[0]
    for name in ("key", "receptance", "output"):
        assert not getattr(block.mixing, name).linear.weight.any()
    weight = block.channel_mixing.key.linear.weight  # 64 x 16, widening by 4: gain 2
    torch.testing.assert_close(weight.mT @ weight, 4 * torch.eye(16), atol=1e-4, rtol=0)
    embedding = module.embedding.weight
    assert embedding.abs().max() < 1e-3 and embedding.any()

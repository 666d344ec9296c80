"""Neurons as modules: LIF over timesteps or tokens, its threshold, and what an update costs."""

from __future__ import annotations

import pytest
import torch
from published import published_decoder

from snn_estimators.nn import LIF, NeuronOptions, TokenLIF, UpdateCost
from snn_estimators.nn.neurons import build_neuron
from snn_estimators.ops import LIFParameters, lif


def test_a_module_is_the_operator_with_its_options():
    x = 3 * torch.randn(6, 4, 5)
    options = NeuronOptions(tau=1.7, v_threshold=0.8, v_reset=None, surrogate="atan")
    parameters = LIFParameters(1.7, 0.8, None, True, "atan")
    assert torch.equal(build_neuron("lif", options, 5)(x), lif(x, parameters).spikes)
    tokens, state = TokenLIF(1.7, 0.8, None, surrogate="atan")(x)
    expected = lif(x, parameters, dim=1)
    assert torch.equal(tokens, expected.spikes) and torch.equal(state, expected.state)


def test_a_call_starts_from_rest_and_a_stream_from_its_state():
    neurons, x = LIF(), 3 * torch.randn(6, 4)
    assert torch.equal(neurons(x), neurons(x))
    along, x = TokenLIF(), 3 * torch.randn(2, 9, 4)
    start, state = along(x[:, :5])
    assert torch.equal(torch.cat([start, along(x[:, 5:], state).spikes], 1), along(x).spikes)


def test_a_learned_threshold_is_one_number_and_gets_a_gradient():
    neurons = LIF(v_threshold=0.7, learnable_threshold=True)
    (threshold,) = neurons.parameters()
    neurons(torch.rand(5, 8)).sum().backward()
    assert threshold.item() == pytest.approx(0.7) and threshold.grad != 0
    assert "v_threshold=0.7" in repr(neurons)


def test_each_neuron_may_learn_a_threshold_of_its_own():
    options = NeuronOptions(learnable_threshold=True, per_channel=True)
    neurons, x = build_neuron("lif", options, 8), torch.rand(5, 3, 8)
    (threshold,) = neurons.parameters()
    spikes = neurons(x)
    spikes.sum().backward()
    assert threshold.shape == threshold.grad.shape == (8,)
    assert torch.equal(spikes, LIF()(x))
    assert not torch.equal(threshold.grad, threshold.grad[:1].expand(8))


@pytest.mark.parametrize(
    ("options", "cost"),
    [
        ({"tau": 1.0}, UpdateCost(1)),
        ({"tau": 4.0}, UpdateCost(3)),
        ({"tau": 3.0}, UpdateCost(1, 1)),
        ({"tau": 3.0, "v_reset": None}, UpdateCost(1, 1, 1)),
    ],
    ids=str,
)
def test_update_costs(options, cost):
    assert LIF(**options).update_cost() == TokenLIF(**options).update_cost() == cost


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"tau": 0.5}, "tau=0.5 must be at least 1"),
        ({"v_threshold": 0.0}, "v_threshold=0.0 must lie above the resting membrane 0.0"),
        ({"v_threshold": 1.0, "v_reset": 1.0}, "v_threshold=1.0 must lie above"),
        ({"surrogate": "relu"}, "surrogate='relu' is unknown"),
        ({"surrogate_alpha": 0.0}, "alpha=0.0 must be positive"),
        ({"tau": "x"}, "tau='x' must be a finite number"),
        ({"v_reset": float("nan")}, "v_reset=nan must be a finite number"),
    ],
)
def test_bad_options_are_named(options, match):
    with pytest.raises(ValueError, match=match):
        build_neuron("lif", NeuronOptions(**options), 5)


def test_seed_default_is_silent_where_the_reference_is_silent():
    module = published_decoder(30, 16, blocks=1)
    rates = {}
    for name, layer in module.named_modules():
        if isinstance(layer, LIF):
            layer.register_forward_hook(lambda m, i, o, n=name: rates.update({n: o.mean().item()}))
    module(torch.randint(0, 30, (2, 16)))
    assert rates["blocks.0.attention.input_neuron"] == 0.0
    assert rates["blocks.0.feed_forward.expand.neuron"] > 0.0

"""Neurons that emit counts, and what is trained and built with them."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from itertools import product

import pytest
import torch
from published import published_decoder, published_spike_gpt
from torch import Tensor, nn

from snn_estimators.energy import PROFILES, measure
from snn_estimators.nn import Graded, PowerOfTwo, Quantized, Relu, SpikeGPT, SpikingDecoder
from snn_estimators.nn.decoder.attention import LinearCore
from snn_estimators.nn.reads import ReadsPenalty


class TestGraded:
    # (x - 1/2) / u + 1/2, rounded: one count begins at 1/2, the next a step later.
    @pytest.mark.parametrize(
        ("x", "count"),
        [(-1.0, 0), (0.49, 0), (0.51, 1), (0.74, 1), (0.76, 2), (1.26, 4), (9.0, 4)],
    )
    def test_counts(self, x: float, count: int) -> None:
        assert Graded(levels=4, step=0.25)(torch.tensor(x)).item() == count * 0.25

    def test_at_a_step_of_one_it_rounds(self) -> None:
        x = torch.linspace(-1, 5, 50)
        assert torch.equal(Graded(levels=4, step=1.0)(x), x.round().clamp(0, 4))

    def test_signed_counts_are_odd(self) -> None:
        x, neuron = 3 * torch.randn(100), Graded(levels=4, step=0.5, signed=True)
        assert torch.equal(neuron(-x), -neuron(x))
        assert torch.equal(neuron(x.abs()), Graded(levels=4, step=0.5)(x.abs()))

    def test_the_gradient_passes_from_half_a_step_below_the_threshold_to_the_top(self) -> None:
        step, levels = 0.25, 4
        bounds = torch.tensor([0.5 - step / 2, 0.5 + levels * step], dtype=torch.float64)
        x = torch.stack([bounds - 1e-6, bounds + 1e-6]).requires_grad_()
        neuron = Graded(levels, step).double()
        neuron(x).sum().backward()
        assert x.grad.tolist() == [[0, 1], [1, 0]]
        inside = x.detach()[[1, 0], [0, 1]].sum()
        assert neuron.gain.grad.item() == pytest.approx(inside.item())

    def test_without_rounding_it_is_within_half_a_step(self) -> None:
        x = 2 * torch.randn(1000)
        graded, real = Graded(8, 0.25)(x), Relu(8, 0.25)(x)
        assert (graded - real).abs().max() <= 0.125 + 1e-6
        assert real.unique().numel() > 100

    def test_quantized_activations_are_the_same_numbers(self) -> None:
        x = torch.randn(100)
        assert torch.equal(Graded()(x), Quantized()(x))

    def test_the_step_folds_into_the_weights(self) -> None:
        neuron, linear = Graded(8, 0.25), nn.Linear(16, 5, bias=False)
        counted = neuron(torch.randn(3, 16))
        folded = nn.functional.linear(counted / 0.25, linear.weight * 0.25)
        assert torch.allclose(linear(counted), folded, atol=1e-6)

    def test_gain_threshold_and_step_are_fixed_or_trained_of_a_layer_or_of_each(self) -> None:
        x = torch.randn(9, 6)
        expected = Graded()(x)
        for features, shape in ((None, ()), (6, (6,))):
            flags = ("learnable_gain", "learnable_threshold", "learnable_step")
            neuron = Graded(**dict.fromkeys(flags, True), features=features)
            emitted = neuron(x)
            emitted.square().sum().backward()
            trained = dict(neuron.named_parameters())
            shapes = {name: tuple(number.shape) for name, number in trained.items()}
            assert shapes == {"gain": shape, "threshold": shape, "log_step": ()}
            assert all(number.grad.all() for number in trained.values())
            assert torch.allclose(emitted, expected)
        fixed = Graded(learnable_gain=False)
        assert not list(fixed.parameters()) and list(fixed.state_dict()) == ["gain"]
        assert torch.equal(fixed(x), expected)

    def test_a_trained_step_is_what_a_count_is_worth(self) -> None:
        neuron = Graded(levels=8, step=0.25, learnable_step=True)
        with torch.no_grad():
            neuron.log_step += 0.3
        assert neuron.unit == pytest.approx(0.25 * math.exp(0.3))
        counts = neuron(2 * torch.randn(100)) / neuron.unit
        assert torch.allclose(counts, counts.round(), atol=1e-5) and counts.max() > 1
        assert f"step={neuron.unit:g}" in repr(neuron)

    @pytest.mark.parametrize(
        ("options", "named"),
        [
            ({"levels": 0}, "levels"),
            ({"levels": 2.5}, "levels"),
            ({"step": 0.0}, "step=0.0 must be a positive number"),
            ({"step": float("nan")}, "step=nan"),
            ({"signed": "no"}, "signed='no' must be True or False"),
            ({"learnable_gain": 1}, "learnable_gain=1 must be True or False"),
            ({"features": 0}, "features"),
        ],
        ids=str,
    )
    def test_bad_options_are_named(self, options: dict[str, object], named: str) -> None:
        with pytest.raises(ValueError, match=named):
            Graded(**options)


class TestPowerOfTwo:
    # At a step of one a current of x is a count of x, before it is rounded to 1, 2, 4 or 8.
    @pytest.mark.parametrize(
        ("x", "count"),
        [(0.49, 0), (0.51, 1), (1.49, 1), (1.51, 2), (2.99, 2), (3.01, 4), (6.1, 8), (99.0, 8)],
    )
    def test_counts(self, x: float, count: int) -> None:
        assert PowerOfTwo(levels=8, step=1.0)(torch.tensor(x)).item() == count
        assert PowerOfTwo(levels=8, step=1.0, signed=True)(torch.tensor(-x)).item() == -count

    def test_the_greatest_count_is_what_the_energy_model_asks_for(self) -> None:
        neuron = PowerOfTwo(levels=12, step=0.5)
        assert neuron.levels == 8
        assert neuron(torch.tensor([100.0])).item() == 8 * 0.5

    def test_the_gradient_passes_where_that_of_graded_does(self) -> None:
        x = (3 * torch.randn(200)).requires_grad_()
        gradients = [
            torch.autograd.grad(neuron(levels=4, step=0.5)(x).sum(), x)[0]
            for neuron in (Graded, PowerOfTwo)
        ]
        assert torch.equal(*gradients)

    def test_an_event_is_one_shifted_addition(self) -> None:
        module = SpikeGPT(12, n_embd=16, neuron="power-of-two").eval()
        profile = replace(PROFILES["45nm-sram"], graded="shift-add")
        table = measure(module, [TOKENS], profile=profile).set_index("layer")
        head = table.loc["head.linear"]
        additions = head["energy_pj"] / (profile.pj_per_ac + profile.pj_per_shift)
        assert additions == pytest.approx(head["weight_reads"])
        assert head["weight_reads"] > 0


TOKENS = torch.arange(12).reshape(2, 6)
SIZES = {"token_dim": 9, "position_dim": 7, "heads": 2, "blocks": 2}


def spike_gpt(where: str, neuron: str) -> SpikeGPT:
    options = {"spikes": where, "neuron": neuron, "initialization": "firing"}
    return published_spike_gpt(12, n_layer=2, n_embd=20, signed=True, **options)


def decoder(**options: object) -> SpikingDecoder:
    return published_decoder(12, 6, **SIZES, **options)


MODELS = {
    **{
        f"spike_gpt {where} {neuron}": partial(spike_gpt, where, neuron)
        for where, neuron in product(
            ("linear", "everywhere"), ("graded", "relu", "quantized", "lif")
        )
    },
    **{
        f"decoder {neuron}": partial(decoder, neuron=neuron, token_shift=1, timesteps=1)
        for neuron in ("graded", "relu", "quantized")
    },
    "signed": partial(decoder, neuron="graded", signed=True, mlp_token_shift=2, timesteps=1),
    "shifts": partial(decoder, spike_degree=0, token_shift=2, mlp_token_shift=1),
    "linear": partial(decoder, spike_degree=0, attention="linear"),
    "linear, shifts": partial(decoder, spike_degree=0, attention="linear", token_shift=1),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_stream_is_the_whole(name: str) -> None:
    torch.manual_seed(0)
    model = MODELS[name]().double().eval()
    start, state = model.stream(TOKENS[:, :2])
    middle, state = model.stream(TOKENS[:, 2:3], state)
    rest, _ = model.stream(TOKENS[:, 3:], state)
    assert torch.allclose(torch.cat([start, middle, rest], 1), model(TOKENS), atol=1e-9)


def test_linear_attention_is_the_quadratic_formula() -> None:
    q, k, v = torch.randn(3, 1, 2, 7, 6, dtype=torch.float64)
    out, _ = LinearCore(2, 0.0)(q, k, v, None)

    def heads(x: Tensor) -> Tensor:
        return x.unflatten(-1, (2, 3)).transpose(-2, -3)

    phi_q, phi_k = (nn.functional.elu(heads(x)) + 1 for x in (q, k))
    scores = (phi_q @ phi_k.mT).tril()
    expected = scores / scores.sum(-1, keepdim=True) @ heads(v)
    assert torch.allclose(out, expected.transpose(-2, -3).flatten(-2))


def test_a_twin_sees_previous_tokens_through_maps_of_its_own() -> None:
    plain, shifted = (
        published_decoder(12, 6, spike_degree=0, **SIZES, **given)
        for given in ({}, {"token_shift": 2, "mlp_token_shift": 1})
    )
    names = {name for name, _ in shifted.named_parameters()}
    new = names - {name for name, _ in plain.named_parameters()}
    assert {name.split(".", 2)[2] for name in new} == {
        "attention.query.shift.weight",
        "attention.key.shift.weight",
        "attention.value.shift.weight",
        "feed_forward.shift.weight",
    }


class TestReadsPenalty:
    def module(self, **options: object) -> SpikeGPT:
        torch.manual_seed(0)
        given = {"spikes": "everywhere", "initialization": "firing", "v_threshold": 0.3, **options}
        return published_spike_gpt(12, n_layer=1, n_embd=16, dropout=0.0, **given)

    def test_for_single_spikes_it_is_the_weights_that_the_meter_sees_read(self) -> None:
        module = self.module().eval()
        with ReadsPenalty(module) as penalty:
            module(TOKENS)
        reads = measure(module, TOKENS)["weight_reads"].sum()
        assert penalty.reads.item() == pytest.approx(reads)

    @pytest.mark.parametrize("readout", ["average", "accumulate", "concatenate", "final"])
    @pytest.mark.parametrize("options", [{}, {"float_readout": True}, {"token_shift": 1}], ids=str)
    def test_so_it_is_over_timesteps(self, readout: str, options: dict[str, object]) -> None:
        torch.manual_seed(0)
        lively = {"float_embedding": True, "embedding_std": 1.0, "v_threshold": 0.4}
        module = decoder(timesteps=3, readout=readout, **lively, **options).eval()
        with ReadsPenalty(module) as penalty:
            module(TOKENS)
        table = measure(module, TOKENS).set_index("layer")
        assert table.loc["head.linear", "weight_reads"] > 0
        assert penalty.reads.item() == pytest.approx(table["weight_reads"].sum())

    @pytest.mark.slow
    def test_its_gradient_silences(self) -> None:
        module = self.module(neuron="graded", spikes="linear")
        for parameter in module.parameters():
            nn.init.normal_(parameter, std=0.3) if parameter.dim() > 1 else None
        before = []
        optimizer = torch.optim.SGD(module.parameters(), lr=1e-4)
        for _ in range(10):
            with ReadsPenalty(module) as penalty:
                module(TOKENS)
            optimizer.zero_grad()
            penalty.reads.backward()
            optimizer.step()
            before.append(penalty.reads.item())
        assert before[-1] < before[0]

    def test_a_fan_out_weighs_inputs_that_lead_towards_silence(self) -> None:
        x = torch.tensor([[[0.25, 0, 3.0]], [[-0.5, -1.5, 0]]], requires_grad=True)
        with ReadsPenalty(self.module()) as penalty:
            penalty._add(nn.Linear(3, 5), (x,), None)
        penalty.reads.backward()
        per_token = 5 / 2  # a fan-out of five, two tokens
        assert penalty.reads.item() == pytest.approx(per_token * (0.25 + 1 + 0.5 + 1))
        towards = [[[1, 0, 0]], [[-1, 0, 0]]]  # nothing to lead beyond a size of one
        assert (x.grad / per_token).tolist() == towards

    def test_hooks_are_removed(self) -> None:
        module = self.module()
        with ReadsPenalty(module):
            pass
        assert not any(part._forward_hooks for part in module.modules())

    def test_padding_does_not_count(self) -> None:
        module, tokens = self.module(), torch.arange(6)[None]
        with ReadsPenalty(module) as alone:
            module(tokens)
        padded = torch.nn.functional.pad(tokens, (0, 3), value=-1)
        with ReadsPenalty(module, padded >= 0) as penalty:
            module(padded)
        torch.testing.assert_close(penalty.reads, alone.reads)

    @pytest.mark.parametrize("spikes", ["none", "residual"])
    def test_without_neurons_in_front_of_maps_there_is_nothing_to_count(self, spikes) -> None:
        module = self.module(spikes=spikes)
        with ReadsPenalty(module) as penalty:
            module(torch.arange(6)[None])
        assert penalty.reads == 0

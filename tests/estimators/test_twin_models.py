"""A model's non-spiking twin, and the penalty that makes spikes sparse."""

from __future__ import annotations

import pytest
import torch
from sklearn.base import clone
from torch import nn

from snn_estimators import SpikeDecoderLM, SpikeGPTLM
from snn_estimators.energy import summarize

TEXT = ["the quick brown fox jumps over the lazy dog. " * 10]


def spike_gpt(**parameters: object) -> SpikeGPTLM:
    small = {"module__ctx_len": 16, "module__n_layer": 1, "module__n_embd": 24, "lr": 1e-2}
    graded = {"module__spikes": "linear", "module__neuron": "graded"}
    return SpikeGPTLM(**{**small, **graded, "max_steps": 8, "random_state": 0, **parameters})


def decoder(**parameters: object) -> SpikeDecoderLM:
    small = {"module__max_len": 16, "module__blocks": 1, "module__heads": 1, "lr": 1e-2}
    small |= {"module__token_dim": 10, "module__position_dim": 6}
    return SpikeDecoderLM(**{**small, "max_steps": 8, "random_state": 0, **parameters})


class TestTwin:
    def test_it_has_no_neurons_and_the_same_training(self) -> None:
        twin = spike_gpt(spike_penalty=0.2, name="run", batch_size=3).twin()
        assert twin.get_params()["module__spikes"] == "none"
        assert (twin.spike_penalty, twin.name, twin.batch_size) == (0.0, None, 3)
        assert not hasattr(twin, "module_")

    @pytest.mark.slow
    def test_a_decoders_twin_keeps_its_token_shifts(self) -> None:
        model = decoder(
            module__token_shift=2,
            module__mlp_token_shift=1,
            module__attention_decay="fixed",
            module__spiking_head=True,
        )
        twin = model.twin(lr=1e-3).fit(TEXT)
        assert twin.lr == 1e-3
        total = summarize(twin.energy(TEXT))
        assert total["relative_with_memory"] == pytest.approx(1)
        assert (
            total["ann_weight_reads"] == summarize(model.fit(TEXT).energy(TEXT))["ann_weight_reads"]
        )

    def test_a_module_without_a_twin_is_named(self) -> None:
        class Own(nn.Module):
            pass

        with pytest.raises(ValueError, match=r"Own'> has no non-spiking twin: .* attribute TWIN"):
            spike_gpt(module=Own).twin()


class TestSpikePenalty:
    @pytest.mark.slow
    @pytest.mark.parametrize("make", [spike_gpt, decoder])
    def test_it_makes_spikes_rarer(self, make) -> None:
        reads = [
            summarize(make(spike_penalty=penalty, max_steps=30).fit(TEXT).energy(TEXT))
            for penalty in (0.0, 50.0)
        ]
        assert reads[1]["weight_reads"] < 0.8 * reads[0]["weight_reads"]

    def test_scores_do_not_contain_it(self) -> None:
        model = spike_gpt(spike_penalty=100.0).fit(TEXT)
        before = model.score(TEXT)
        assert model.set_params(spike_penalty=0.0).score(TEXT) == before

    def test_it_adds_the_price_of_the_weights_read(self) -> None:
        model = spike_gpt(spike_penalty=0.5).fit(TEXT)
        ids = torch.arange(16)[None] % model.vocab_size_
        with torch.enable_grad():
            model.module_.train()
            plain = model.infer(ids)
            with_penalty = model.get_loss(plain, ids, training=True)
        without = model.get_loss(plain, ids, training=False)
        reads = (with_penalty - without).item() * 100_000 / 0.5
        assert 0 < reads < sum(p.numel() for p in model.module_.parameters())

    @pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf"), "much", True])
    def test_bad_values_are_named(self, value: object) -> None:
        with pytest.raises(ValueError, match="spike_penalty must be a finite number from 0 on"):
            spike_gpt(spike_penalty=value).fit(TEXT)

    @pytest.mark.parametrize(
        "model",
        [spike_gpt(module__spikes="none", spike_penalty=1.0), decoder(spike_penalty=1.0).twin()],
        ids=["rwkv", "transformer"],
    )
    def test_a_module_without_neurons_has_nothing_to_penalize(self, model) -> None:
        perplexities = [
            clone(model).set_params(spike_penalty=penalty).fit(TEXT).perplexity(TEXT)
            for penalty in (0.0, 100.0)
        ]
        assert perplexities[0] == perplexities[1]

"""A fitted RWKV becomes a spiking model without training."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.exceptions import NotFittedError

from snn_estimators import SpikeGPTLM
from snn_estimators.nn.spiking_linear import PreSpikingLinear
from snn_estimators.sweep import prepare_text

pytestmark = pytest.mark.slow
TEXT = [prepare_text("python-docs", limit=3_000)]


def rwkv(**parameters):
    module = {"module__ctx_len": 16, "module__n_layer": 2, "module__n_embd": 24}
    given = {"module__spikes": "none", "max_steps": 100, "steps_per_epoch": 20, "random_state": 0}
    return SpikeGPTLM(**{**module, **given, **parameters})


@pytest.fixture(scope="module")
def twin():
    return rwkv().fit(TEXT)


def test_it_spikes_and_predicts_nearly_as_well(twin):
    spiking = SpikeGPTLM.from_twin(twin, TEXT, levels=16)
    maps = [one for one in spiking.module_.modules() if isinstance(one, PreSpikingLinear)]
    assert all(one.neuron.levels == 16 for one in maps)
    assert spiking.evaluate(TEXT)["spike_rate"] > 0
    assert spiking.perplexity(TEXT) < 1.15 * twin.perplexity(TEXT)
    spiking.module_.load_state_dict(twin.module_.state_dict(), strict=False)
    assert spiking.perplexity(TEXT) > 1.3 * twin.perplexity(TEXT)  # the weights as they were


def test_more_levels_lose_less(twin):
    scores = [SpikeGPTLM.from_twin(twin, TEXT, levels=levels).score(TEXT) for levels in (1, 4, 64)]
    assert scores == sorted(scores)


def test_the_twin_stays_as_it_is(twin):
    before, score = twin.get_params(), twin.score(TEXT)
    spiking = SpikeGPTLM.from_twin(twin, TEXT)
    with torch.no_grad():
        for weights in spiking.module_.parameters():
            weights.zero_()
    assert (twin.get_params(), twin.score(TEXT)) == (before, score)


def test_it_learns_on_and_can_be_saved(twin, tmp_path):
    spiking = SpikeGPTLM.from_twin(twin, TEXT, levels=2, max_steps=60)
    before = spiking.score(TEXT)
    assert spiking.partial_fit(TEXT).score(TEXT) > before
    spiking.save_pretrained(tmp_path / "spiking")
    loaded = SpikeGPTLM.from_pretrained(tmp_path / "spiking")
    assert loaded.score(TEXT) == spiking.score(TEXT)


def test_token_ids_are_as_good():
    ids = [np.arange(40) % 7]
    twin = rwkv(tokenizer=None, max_steps=5).fit(ids)
    assert np.isfinite(SpikeGPTLM.from_twin(twin, ids).score(ids))


def test_bad_input_is_named(twin):
    with pytest.raises(NotFittedError):
        SpikeGPTLM.from_twin(rwkv(), TEXT)
    with pytest.raises(ValueError, match="module__spikes='linear': give a fitted RWKV"):
        SpikeGPTLM.from_twin(rwkv(module__spikes="linear", max_steps=1).fit(TEXT), TEXT)
    with pytest.raises(ValueError, match="No document of X has 16 tokens"):
        SpikeGPTLM.from_twin(twin, ["the cat"])
    with pytest.raises(ValueError, match="levels"):
        SpikeGPTLM.from_twin(twin, TEXT, levels=0)

"""The presets are the published recipes, and the defaults another."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from tiny_language_model import TEXTS

from snn_estimators import SpikeDecoderLM, SpikeGPTLM, SpikingDecoder
from snn_estimators.persistence.cache_key import fit_key

# What SpikeDecoder's and SpikeGPT's scripts train, written out: of the module, then of the
# training.
SPIKEDECODER: dict[str, Any] = {
    "encoding": "learned",
    "position_encoding": "static",
    "token_dim": 50,
    "position_dim": 30,
    "combine_position": False,
    "position_bias": 0.0,
    "float_embedding": False,
    "embedding_std": 1e-5,
    "heads": 5,
    "blocks": 4,
    "mlp_ratio": 4,
    "timesteps": 4,
    "attention_scale": 0.125,
    "attention_decay": None,
    "token_shift": 0,
    "mlp_token_shift": 0,
    "normalization": "layer",
    "readout": "average",
    "spiking_residuals": 0,
    "first_block_spiking_residual": False,
    "spiking_head": None,
    "float_readout": False,
    "neuron": "lif",
    "learnable_threshold": False,
    "spike_degree": 4,
    "temporal_coding": "repeat",
    "tau": 2.0,
    "v_threshold": 1.0,
    "v_reset": 0.0,
    "detach_reset": True,
    "surrogate": "sigmoid",
    "surrogate_alpha": None,
}
SPIKEDECODER_TRAINING = {
    "lr": 1e-3,
    "lr_final": None,
    "weight_decay": 0.1,
    "betas": (0.9, 0.95),
    "clip": 1.0,
    "schedule": "cosine",
    "warmup_steps": 0,
    "spike_penalty": 0.0,
}
SPIKEGPT: dict[str, Any] = {
    "model_type": "RWKV",
    "n_layer": 4,
    "n_embd": 128,
    "dropout": 0.03,
    "spikes": "residual",
    "neuron": "lif",
    "initialization": "published",
    "detach_reset": False,
    "tau": 2.0,
    "v_threshold": 1.0,
    "v_reset": 0.0,
    "surrogate": "atan",
    "surrogate_alpha": None,
}
SPIKEGPT_TRAINING = {
    "lr": 6e-4,
    "lr_final": 1e-5,
    "weight_decay": 0.0,
    "betas": (0.9, 0.99),
    "clip": 1.0,
    "schedule": "cosine",
    "warmup_steps": 0,
    "spike_penalty": 0.0,
    "logit_penalty": 1e-4,
}


@pytest.mark.parametrize(
    ("kind", "name", "module", "training"),
    [
        (SpikeDecoderLM, "spikedecoder", SPIKEDECODER, SPIKEDECODER_TRAINING),
        (SpikeGPTLM, "spikegpt", SPIKEGPT, SPIKEGPT_TRAINING),
    ],
)
def test_the_published_recipes_are_complete(kind, name, module, training):
    model = kind.from_preset(name)
    parameters = inspect.signature(model.module).parameters
    built_with = {one.name: one.default for one in parameters.values()}
    built_with |= model.get_params_for("module")
    assert {name: built_with[name] for name in module} == module
    assert {name: getattr(model, name) for name in training} == training


@pytest.mark.parametrize(
    ("kind", "name", "sizes"),
    [
        (SpikeDecoderLM, "spikedecoder", {"module__max_len": 8, "module__heads": 2}),
        (SpikeGPTLM, "spikegpt", {"module__ctx_len": 8, "module__n_embd": 16}),
    ],
)
def test_a_preset_trains_what_it_says(kind, name, sizes):
    """Nothing of the defaults is left in it: written out it gives the same weights."""
    module = SPIKEDECODER if kind is SpikeDecoderLM else SPIKEGPT
    training = SPIKEDECODER_TRAINING if kind is SpikeDecoderLM else SPIKEGPT_TRAINING
    shared = {"max_steps": 2, "random_state": 0, "device": "cpu"}
    preset = kind.from_preset(name, **sizes, **shared).fit(TEXTS)
    spelled = {f"module__{option}": value for option, value in module.items()} | sizes
    written_out = kind(**spelled, **training, **shared).fit(TEXTS)
    for ours, theirs in zip(
        preset.module_.parameters(), written_out.module_.parameters(), strict=True
    ):
        assert ours.equal(theirs)


def test_presets_take_overrides_and_unknown_ones_are_named():
    assert SpikeDecoderLM.from_preset("spikedecoder", lr=0.5).lr == 0.5
    with pytest.raises(ValueError, match="no preset 'spikegpt'"):
        SpikeDecoderLM.from_preset("spikegpt")


@pytest.mark.parametrize("kind", [SpikeDecoderLM, SpikeGPTLM])
def test_every_preset_makes_a_model(kind):
    for name in kind.PRESETS:
        model = kind.from_preset(name)
        model.module(7, **model.get_params_for("module"))


@pytest.fixture
def other_defaults(monkeypatch):
    """As in a version in which the module's blocks are three by default."""
    given = SpikingDecoder.__init__.__kwdefaults__
    monkeypatch.setitem(given, "blocks", 3)


def small(**parameters: Any) -> SpikeDecoderLM:
    return SpikeDecoderLM(module__max_len=8, max_steps=1, random_state=0, **parameters)


@pytest.mark.slow
def test_a_saved_model_keeps_the_defaults_that_it_was_made_with(tmp_path, request):
    model = small().fit(TEXTS)
    model.save_pretrained(tmp_path / "model")
    request.getfixturevalue("other_defaults")
    loaded = SpikeDecoderLM.from_pretrained(tmp_path / "model")
    assert loaded.score(TEXTS) == model.score(TEXTS)
    assert loaded.get_params()["module__blocks"] == 2


def test_a_default_that_changes_makes_another_fit(request):
    unset, written_out = (fit_key(small(**given), {}, {}) for given in ({}, {"module__blocks": 2}))
    assert unset == written_out
    request.getfixturevalue("other_defaults")
    assert fit_key(small(), {}, {}) != unset
    assert fit_key(small(module__blocks=2), {}, {}) == unset

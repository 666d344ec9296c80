"""What a fit's key depends on: parameters, versions, the process; and which fits have none."""

from __future__ import annotations

import contextlib
import functools
import random
import threading

import joblib
import numpy as np
import pytest
import torch
from sklearn.model_selection import KFold, ShuffleSplit, TimeSeriesSplit
from skorch.callbacks import Callback
from skorch.dataset import ValidSplit
from tiny_language_model import TEXTS, tiny_model

from snn_estimators.estimators import SpikeDecoderClassifier, SpikeDecoderLM
from snn_estimators.nn import SpikingDecoder
from snn_estimators.persistence import checkpointing
from snn_estimators.persistence.cache_key import (
    identities_of_parameters,
    settings_of_process,
    why_not_cacheable,
)
from snn_estimators.text import CharTokenizer, WordTokenizer


def key(model=None, **parameters):
    model = tiny_model(**parameters) if model is None else model.set_params(**parameters)
    return model.set_params(memory="never")._key_of_fit(TEXTS, None, {})


def told(case, cases):
    one, other = cases[case]
    return key(**one), key(**other)


# Parameters


HITS = {
    "a default": ({"module__timesteps": 3}, {"module__timesteps": 3.0}),
    "a default of the module": ({}, {"module__mlp_dropout": 0.0}),
    "no callbacks": ({"callbacks": None}, {"callbacks": []}),
    "a tokenizer's name": ({"tokenizer": "char"}, {"tokenizer": CharTokenizer()}),
    "another one's": ({"tokenizer": "word"}, {"tokenizer": WordTokenizer()}),
    "epochs that nobody reads": ({"max_steps": 3, "max_epochs": 5}, {"max_steps": 3}),
}

MISSES = {
    "epochs": ({"max_epochs": 5}, {"max_epochs": 6}),
    "epochs that a callback may read": (
        {"max_steps": 3, "max_epochs": 5, "callbacks": [Callback()]},
        {"max_steps": 3, "max_epochs": 6, "callbacks": [Callback()]},
    ),
    "no defaults": ({}, {"module__mlp_dropout": 0.1}),
    "a default that is overruled": ({}, {"optimizer__betas": (0.9, 0.999)}),
    "no callbacks at all": ({"callbacks": None}, {"callbacks": "disable"}),
}


@pytest.mark.parametrize("case", HITS)
def test_what_is_said_in_other_words(case):
    one, other = told(case, HITS)
    assert one == other


@pytest.mark.parametrize("case", MISSES)
def test_what_is_not_the_same(case):
    one, other = told(case, MISSES)
    assert one != other


def test_defaults_of_a_pretrained_module_are_not_the_modules():
    model = SpikeDecoderClassifier(random_state=0, pretrained="not there")
    left_out = identities_of_parameters(model)
    assert identities_of_parameters(model.set_params(module__mlp_dropout=0.0)) != left_out


# The process


@contextlib.contextmanager
def changed(setter, value, former):
    setter(value)
    try:
        yield
    finally:
        setter(former)


MKLDNN = torch.backends.mkldnn
SETTINGS = {
    "default dtype": lambda: changed(torch.set_default_dtype, torch.float64, torch.float32),
    "default device": lambda: torch.device("meta"),
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "its dtype": lambda: torch.autocast("cpu", torch.float16),
    "precision": lambda: changed(torch.set_float32_matmul_precision, "medium", "highest"),
    "deterministic": lambda: changed(torch.use_deterministic_algorithms, True, False),
    "mkldnn": lambda: changed(functools.partial(setattr, MKLDNN, "enabled"), False, True),
    "denormals": lambda: changed(torch.set_flush_denormal, True, False),
}


def test_settings_of_the_process():
    found = {"none": key()}
    for name, change in SETTINGS.items():
        with change():
            found[name] = key()
    assert len(set(found.values())) == len(found)
    assert key() == found["none"]


def test_settings_of_gpus_matter_on_gpus():
    before = settings_of_process(torch.device("cuda"))
    assert "cudnn.deterministic" in before and "autocast on cuda" in before
    assert None not in [before[name] for name in ("cudnn.benchmark", "cuda.flash_sdp_enabled")]
    on_cpu = settings_of_process(torch.device("cpu"))
    with torch.backends.cudnn.flags(deterministic=True):
        assert settings_of_process(torch.device("cuda")) != before
        assert settings_of_process(torch.device("cpu")) == on_cpu


@pytest.mark.parametrize("name", ["skorch", "numpy", "scikit-learn", "numba"])
def test_versions_of_what_computes(name, monkeypatch):
    before = key()
    monkeypatch.setattr(checkpointing, "installed", lambda asked: asked + "99" * (asked == name))
    after = key()
    monkeypatch.setattr(checkpointing, "installed", lambda asked: asked)
    assert len({before, after, key()}) == 3


def test_a_fit_of_another_precision_is_not_loaded(tmp_path):
    tiny_model(memory=tmp_path / "m").fit(TEXTS)
    with changed(torch.set_default_dtype, torch.float64, torch.float32):
        model = tiny_model(memory=tmp_path / "m").fit(TEXTS)
        assert next(model.module_.parameters()).dtype is torch.float64


# Code of one's own


class Own(SpikeDecoderLM):
    pass


class Scaled(SpikingDecoder):
    @functools.cached_property
    def _factor(self):
        return FACTORS[0]

    def forward(self, tokens):
        return super().forward(tokens) * self._factor


FACTORS = [0.5]
LOCK = threading.Lock()


class Locked(SpikingDecoder):
    def forward(self, tokens):
        with LOCK:
            return super().forward(tokens)


class LockedLM(SpikeDecoderLM):
    def infer(self, x, **fit_params):
        with LOCK:
            return super().infer(x, **fit_params)


def test_an_own_estimator(tmp_path):
    make = functools.partial(Own, **tiny_model(memory=tmp_path / "m").get_params(deep=False))
    trained, loaded = make().fit(TEXTS), make().fit(TEXTS)
    assert loaded.history_ == trained.history_
    assert make()._key_of_fit(TEXTS, None, {}) != key()


def test_what_a_module_uses_is_part_of_the_fit(tmp_path, monkeypatch):
    def fit(memory):
        return tiny_model(module=Scaled, memory=memory).fit(TEXTS).score_samples(TEXTS).tolist()

    first = fit(tmp_path / "m")
    assert fit(tmp_path / "m") == first
    monkeypatch.setitem(globals(), "FACTORS", [2.0])
    assert fit(tmp_path / "m") == fit(None) != first


def test_frozen_parameters_are_part_of_the_fit():
    def module(frozen):
        made = SpikingDecoder(40, blocks=1, max_len=8, token_dim=6, position_dim=2, heads=1)
        for parameter in made.parameters():
            torch.nn.init.constant_(parameter, 0.1)
        next(made.parameters()).requires_grad_(not frozen)
        return SpikeDecoderLM(module=made, max_steps=1, random_state=0)

    assert key(module(True)) == key(module(True)) != key(module(False))


def test_errors_name_the_thing_and_the_remedy(tmp_path):
    with pytest.raises(TypeError, match=r"With memory, module must .*LOCK\).* set memory=None"):
        tiny_model(module=Locked, memory=tmp_path / "m").fit(TEXTS)
    own = LockedLM(**tiny_model(memory=tmp_path / "m").get_params(deep=False))
    with pytest.raises(TypeError, match=r"memory, the estimator's class must .*set memory=None"):
        own.fit(TEXTS)


def test_workers_find_a_fit_of_own_code(tmp_path):
    source = (
        "A = [0.5]\n"
        "def scaled(x):\n    return x * A[0]\n"
        "class Mine(SpikingDecoder):\n"
        "    def forward(self, tokens):\n"
        "        return (lambda y: scaled(y))(SpikingDecoder.forward(self, tokens))\n"
    )
    scope = {"__name__": "__main__", "SpikingDecoder": SpikingDecoder}
    exec(source, scope)
    model = tiny_model(module=scope["Mine"], memory=tmp_path / "m")
    asked = [joblib.delayed(type(model)._key_of_fit)(model, TEXTS, None, {}) for _ in range(3)]
    theirs = joblib.Parallel(n_jobs=2, backend="loky")(asked)
    assert {*theirs} == {model._key_of_fit(TEXTS, None, {})}


# What no fit equals


DRAWN = [
    ValidSplit(0.3), ValidSplit(ShuffleSplit(1)), ValidSplit(KFold(2, shuffle=True)),
]  # fmt: skip
FIXED = [
    ValidSplit(2), ValidSplit(3.0), ValidSplit(0.3, random_state=0), ValidSplit(KFold(2)),
    ValidSplit(KFold(2, shuffle=True, random_state=0)), ValidSplit(ShuffleSplit(1, random_state=0)),
    ValidSplit(TimeSeriesSplit(2)), ValidSplit(None), None,
]  # fmt: skip


@pytest.mark.parametrize("split", DRAWN)
def test_splits_that_draw_anew(split, tmp_path):
    model = tiny_model(train_split=split, memory=tmp_path / "m", max_epochs=1)
    with pytest.warns(UserWarning, match="With train_split's random_state=None no fit equals"):
        model.fit(TEXTS)
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("split", FIXED)
def test_splits_that_do_not(split, recwarn):
    assert why_not_cacheable(tiny_model(train_split=split)) is None


class Drawing(Callback):
    def __init__(self, draw):
        self.draw = draw

    def on_epoch_begin(self, net, **kwargs):
        self.draw()


@pytest.mark.parametrize("draw", [np.random.rand, random.random])
def test_whatever_draws_from_a_global_generator_is_not_kept(draw, tmp_path):
    model = tiny_model(callbacks=[Drawing(draw)], memory=tmp_path / "m", save_every_n_steps=1)
    for _ in range(2):
        with pytest.warns(UserWarning, match="not kept, as .* global generator") as warned:
            model.fit(TEXTS)
        assert len(warned) == 1
    assert not any((tmp_path / "m" / "fits").iterdir())

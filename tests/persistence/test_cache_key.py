"""What changes the key of a fit, and what does not: parameters, data, process.

For values see test_canonical_values.py.
For user-defined code see test_code_hash.py.
"""

from __future__ import annotations

import functools
import random
import threading
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import settings
from sklearn.base import clone
from sklearn.model_selection import KFold, ShuffleSplit, TimeSeriesSplit
from skorch.callbacks import Callback, EarlyStopping
from skorch.dataset import ValidSplit
from tiny_language_model import TEXTS, tiny_model

from snn_estimators.estimators import SpikeDecoderClassifier, SpikeDecoderLM, SpikeGPTLM
from snn_estimators.nn import SpikingDecoder
from snn_estimators.persistence import checkpointing
from snn_estimators.persistence.cache_key import parameter_keys, why_not_cacheable
from snn_estimators.text import CharTokenizer, WordTokenizer

examples = settings(max_examples=60, derandomize=True, deadline=None, database=None)


def key(model=None, X=TEXTS, fit_params=None, **parameters):
    """Return the key of a fit in a memory, which is not made."""
    model = tiny_model() if model is None else model
    return model.set_params(**{"memory": "never", **parameters})._key_of_fit(
        X, None, fit_params or {}
    )


# Parameters


class Mine(torch.optim.SGD):
    factor = 0.5


class Counter(Callback):
    """Has a state, and a parameter."""

    def __init__(self, start=0):
        self.start = start

    def initialize(self):
        self.seen_ = np.full(2, self.start)
        return self


def of_lambda(threshold):
    return [("early", EarlyStopping(sink=lambda text: text[:threshold]))]


def optimizer(factor):
    return type("Mine", (torch.optim.SGD,), {"factor": factor, "__module__": __name__})


def groups(first, second):
    return {"optimizer__param_groups": [("a*", {"betas": first}), ("b*", {"betas": second})]}


def counted(**parameters):
    return {"callbacks": [Counter()], **parameters}


shared = [0.5, 0.5]
std, embedding = "module__embedding_std", "module__float_embedding"
split = "train_split"
weight = partial(torch.arange, 9.0)
PARAMETERS = [
    # what, one, other, the same key?
    ("nothing", {}, {}, True),
    ("int or float", {"lr": 1}, {"lr": 1.0}, True),
    ("numpy's int", {"max_epochs": 1}, {"max_epochs": np.int64(1)}, True),
    ("numpy's float", {std: 0.5}, {std: np.float64(0.5)}, True),
    ("a module's int", {std: 1}, {std: 1.0}, True),
    ("numpy's bool", {embedding: True}, {embedding: np.True_}, True),
    ("tuple or list", {"betas": (0.9, 0.5)}, {"betas": [0.9, np.float64(0.5)]}, True),
    ("shared objects", groups(shared, shared), groups([*shared], [*shared]), True),
    ("the order", {"module__heads": 1, "lr": 0.1}, {"lr": 0.1, "module__heads": 1}, True),
    ("verbose", {}, {"verbose": 3}, True),
    ("saving", {}, {"save_every_n_steps": 2}, True),
    ("num_workers", {}, {"iterator_valid__num_workers": 2}, True),
    ("keep_checkpoints", {}, {"keep_checkpoints": 7}, True),
    ("the memory", {"memory": Path("one")}, {"memory": "other"}, True),
    ("numpy's seed", {"random_state": 3}, {"random_state": np.int32(3)}, True),
    ("the device", {"device": "auto"}, {"device": "cpu"}, True),
    ("a default", {"module__timesteps": 3}, {"module__timesteps": 3.0}, True),
    ("a default of the module", {}, {"module__mlp_dropout": 0.0}, True),
    ("no callbacks", {"callbacks": None}, {"callbacks": []}, True),
    ("a tokenizer's name", {"tokenizer": "char"}, {"tokenizer": CharTokenizer()}, True),
    ("another one's", {"tokenizer": "word"}, {"tokenizer": WordTokenizer()}, True),
    ("tokenizers", {"tokenizer": CharTokenizer()}, {"tokenizer": CharTokenizer()}, True),
    ("a fitted one", {"tokenizer": CharTokenizer()}, {"tokenizer": CharTokenizer().fit(["x"])},
     True),
    ("splits", {split: ValidSplit(3)}, {split: ValidSplit(3)}, True),
    ("an initialized callback", counted(), {"callbacks": [Counter().initialize()]}, True),
    ("equal lambdas", {"callbacks": of_lambda(3)}, {"callbacks": of_lambda(3)}, True),
    ("equal classes", {"optimizer": optimizer(1)}, {"optimizer": optimizer(1)}, True),
    ("equal tensors", {"criterion__weight": weight()}, {"criterion__weight": weight()}, True),
    ("unread epochs", {"max_steps": 3, "max_epochs": 5}, {"max_steps": 3}, True),
    ("lr", {}, {"lr": 2e-2}, False),
    ("seed", {}, {"random_state": 1}, False),
    ("epochs", {"max_epochs": 5}, {"max_epochs": 6}, False),
    ("other epochs", {}, {"max_epochs": 3}, False),
    ("steps", {}, {"max_steps": 3}, False),
    ("size", {}, {"module__timesteps": 3}, False),
    ("one more", {}, {"module__token_shift": 1}, False),
    ("no default", {}, {"module__mlp_dropout": 0.1}, False),
    ("an overruled default", {}, {"optimizer__betas": (0.9, 0.999)}, False),
    ("bool or int", {embedding: True}, {embedding: 1}, False),
    ("str", {"tokenizer": "char"}, {"tokenizer": "word"}, False),
    ("None", {"lr_final": None}, {"lr_final": 1e-3}, False),
    ("a tokenizer", {"tokenizer": CharTokenizer()}, {"tokenizer": CharTokenizer("spikedecoder")},
     False),
    ("its parameters", {}, {"tokenizer__unknown_token": "?"}, False),
    ("a split", {split: ValidSplit(3)}, {split: ValidSplit(4)}, False),
    ("a share or a count", {split: ValidSplit(1)}, {split: ValidSplit(1.0)}, False),
    ("disabled callbacks", counted(), {"callbacks": "disable"}, False),
    ("no callbacks at all", {"callbacks": None}, {"callbacks": "disable"}, False),
    ("a callback's parameter", counted(), {"callbacks": [Counter(1)]}, False),
    ("its name", {"callbacks": [("a", Counter())]}, {"callbacks": [("b", Counter())]}, False),
    ("epochs for a callback", counted(max_steps=3, max_epochs=5),
     counted(max_steps=3, max_epochs=6), False),
    ("lambdas", {"callbacks": of_lambda(3)}, {"callbacks": of_lambda(4)}, False),
    ("classes", {"optimizer": optimizer(1)}, {"optimizer": optimizer(2)}, False),
    ("optimizers", {}, {"optimizer": torch.optim.SGD}, False),
    ("tensors", {"criterion__weight": weight()}, {"criterion__weight": weight() + 1}, False),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("case", PARAMETERS, ids=[case[0] for case in PARAMETERS])
def test_parameters(case):
    _, one, other, same = case
    assert (key(**one) == key(**other)) == same
    assert key(clone(tiny_model(**one))) == key(**one)


def test_defaults_of_a_pretrained_module_are_not_the_modules():
    model = SpikeDecoderClassifier(random_state=0, pretrained="not there")
    left_out = parameter_keys(model)
    assert parameter_keys(model.set_params(module__mlp_dropout=0.0)) != left_out


def test_frozen_parameters_are_part_of_the_fit():
    def module(frozen):
        made = SpikingDecoder(40, blocks=1, max_len=8, token_dim=6, position_dim=2, heads=1)
        for parameter in made.parameters():
            torch.nn.init.constant_(parameter, 0.1)
        next(made.parameters()).requires_grad_(not frozen)
        return SpikeDecoderLM(module=made, max_steps=1, random_state=0)

    assert key(module(True)) == key(module(True)) != key(module(False))


def test_a_tokenizer_from_a_file_is_hashed_by_the_file(tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    path = tmp_path / "tokenizer.json"
    keys = []
    for vocabulary in ({"a": 0}, {"a": 0}, {"a": 0, "b": 1}):
        model = tokenizers.models.WordLevel(vocabulary, unk_token="a")
        tokenizers.Tokenizer(model).save(str(path))
        keys.append(key(tokenizer="pretrained", tokenizer__name_or_path=path))
    assert keys[0] == keys[1] != keys[2]


# Data, estimators, versions and the process


def test_data_and_estimators():
    keys = [
        key(),
        key(X=TEXTS[:3]),
        key(X=[TEXTS[0] + TEXTS[1][:3], TEXTS[1][3:], *TEXTS[2:]]),
        key(train_split=ValidSplit(2)),
        key(train_split=ValidSplit(2), fit_params={"groups": [1, 2, 3, 4]}),
        key(SpikeGPTLM(random_state=0)),
        key(SpikeGPTLM(random_state=0, lr=1)),
    ]
    assert len({*keys}) == len(keys)
    assert key(X=np.array(TEXTS)) == key()


def test_a_long_text_is_hashed_in_milliseconds():
    texts = ["war and peace " * 5] * 45_000  # 3 MB
    key(X=texts)
    start = time.process_time()
    key(X=texts)
    assert time.process_time() - start < 0.25


@contextmanager
def changed(setter, value, former):
    setter(value)
    try:
        yield
    finally:
        setter(former)


def version_of(name):
    return patch.object(checkpointing, "installed", lambda asked: asked + "99" * (asked == name))


PROCESS = {
    "default dtype": lambda: changed(torch.set_default_dtype, torch.float64, torch.float32),
    "default device": lambda: torch.device("meta"),
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "its dtype": lambda: torch.autocast("cpu", torch.float16),
    "precision": lambda: changed(torch.set_float32_matmul_precision, "medium", "highest"),
    "deterministic": lambda: changed(torch.set_deterministic_debug_mode, "error", "default"),
    "switches": lambda: torch.backends.mkldnn.flags(enabled=False),
    "snn_estimators": lambda: patch.object(checkpointing, "__version__", "99"),
    "torch": lambda: patch("torch.__version__", "99"),
    "other versions": lambda: version_of(None),
    **{name: partial(version_of, name) for name in ("skorch", "numpy", "scikit-learn", "numba")},
}


def test_settings_and_versions_of_the_process():
    found = {"none": key()}
    for name, change in PROCESS.items():
        with change():
            found[name] = key()
    assert len(set(found.values())) == len(found)
    assert found["switches"] is None  # no fit is kept
    assert key() == found["none"]


@pytest.mark.slow
def test_a_fit_of_another_precision_is_not_loaded(tmp_path):
    tiny_model(memory=tmp_path / "m").fit(TEXTS)
    with PROCESS["default dtype"]():
        model = tiny_model(memory=tmp_path / "m").fit(TEXTS)
        assert next(model.module_.parameters()).dtype is torch.float64


# Fits that no other equals


DRAWN = [
    ValidSplit(0.3), ValidSplit(ShuffleSplit(1)), ValidSplit(KFold(2, shuffle=True)),
]  # fmt: skip
FIXED = [
    ValidSplit(2), ValidSplit(3.0), ValidSplit(0.3, random_state=0), ValidSplit(KFold(2)),
    ValidSplit(KFold(2, shuffle=True, random_state=0)), ValidSplit(ShuffleSplit(1, random_state=0)),
    ValidSplit(TimeSeriesSplit(2)), ValidSplit(None), None,
]  # fmt: skip


@pytest.mark.parametrize("split", DRAWN)
def test_splits_that_draw_every_time(split, tmp_path):
    model = tiny_model(train_split=split, memory=tmp_path / "m", max_epochs=1)
    with pytest.warns(UserWarning, match="With train_split's random_state=None no fit equals"):
        model.fit(TEXTS)
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("split", FIXED)
def test_splits_that_do_not(split):
    assert why_not_cacheable(tiny_model(train_split=split)) is None


class Drawing(Callback):
    def __init__(self, draw):
        self.draw = draw

    def on_epoch_begin(self, net, **kwargs):
        self.draw()


@pytest.mark.slow
@pytest.mark.parametrize("draw", [np.random.rand, random.random])
def test_whatever_draws_from_a_global_generator_is_not_kept(draw, tmp_path):
    model = tiny_model(callbacks=[Drawing(draw)], memory=tmp_path / "m", save_every_n_steps=1)
    for _ in range(2):
        with pytest.warns(UserWarning, match="not kept, as .* global generator") as warned:
            model.fit(TEXTS)
        assert len(warned) == 1
    assert not any((tmp_path / "m" / "fits").iterdir())


# User-defined code


class User(SpikeDecoderLM):
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


def test_a_user_defined_estimator(tmp_path):
    make = partial(User, **tiny_model(memory=tmp_path / "m").get_params(deep=False))
    trained, loaded = make().fit(TEXTS), make().fit(TEXTS)
    assert loaded.history_ == trained.history_
    assert key(make()) != key()


@pytest.mark.slow
def test_what_a_module_uses_is_part_of_the_fit(tmp_path, monkeypatch):
    def fit(memory):
        return tiny_model(module=Scaled, memory=memory).fit(TEXTS).score_samples(TEXTS).tolist()

    first = fit(tmp_path / "m")
    assert fit(tmp_path / "m") == first
    monkeypatch.setitem(globals(), "FACTORS", [2.0])
    assert fit(tmp_path / "m") == fit(None) != first


def test_errors_name_the_thing_and_the_remedy(tmp_path):
    with pytest.raises(TypeError, match=r"With memory, module must .*LOCK\).* set memory=None"):
        tiny_model(module=Locked, memory=tmp_path / "m").fit(TEXTS)
    user = LockedLM(**tiny_model(memory=tmp_path / "m").get_params(deep=False))
    with pytest.raises(TypeError, match=r"memory, the estimator's class must .*set memory=None"):
        user.fit(TEXTS)

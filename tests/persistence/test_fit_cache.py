"""Fits that a memory keeps: which are the same, what is loaded, and what is refused."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from cached_fits import (
    LABELS,
    Counter,
    Noted,
    finished,
    holds,
    outcome,
    tiny_classifier,
    trainings,
    without_times,
)
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from skorch.callbacks import EarlyStopping, LRScheduler
from skorch.dataset import ValidSplit
from tiny_language_model import TEXTS, tiny_model
from torch.optim.lr_scheduler import ExponentialLR

from snn_estimators.estimators import SpikeDecoderClassifier, SpikeGPTClassifier, SpikeGPTLM
from snn_estimators.text import WordTokenizer

pytestmark = pytest.mark.usefixtures("one_thread")


CASES = {
    "plain": {"module__mlp_dropout": 0.2},
    "words": {"tokenizer": WordTokenizer(), "tokenizer__min_frequency": np.int64(1)},
    "validation": {"train_split": ValidSplit(3), "evaluate_every_n_steps": 2},
    "an early stop": {
        "callbacks": [EarlyStopping("train_loss", patience=1, threshold=9.0, load_best=True,
                                    sink=print)],
        "max_epochs": 8,
    },
    "callbacks": {
        "callbacks": [Counter, LRScheduler(ExponentialLR, gamma=0.9)], "schedule": "constant",
    },
}  # fmt: skip


SOME_SLOW = [
    pytest.param(case, marks=[pytest.mark.slow] * (index > 0), id=case)
    for index, case in enumerate(CASES)
]


@pytest.mark.slow
@pytest.mark.parametrize("case", SOME_SLOW)
def test_a_loaded_fit_is_the_one_that_was_trained(case, folder):
    settings = CASES[case]
    without = tiny_model(**settings).fit(TEXTS)
    trained = tiny_model(**settings, memory=folder).fit(TEXTS)
    loaded = tiny_model(**settings, memory=folder).fit(TEXTS)
    assert outcome(without) == outcome(trained) == outcome(loaded)
    assert loaded.history_ == trained.history_
    assert without_times(loaded.history_) == without_times(without.history_)
    assert loaded.score_samples(TEXTS).tolist() == trained.score_samples(TEXTS).tolist()
    assert loaded.tokenizer_.vocabulary_ == trained.tokenizer_.vocabulary_
    assert repr(loaded.tokenizer_.get_params()) == repr(trained.tokenizer_.get_params())
    for model in (trained, loaded):
        model.partial_fit(TEXTS)
    assert outcome(trained) == outcome(loaded)
    assert trained.generate("the", random_state=0) == loaded.generate("the", random_state=0)
    assert len(finished(folder)) == 1
    assert {path.name for path in folder.iterdir()} == {"fits", "memory.json"}
    assert len(list((folder / "fits").iterdir())) == 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", [SpikeGPTClassifier, SpikeDecoderClassifier])
def test_classifiers(kind, folder, notes):
    sizes = {"module__max_len": 8, "module__blocks": 1, "module__token_dim": 6,
             "module__position_dim": 2, "module__heads": 1}  # fmt: skip
    make = partial(tiny_classifier, memory=folder, callbacks=[Noted(str(notes))])
    if kind is SpikeDecoderClassifier:
        make = partial(kind, **sizes, **make.keywords, max_epochs=2, random_state=0)
    trained, loaded = (make().fit(TEXTS, LABELS) for _ in range(2))
    assert outcome(trained) == outcome(loaded)
    assert loaded.classes_.tolist() == ["bad", "good"]
    assert loaded.predict_proba(TEXTS).tolist() == trained.predict_proba(TEXTS).tolist()
    for model in (trained, loaded):
        model.partial_fit(TEXTS, LABELS)
    assert outcome(trained) == outcome(loaded)
    assert len(trainings(notes)) == 3
    numbers = make().fit(TEXTS, [1, 0, 1, 0])
    assert len(trainings(notes)) == 4
    assert numbers.classes_.tolist() == [0, 1]
    assert holds(make(), TEXTS, LABELS)
    assert not holds(make(), TEXTS, LABELS[::-1])


def test_ids_and_tables(folder, notes):
    make = partial(
        tiny_model, tokenizer=None, memory=folder, callbacks=[Noted(str(notes))], max_epochs=1
    )
    table = np.arange(24).reshape(4, 6) % 7
    assert make().fit(table).n_features_in_ == make().fit(table.tolist()).n_features_in_ == 6
    assert not hasattr(make().fit([row[:5] for row in table] + [np.arange(3)]), "n_features_in_")
    assert len(trainings(notes)) == 2


# Which fits are the same


@pytest.mark.slow
def test_a_pretrained_model_is_told_by_its_content(tmp_path, folder, notes):
    def gpt(lr):
        return SpikeGPTLM(
            module__n_layer=1, module__n_embd=8, tokenizer="word", max_epochs=1, lr=lr,
            random_state=0,
        ).fit(TEXTS)  # fmt: skip

    def fit(model):
        classifier = tiny_classifier(
            pretrained=model, memory=folder, random_state=0, max_epochs=1,
            callbacks=[Noted(str(notes))],
        )  # fmt: skip
        return classifier.fit(TEXTS, LABELS)

    first = fit(gpt(0.1))
    saved = gpt(0.1).save_pretrained(tmp_path / "gpt")
    for same in (gpt(0.1), FrozenEstimator(gpt(0.1)), saved):
        assert outcome(fit(same)) == outcome(first)
        assert fit(same).tokenizer_.vocabulary_ == first.tokenizer_.vocabulary_
    assert len(trainings(notes)) == 1
    gpt(0.2).save_pretrained(saved)
    assert outcome(fit(saved)) != outcome(first)
    assert len(trainings(notes)) == 2


@pytest.mark.slow
def test_a_joblib_memory(folder):
    memory = joblib.Memory(folder, verbose=0)
    model = tiny_model(memory=memory)
    assert not holds(model, TEXTS)
    one = model.fit(TEXTS)
    assert holds(clone(model), TEXTS)
    assert clone(model).fit(TEXTS).history == one.history
    memory.clear(warn=False)
    assert not holds(model, TEXTS)
    assert not holds(tiny_model(memory=joblib.Memory(None)).fit(TEXTS), TEXTS)


# What is refused


def test_what_cannot_be_told_from_its_like(folder, tmp_path):
    with (tmp_path / "open").open("w") as file:
        model = tiny_model(memory=folder, callbacks=[EarlyStopping(sink=file.write)])
        with pytest.raises(TypeError, match=r"With memory, callbacks must .* or set memory=None"):
            model.fit(TEXTS)
        with pytest.raises(TypeError, match="callbacks"):
            model.check(TEXTS)
    assert not folder.exists()


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"memory": 3}, TypeError, "memory must be None, the path of a folder or .* got 3"),
        ({"memory": ""}, TypeError, "memory must be None, the path"),
        ({"memory": __file__}, ValueError, "is no folder"),
        ({"memory": Path(__file__).parent}, ValueError, "holds other things"),
        ({"memory": "m", "name": "GPT-1"}, ValueError, "leave out either memory='m' or name"),
        ({"memory": "m", "iterator_train__generator": torch.Generator()}, ValueError, "generator"),
        ({"memory": "m", "save_every_n_steps": 0}, ValueError, "whole number from 1"),
    ],
)
def test_bad_input(parameters, error, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for method in ("fit", "check"):
        with pytest.raises(error, match=message):
            getattr(tiny_model(**parameters), method)(TEXTS)
    assert not any(tmp_path.iterdir())


def test_saving_needs_a_place(folder):
    with pytest.raises(ValueError, match="save_every_n_steps=2 needs a memory"):
        tiny_classifier(save_every_n_steps=2).fit(TEXTS, LABELS)


def test_a_store_of_a_newer_version(folder, notes):
    tiny_model(memory=folder).fit(TEXTS)
    (folder / "memory.json").write_text(json.dumps({"format": 99}))
    model = tiny_model(memory=folder, callbacks=[Noted(str(notes))])
    for method in (model.fit, model.check):
        with pytest.raises(ValueError, match=r"from a newer version .*format 99.* upgrade"):
            method(TEXTS)
    assert trainings(notes) == []


@pytest.mark.slow
def test_a_damaged_store_says_what_to_do(folder):
    tiny_model(memory=folder).fit(TEXTS)
    (folder / "memory.json").write_text("")
    with pytest.raises(ValueError, match=r"memory\.json is damaged: .*Delete it: the fits are"):
        tiny_model(memory=folder).fit(TEXTS)
    (folder / "memory.json").unlink()
    (folder / "notes.txt").touch()
    with pytest.raises(ValueError, match=r"memory\.json is missing.*\(notes\.txt\): move those"):
        tiny_model(memory=folder).fit(TEXTS)
    (folder / "notes.txt").unlink()
    tiny_model(memory=folder).fit(TEXTS)
    assert len(finished(folder)) == 1


@pytest.mark.parametrize("seed", [None, np.random.RandomState(0)])
def test_without_a_whole_seed_nothing_is_kept(seed, folder):
    model = tiny_model(memory=folder, random_state=seed, max_epochs=1)
    with pytest.warns(UserWarning, match="no fit equals another, so memory keeps none") as told:
        model.fit(TEXTS)
    assert len(told) == 1
    assert not holds(model, TEXTS)
    assert not folder.exists()

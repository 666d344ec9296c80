"""Classifiers that start from a language model, and that are saved and loaded."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.dummy import DummyClassifier
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, cross_val_score
from tiny_classifiers import X, Y, tiny_classifier, tiny_gpt
from tiny_language_model import tiny_model

from snn_estimators.estimators import SpikeDecoderClassifier, SpikeGPTClassifier, SpikeGPTLM
from snn_estimators.text import WordTokenizer


def weights_of(model):
    return {k: v.clone() for k, v in model.module_.state_dict().items()}


@pytest.mark.slow
def test_pretrained_weights_are_the_start(language_model):
    model = tiny_classifier(pretrained=language_model, lr=1e-9, max_epochs=1).fit(X, Y)
    own = weights_of(model)
    for name, weight in language_model.module_.named_parameters():
        if not name.startswith("head.linear"):
            torch.testing.assert_close(own[f"backbone.{name}"], weight)
    assert model.tokenizer_.vocabulary_ == language_model.tokenizer_.vocabulary_


@pytest.mark.slow
def test_pretrained_weights_are_tuned_and_the_model_is_kept(language_model):
    before, score = weights_of(language_model), language_model.score(X)
    parameters = repr(language_model.get_params())
    model = tiny_classifier(pretrained=language_model, max_epochs=12, batch_size=4).fit(X, Y)
    assert model.score(X, Y) > 0.8
    changed = [n for n, w in before.items() if not torch.equal(weights_of(language_model)[n], w)]
    assert not changed
    assert language_model.score(X) == score
    assert repr(language_model.get_params()) == parameters
    tuned = weights_of(model)["backbone.blocks.0.attention.query.linear.weight"]
    assert not torch.equal(tuned, before["blocks.0.attention.query.linear.weight"])
    assert model.set_params(max_epochs=1).partial_fit(X, Y).n_iter_ == 13


@pytest.mark.slow
def test_spikegpt_starts_from_its_own_kind(language_model):
    size = {"module__n_layer": 1, "module__n_embd": 16, "module__initialization": "firing"}
    start = SpikeGPTLM(tokenizer="word", max_epochs=2, random_state=0, **size).fit(X)
    model = tiny_gpt(pretrained=start, max_epochs=8, batch_size=4).fit(X, Y)
    assert model.score(X, Y) > 0.9
    with pytest.raises(TypeError, match="a fitted SpikeGPTLM"):
        tiny_gpt(pretrained=language_model).fit(X, Y)


@pytest.mark.slow
def test_a_saved_name_is_as_good(language_model, tmp_path, monkeypatch):
    monkeypatch.setenv("SNN_ESTIMATORS_HOME", str(tmp_path))
    folder = language_model.save_pretrained("words")
    named = tiny_classifier(pretrained="words", max_epochs=1)
    given = tiny_classifier(pretrained=language_model, max_epochs=1).fit(X, Y)
    named.fit(X, Y)
    assert named.predict_proba(X).tolist() == given.predict_proba(X).tolist()
    grid = {"pretrained": [None, "words", folder, FrozenEstimator(language_model)]}
    search = GridSearchCV(named, grid, cv=2, error_score="raise", refit=False)
    scores = search.fit(X, Y).cv_results_["mean_test_score"]
    assert scores[1] == scores[2] == scores[3]
    with pytest.raises(FileNotFoundError, match="words"):
        tiny_classifier(pretrained="nowhere").fit(X, Y)


@pytest.mark.slow
def test_a_pretrained_model_survives_cloning(language_model):
    model = tiny_classifier(pretrained=language_model, max_epochs=1)
    other = clone(model)
    assert other.pretrained is language_model
    assert model.pretrained is language_model
    assert not [name for name in model.get_params() if name.startswith("pretrained__")]
    assert np.isfinite(cross_val_score(model, X, Y, cv=2, error_score="raise")).all()
    again = pickle.loads(pickle.dumps(model)).fit(X, Y)
    assert again.predict_proba(X).tolist() == model.fit(X, Y).predict_proba(X).tolist()
    with pytest.raises(ValueError, match="pretrained__lr"):
        model.set_params(pretrained__lr=1)


@pytest.mark.slow
def test_pretrained_on_token_ids():
    ids = [np.arange(1 + n % 7) for n in range(12)]
    start = tiny_model(tokenizer=None).fit([np.arange(8)] * 4)
    model = tiny_classifier(tokenizer=None, pretrained=start).fit(ids, np.arange(12) % 2)
    assert model.vocab_size_ == 8
    with pytest.raises(ValueError, match="token id 9"):
        model.fit([np.array([9])] * 4, [0, 1, 0, 1])
    with pytest.raises(ValueError, match="set tokenizer=None"):
        tiny_classifier(pretrained=start).fit(X, Y)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"module__blocks": 2}, "module__blocks=2 contradicts .* 1: leave it out"),
        ({"module__tau": 3.0}, r"module__tau=3.0 contradicts .* 2.0"),
        ({"module__vocab_size": 9}, "module__vocab_size=9 contradicts"),
        ({"tokenizer": "char"}, "tokenizer='char' contradicts .* WordTokenizer"),
        ({"tokenizer": WordTokenizer(lowercase=True)}, "tokenizer=.* contradicts"),
        ({"tokenizer__min_frequency": 2}, "tokenizer__min_frequency=2 contradicts"),
        ({"tokenizer": None}, "contradicts|token ids|text"),
        ({"module": torch.nn.Linear}, "module=.* contradicts"),
    ],
)
def test_contradictions_to_the_pretrained_model(parameters, message, language_model):
    with pytest.raises(ValueError, match=message):
        tiny_classifier(pretrained=language_model, **parameters).fit(X, Y)


@pytest.mark.slow
def test_what_agrees_with_the_pretrained_model_may_be_said(language_model):
    model = tiny_classifier(
        pretrained=language_model,
        tokenizer="word",
        tokenizer__min_frequency=1,
        module__blocks=1,
        module__mlp_dropout=0.5,  # dropout is the fine-tuning's own affair
    )
    model.fit(X, Y)
    dropouts = [m.p for m in model.module_.modules() if isinstance(m, torch.nn.Dropout)]
    assert 0.5 in dropouts


def test_what_is_no_pretrained_model():
    for thing in (3, DummyClassifier(), tiny_classifier()):
        with pytest.raises(TypeError, match="pretrained must be None, a fitted SpikeDecoderLM"):
            tiny_classifier(pretrained=thing).fit(X, Y)
    with pytest.raises(NotFittedError, match="pretrained model is not fitted"):
        tiny_classifier(pretrained=tiny_model()).fit(X, Y)


# Saved


LABELS = [["no", "yes"], [3, 7], [False, True], [1.0, 2.0]]


@pytest.mark.slow
@pytest.mark.parametrize("labels", [*LABELS, np.array(["x", "y"], dtype=object)])
def test_there_and_back(labels, tmp_path):
    model = tiny_classifier(max_epochs=1, decision="last").fit(X, np.resize(labels, len(X)))
    folder = model.save_pretrained(tmp_path / "model")
    loaded = SpikeDecoderClassifier.from_pretrained(folder)
    assert loaded.predict_proba(X).tolist() == model.predict_proba(X).tolist()
    assert loaded.classes_.dtype == model.classes_.dtype
    assert loaded.predict(X).tolist() == model.predict(X).tolist()
    assert loaded.get_params() == model.get_params()
    assert loaded.partial_fit(X, np.resize(labels, len(X))).n_iter_ == 2
    assert "text-classification" in (folder / "README.md").read_text()
    with pytest.raises(ValueError, match="SpikeDecoderClassifier, no SpikeGPTClassifier"):
        SpikeGPTClassifier.from_pretrained(folder)


@pytest.mark.slow
def test_what_was_pretrained_stands_on_its_own(language_model, tmp_path):
    start = language_model.save_pretrained(tmp_path / "start")
    options = {"module__mlp_dropout": 0.2, "max_epochs": 1}
    for pretrained in (language_model, start):
        model = tiny_classifier(pretrained=pretrained, **options).fit(X, Y)
        model.save_pretrained(tmp_path / "model")
        loaded = SpikeDecoderClassifier.from_pretrained(tmp_path / "model")
        assert loaded.predict_proba(X).tolist() == model.predict_proba(X).tolist()
        assert loaded.pretrained is None
        assert model.pretrained is pretrained
        assert loaded.get_params()["module__mlp_dropout"] == 0.2
        assert loaded.fit(X, Y).vocab_size_ == model.vocab_size_
    with pytest.raises(NotFittedError):
        tiny_classifier(pretrained=language_model).save_pretrained(tmp_path / "model")


@pytest.mark.slow
def test_token_ids_are_saved_too(tmp_path):
    table, y = np.arange(40).reshape(10, 4) % 7, np.arange(10) % 2
    start = tiny_model(tokenizer=None).fit(table)
    for parameters in ({}, {"pretrained": start}):
        model = tiny_classifier(tokenizer=None, max_epochs=1, **parameters).fit(table, y)
        folder = model.save_pretrained(tmp_path / "ids")
        loaded = SpikeDecoderClassifier.from_pretrained(folder)
        assert loaded.predict_proba(table).tolist() == model.predict_proba(table).tolist()
        assert loaded.n_features_in_ == 4


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (None, "classes are not known"),
        ({"dtype": "<U4"}, "'labels' is missing"),
        ({"dtype": "int64", "labels": ["bad", "good"]}, "make no labels"),
        ({"dtype": "bool", "labels": ["bad", "good"]}, "are no bool labels"),
        ({"dtype": "no dtype", "labels": ["bad", "good"]}, "make no labels"),
        ({"dtype": "<U4", "labels": ["bad", "good", "odd"]}, "does not fit"),
    ],
)
def test_damaged_classes(classes, message, classifier, tmp_path):
    folder = classifier.save_pretrained(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    del config["classes"]
    if classes is not None:
        config["classes"] = classes
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=message):
        SpikeDecoderClassifier.from_pretrained(folder)

"""scikit-learn's conventions in text mode, in the spirit of its `check_estimator`."""

from __future__ import annotations

import copy
import pickle
import random

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import (
    GridSearchCV,
)
from sklearn.pipeline import make_pipeline
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted
from tiny_language_model import tiny_model

from snn_estimators.text import CharTokenizer, WordTokenizer

METHODS = ("score_samples", "score", "perplexity", "bits_per_character", "predict", "energy")


def weights_of(model):
    return {name: tensor.clone() for name, tensor in model.module_.state_dict().items()}


def same_weights(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", [list, tuple, np.array, lambda x: np.array(x, object), pd.Series, iter]
)
def test_every_collection_of_strings_is_the_same(kind, texts, fitted):
    model = tiny_model().fit(kind(texts))
    assert same_weights(weights_of(model), weights_of(fitted))
    assert model.score_samples(kind(texts)).tolist() == fitted.score_samples(texts).tolist()


def test_tags_say_text():
    tags = get_tags(tiny_model())
    assert tags.estimator_type == "density_estimator"
    assert tags.input_tags.string
    assert not tags.input_tags.two_d_array
    assert not tags.target_tags.required


def test_before_fit_there_are_only_parameters():
    model = tiny_model()
    assert not [name for name in vars(model) if name.endswith("_")]
    with pytest.raises(NotFittedError):
        check_is_fitted(model)


@pytest.mark.parametrize("method", [*METHODS, "predict_proba", "spike_rates", "generate"])
def test_unfitted(method, texts):
    with pytest.raises(NotFittedError):
        getattr(tiny_model(), method)(texts)
    with pytest.raises(NotFittedError):
        tiny_model().save_pretrained("nothing")


def test_fit_returns_self_and_takes_y(texts):
    model = tiny_model(max_epochs=1)
    assert model.fit(texts, None) is model
    assert model.score(texts, None) == model.score(texts)


@pytest.mark.slow
def test_fit_is_deterministic_and_idempotent(texts, fitted):
    model = tiny_model(module__mlp_dropout=0.2)
    first = weights_of(model.fit(texts))
    assert same_weights(weights_of(model.fit(texts)), first)
    assert same_weights(weights_of(clone(model).fit(texts)), first)
    assert not same_weights(weights_of(tiny_model(random_state=1).fit(texts)), weights_of(fitted))


@pytest.mark.slow
def test_the_global_random_state_is_left_alone(texts):
    def states():
        return torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002

    before = states()
    model = tiny_model(module__mlp_dropout=0.2).fit(texts).partial_fit(texts)
    for method in METHODS:
        getattr(model, method)(texts)
    model.generate("the ", 12, random_state=0)
    assert states() == before


@pytest.mark.slow
def test_without_a_seed_numpy_decides(texts):
    runs = []
    for seed in (0, 0, 1):
        np.random.seed(seed)  # noqa: NPY002
        runs.append(weights_of(tiny_model(random_state=None).fit(texts)))
    assert same_weights(runs[0], runs[1])
    assert not same_weights(runs[0], runs[2])


@pytest.mark.slow
def test_input_and_parameters_are_not_touched(texts):
    tokenizer = CharTokenizer()
    model = tiny_model(tokenizer=tokenizer, tokenizer__handle_unknown="token")
    series = pd.Series(texts)
    before, untouched = joblib.hash(model.get_params()), series.copy()
    model.fit(series)
    for method in METHODS:
        getattr(model, method)(series)
    pd.testing.assert_series_equal(series, untouched)
    assert joblib.hash(model.get_params()) == before
    assert not hasattr(tokenizer, "vocabulary_")
    assert tokenizer.handle_unknown == "auto"


@pytest.mark.slow
def test_scoring_changes_nothing(texts):
    model = tiny_model().fit(texts)
    before = dict(vars(model))
    for method in METHODS:
        getattr(model, method)(texts)
    assert {k: v for k, v in vars(model).items() if before[k] is not v} == {}


def test_refit_forgets(texts, fitted):
    model = tiny_model().fit(["xyz" * 10])
    assert model.fit(texts).tokenizer_.vocabulary_ == fitted.tokenizer_.vocabulary_
    assert same_weights(weights_of(model), weights_of(fitted))
    assert len(model.history) == model.n_iter_ == 2


def test_parameters_go_round(texts):
    model = tiny_model(tokenizer="word", tokenizer__min_frequency=2, optimizer__eps=1e-6)
    copy = clone(model)
    assert copy.get_params() == copy.set_params(**model.get_params()).get_params()
    assert repr(copy) == repr(model)
    assert "module__heads=2" in repr(model)
    assert copy.get_params()["tokenizer__min_frequency"] == 2
    assert copy.module__heads == 2
    assert "<unk>" in copy.fit(texts).tokenizer_.vocabulary_
    assert copy.optimizer_.param_groups[0]["eps"] == 1e-6


def test_parameters_of_a_tokenizer_instance():
    model = tiny_model(tokenizer=WordTokenizer())
    assert model.get_params()["tokenizer__min_frequency"] == 1
    model.set_params(tokenizer__min_frequency=3)
    assert model.tokenizer.min_frequency == 3
    model.set_params(tokenizer__handle_unknown="error", tokenizer="char")
    assert model.get_params()["tokenizer__handle_unknown"] == "error"


@pytest.mark.slow
def test_byte_pairs_go_all_the_way(texts, tmp_path):
    pytest.importorskip("tokenizers")
    model = tiny_model(tokenizer="bpe", tokenizer__vocab_size=300).fit([*texts, "日本 \U0001f600"])
    assert model.vocab_size_ == model.tokenizer_.n_tokens_ > 256
    assert np.isfinite(model.bits_per_character(["naïve 日本: nothing is unknown"]))
    loaded = type(model).from_pretrained(model.save_pretrained(tmp_path / "model"))
    assert loaded.get_params()["tokenizer__vocab_size"] == 300
    assert loaded.score_samples(texts).tolist() == model.score_samples(texts).tolist()
    text = model.generate("the cat", 60, random_state=0)
    pieces = list(loaded.generate("the cat", 60, random_state=0, stream=True))
    assert "".join(pieces) == text
    assert "" in pieces  # of an untrained model many bytes are half a character
    grid = {"tokenizer__vocab_size": [256, 270]}
    search = GridSearchCV(clone(model), grid, cv=2, error_score="raise").fit(texts)
    assert search.best_estimator_.vocab_size_ in (256, 270)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "timesteps",
            "Invalid parameter 'timesteps' for estimator SpikeDecoderLM: .*'module__timesteps'",
        ),
        (
            "module__timestep",
            "Invalid parameter 'timestep' for module SpikingDecoder: did you mean 'timesteps'",
        ),
        ("modul__timesteps", "Invalid parameter 'modul' for estimator.* 'module__timesteps'"),
        ("tokenizer__size", "Invalid parameter 'size' for tokenizer CharTokenizer.*alphabet"),
        ("optimizer__momentum", "Invalid parameter 'momentum' for optimizer AdamW: .*maximize"),
        ("callbacks__bar", "There is no callback 'bar'.*progress"),
        ("history", "Invalid parameter 'history'"),
        ("modulex", "Invalid parameter 'modulex'"),
    ],
)
def test_unknown_parameters_are_refused_by_name(name, message):
    with pytest.raises(ValueError, match=f"(?s){message}"):
        tiny_model().set_params(**{name: 1})
    if name != "history":  # skorch's constructor takes a history
        with pytest.raises((ValueError, TypeError), match=name.rpartition("__")[2]):
            tiny_model(**{name: 1})
    if "__" in name:
        with pytest.raises(ValueError, match=f"(?s){message}"):
            setattr(tiny_model(), name, 1)


def test_an_unknown_parameter_in_a_grid_is_said_before_the_first_fit(texts):
    search = GridSearchCV(tiny_model(), {"module__timestep": [1, 2]}, cv=2)
    with pytest.raises(ValueError, match="Invalid parameter 'timestep'"):
        search.fit(texts)


@pytest.mark.slow
def test_parameters_take_effect_at_the_next_fit(texts):
    model = tiny_model().fit(texts)
    before = model.score(texts)
    model.set_params(module__timesteps=3, module__heads=1, batch_size=3)
    assert model.score(texts) == pytest.approx(before, abs=1e-6)
    assert model.fit(texts).module_.timesteps == 3


@pytest.mark.slow
@pytest.mark.parametrize("way", ["pickle", "joblib"])
def test_copies_of_a_fitted_model(way, texts, fitted, tmp_path):
    if way == "joblib":
        joblib.dump(fitted, tmp_path / "model.joblib")
        other = joblib.load(tmp_path / "model.joblib")
    else:
        other = pickle.loads(pickle.dumps(fitted))
    assert other.device == "auto"
    assert other.get_params().keys() == fitted.get_params().keys()
    assert other.score_samples(texts).tolist() == fitted.score_samples(texts).tolist()
    assert other.generate("the", 5, random_state=0) == fitted.generate("the", 5, random_state=0)
    same = pickle.loads(pickle.dumps(other))
    assert same_weights(weights_of(other.partial_fit(texts)), weights_of(same.partial_fit(texts)))


@pytest.mark.slow
def test_order_and_company_do_not_matter(texts, fitted):
    texts = [*texts, "a", "", "the cat saw the dog, and the dog saw the cat" * 3]
    scores = fitted.score_samples(texts)
    order = np.random.default_rng(0).permutation(len(texts))
    np.testing.assert_allclose(fitted.score_samples([texts[i] for i in order]), scores[order])
    alone = [fitted.score_samples([text])[0] for text in texts if text]
    np.testing.assert_allclose(alone, scores[[bool(text) for text in texts]], rtol=1e-5)


@pytest.mark.slow
def test_a_refused_refit_leaves_the_fitted_model(texts):
    model = tiny_model().fit(texts)
    before = model.score_samples(texts).tolist()
    with pytest.raises(ValueError, match="heads"):
        model.set_params(module__heads=3).fit(["other text: 0123456789"])
    assert model.score_samples(texts).tolist() == before


def test_copies_share_no_parameters(fitted):
    other = copy.copy(fitted).set_params(module__heads=1, lr=0.5)
    assert (fitted.module__heads, fitted.lr) == (2, 1e-2)
    assert (other.module__heads, other.lr) == (1, 0.5)


def test_initialize_alone_needs_a_vocabulary():
    with pytest.raises(ValueError, match="not known before fit"):
        tiny_model().initialize()
    assert tiny_model(module__vocab_size=9).initialize().vocab_size_ == 9


def test_the_notebook_view(texts, fitted):
    assert "module__heads" in fitted._repr_html_()
    assert "SpikeDecoderLM" in make_pipeline(tiny_model())._repr_html_()
    assert "module__heads=2" in repr(make_pipeline(tiny_model()))


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        ("one string", TypeError, "single string"),
        ([], ValueError, "no documents"),
        ([""], ValueError, "empty"),
        (["a", "b"], ValueError, "No document is long enough"),
        (["text", None], ValueError, "Document 1 of X is missing"),
        (["text", float("nan")], ValueError, "Document 1 of X is missing"),
        (pd.Series(["text", pd.NA]), ValueError, "Document 1 of X is missing"),
        ([1, 2], TypeError, "number .* where text belongs"),
        (np.zeros((2, 2)), TypeError, "one-dimensional"),
    ],
)
def test_bad_input(X, error, message):
    with pytest.raises(error, match=message):
        tiny_model().fit(X)


def test_characters_outside_the_alphabet(texts, fitted):
    with pytest.raises(ValueError, match="Document 0 has the character 't'"):
        tiny_model(tokenizer__alphabet="abc").fit(texts)
    with pytest.warns(UserWarning, match="unknown"):  # a learned alphabet has a symbol for the rest
        assert np.isfinite(fitted.score(["a cat, a qat"]))


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"module__heads": 3}, ValueError, "heads=3 must divide the model's width"),
        ({"module__vocab_size": 3}, ValueError, "module__vocab_size=3 is too small"),
        ({"module__vocab_size": "a"}, ValueError, "module__vocab_size must be a whole number"),
        ({"module__vocab_size": None}, ValueError, "module__vocab_size must be a whole number"),
        ({"max_epochs": 0}, ValueError, "max_epochs"),
        ({"max_steps": 0}, ValueError, "max_steps"),
        ({"steps_per_epoch": 0}, ValueError, "steps_per_epoch"),
        ({"stride": 0}, ValueError, "stride"),
        ({"stride": True}, ValueError, "stride"),
        ({"batch_size": 2.5}, ValueError, "batch_size"),
        ({"lr": -1.0}, ValueError, "lr must be a positive"),
        ({"lr": "fast"}, ValueError, "lr must be a positive"),
        ({"lr": None}, ValueError, "lr must be a positive"),
        ({"clip": 0}, ValueError, "clip must be a positive"),
        ({"weight_decay": "a"}, ValueError, "weight_decay must be a finite number"),
        ({"weight_decay": None}, ValueError, "weight_decay must be a finite number"),
        ({"weight_decay": -0.1}, ValueError, "weight_decay must be a finite number"),
        ({"betas": 0.9}, ValueError, "betas must be two numbers"),
        ({"betas": "ab"}, ValueError, "betas must be two numbers"),
        ({"betas": (0.9, 1.0)}, ValueError, "betas must be two numbers"),
        ({"betas": (0.9, None)}, ValueError, "betas must be two numbers"),
        ({"train_split": 5}, ValueError, "train_split must be None or something to call"),
        ({"device": "abacus"}, ValueError, "device must be"),
        ({"tokenizer": 5}, TypeError, "tokenizer must be a name"),
        ({"schedule": "linear"}, ValueError, "schedule='linear' is unknown"),
        ({"tokenizer": "syllable"}, ValueError, "no tokenizer of type 'syllable'"),
    ],
)
def test_bad_parameters(parameters, error, message, texts):
    with pytest.raises(error, match=message):
        tiny_model(**parameters).fit(texts)


def test_fit_parameters_need_a_split(texts):
    with pytest.raises(TypeError, match=r"unexpected parameters \['sample_weight'\]"):
        tiny_model().fit(texts, sample_weight=np.ones(4))

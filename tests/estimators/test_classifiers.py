from __future__ import annotations

import copy
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import is_classifier
from sklearn.dummy import DummyClassifier
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import parametrize_with_checks
from skorch.dataset import ValidSplit
from tiny_classifiers import ON_IDS, X, Y, reviews, tiny_classifier, tiny_gpt
from tiny_language_model import TEXTS

from snn_estimators.energy import summarize
from snn_estimators.estimators import SpikeDecoderClassifier
from snn_estimators.text import CharTokenizer, TextCleaner

# Their data are real numbers, which are no token ids; test_document_weights.py has such tests.
ON_REAL_NUMBERS = (
    "check_class_weight_classifiers",
    "check_classifiers_one_label_sample_weights",
    "check_sample_weight_equivalence_on_dense_data",
)


@pytest.mark.slow
@parametrize_with_checks(
    [
        tiny_classifier(**ON_IDS | {"batch_size": 64, "lr": 0.05}, module__max_len=16),
        tiny_gpt(**ON_IDS | {"batch_size": 64, "lr": 0.1, "max_epochs": 4}),
    ],
    expected_failed_checks=lambda _: dict.fromkeys(ON_REAL_NUMBERS, "X holds fractions"),
)
def test_scikit_learn_has_nothing_to_object(estimator, check):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "One document alone is labelled")
        check(estimator)


# What it learns and says


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "training"),
    [
        (tiny_classifier, {"batch_size": 16, "max_epochs": 10, "lr": 0.05}),
        (tiny_gpt, {"batch_size": 16, "max_epochs": 8, "lr": 0.05}),
    ],
)
def test_a_toy_task_is_learned(make, training):
    model = make(**training).fit(*reviews(100))
    assert model.score(*reviews(seed=1)) > 0.9
    losses = model.history_[:, "train_loss"]
    assert losses[-1] < 0.3 < losses[0]


@pytest.mark.slow
@pytest.mark.parametrize("make", [tiny_classifier, tiny_gpt])
def test_the_last_state_may_decide(make):
    texts = [f"{text} {('one', 'two')[i % 2]}" for i, text in enumerate(X)]
    labels = np.arange(len(X)) % 2
    model = make(decision="last", max_epochs=8, batch_size=4).fit(texts, labels)
    assert model.score(texts, labels) > 0.9


@pytest.mark.slow
@pytest.mark.parametrize(
    ("labels", "kind"),
    [
        (["no", "yes"], "U"),
        ([3, 7], "i"),
        ([False, True], "b"),
        (["a", "b", "c"], "U"),
        (pd.Series(["x", "y"], dtype="string"), "O"),
        (pd.Categorical(["x", "y"]), "O"),
    ],
)
def test_labels_of_any_type_come_back(labels, kind):
    y = pd.Series(np.resize(np.asarray(labels, dtype=object), len(X))).convert_dtypes().to_numpy()
    y = y.astype(np.asarray(labels).dtype)
    model = tiny_classifier(max_epochs=1).fit(X, y)
    assert model.classes_.tolist() == list(labels)
    assert model.classes_.dtype.kind == kind
    assert model.predict(X).dtype == model.classes_.dtype
    assert set(model.predict(X)) <= set(labels)
    assert model.predict_proba(X).shape == (len(X), len(labels))


@pytest.mark.slow
def test_probabilities_agree_with_predictions(classifier):
    probabilities = classifier.predict_proba(X)
    np.testing.assert_allclose(probabilities.sum(1), 1)
    np.testing.assert_allclose(np.log(probabilities), classifier.predict_log_proba(X))
    assert classifier.classes_[probabilities.argmax(1)].tolist() == classifier.predict(X).tolist()
    hits = classifier.predict(X) == np.array(Y)
    assert classifier.score(X, Y) == hits.mean()
    weights = np.arange(len(X))
    assert classifier.score(X, Y, sample_weight=weights) == np.average(hits, weights=weights)


@pytest.mark.slow
def test_order_and_company_do_not_matter(classifier):
    together = classifier.predict_proba(X)
    np.testing.assert_allclose(classifier.predict_proba(X[::-1])[::-1], together, atol=1e-6)
    alone = np.concatenate([classifier.predict_proba([text]) for text in X])
    np.testing.assert_allclose(alone, together, atol=1e-6)


def test_any_length_of_document(classifier):
    assert classifier.predict(["great " * 50, "great"]).tolist() == ["good", "good"]
    empty, blank = classifier.predict_proba(["", "   "])
    np.testing.assert_allclose(empty, blank)
    bias = classifier.module_.backbone.head.linear.bias
    np.testing.assert_allclose(empty, bias.softmax(0).tolist(), rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("make", [tiny_classifier, tiny_gpt])
def test_energy(make):
    model = make(max_epochs=1).fit(X, Y)
    few = X[:9]
    table = model.energy([*few, "", "great " * 30])
    assert summarize(table)["synaptic_nj"] > 0
    assert table["layer"].iloc[-1] == "backbone.head.linear"
    assert model.spike_rates(few)["spike_rate"].between(0, 1).all()
    np.testing.assert_allclose(summarize(model.energy(few)), summarize(model.energy(few[::-1])))
    with pytest.raises(ValueError, match="token"):
        model.energy([""])


def test_tags():
    model = tiny_classifier()
    assert is_classifier(model)
    assert get_tags(model).input_tags.string
    assert get_tags(model).target_tags.required
    assert not get_tags(tiny_classifier(tokenizer=None)).input_tags.string


# scikit-learn's tools


@pytest.mark.slow
def test_cross_validation_with_strings():
    texts, labels = reviews(100)
    scores = cross_val_score(tiny_gpt(max_epochs=8, batch_size=8, lr=0.05), texts, labels, cv=2)
    assert scores.min() > 0.8
    assert cross_val_score(DummyClassifier(), X, Y, cv=2).mean() == 0.5
    predicted = cross_val_predict(tiny_classifier(max_epochs=1), X, Y, cv=2, method="predict_proba")
    assert predicted.shape == (len(X), 2)


@pytest.mark.slow
def test_grid_search_in_a_pipeline():
    pipeline = make_pipeline(TextCleaner("spikedecoder"), tiny_classifier(max_epochs=1))
    name = "spikedecoderclassifier"
    grid = {f"{name}__decision": ["mean", "last"], f"{name}__tokenizer__min_frequency": [1, 2]}
    search = GridSearchCV(pipeline, grid, cv=2, scoring="roc_auc").fit(X, np.array(Y) == "good")
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


@pytest.mark.slow
def test_fit_is_reproducible(classifier):
    torch.manual_seed(3)
    state = torch.get_rng_state()
    again = tiny_classifier(max_epochs=8, batch_size=4).fit(X, Y)
    assert again.predict_proba(X).tolist() == classifier.predict_proba(X).tolist()
    assert again.history[:, "train_loss"] == classifier.history[:, "train_loss"]
    assert torch.equal(torch.get_rng_state(), state)
    other = tiny_classifier(max_epochs=1, batch_size=4, random_state=1).fit(X, Y)
    assert other.history[0, "train_loss"] != classifier.history[0, "train_loss"]


@pytest.mark.slow
@pytest.mark.parametrize("way", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies(way, classifier):
    other = way(classifier)
    assert other.predict_proba(X).tolist() == classifier.predict_proba(X).tolist()
    assert other.classes_.tolist() == classifier.classes_.tolist()
    assert other.set_params(max_epochs=1).partial_fit(X, Y).n_iter_ == classifier.n_iter_ + 1


@pytest.mark.slow
def test_partial_fit_goes_on():
    model = tiny_classifier(max_epochs=1).partial_fit(X[:2], Y[:2], classes=["bad", "good", "odd"])
    assert model.classes_.tolist() == ["bad", "good", "odd"]
    assert model.partial_fit(X[1::2], Y[1::2]).n_iter_ == 2  # one class is enough here
    with pytest.raises(ValueError, match="label 'new', which is none of the classes"):
        model.partial_fit(X[:2], ["bad", "new"])
    with pytest.raises(ValueError, match=r"classes=.* are not those of the first call"):
        model.partial_fit(X[:2], Y[:2], classes=["bad", "good"])
    warm = tiny_classifier(max_epochs=1, warm_start=True).fit(X, Y).fit(X, Y)
    assert warm.n_iter_ == 2


@pytest.mark.slow
def test_a_split_is_recorded():
    for split in (ValidSplit(4), ValidSplit(4, stratified=True), ValidSplit(0.25)):
        model = tiny_classifier(train_split=split, max_epochs=2).fit(X, Y)
        assert len(model.history[:, "valid_loss"]) == 2


def test_a_fitted_classifier_is_small(classifier):
    assert not [name for name, value in vars(classifier).items() if name == "_start"]


# Bad input


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (None, "requires y to be passed"),
        (Y[:-1], "X holds 40 documents, but y holds 39 labels"),
        (["good"] * len(X), "one class only, .'good'.: a classifier needs at least two classes"),
        ([*Y[:-1], None], r"no label .* for document 39"),
        ([float("nan"), *Y[1:]], "no label .* for document 0"),
        (np.linspace(0, 1, len(X)), "continuous"),
        (np.zeros((len(X), 2)), "1d array"),
    ],
)
def test_bad_labels(y, message):
    with pytest.raises(ValueError, match=message):
        tiny_classifier().fit(X, y)


@pytest.mark.slow
def test_a_class_seen_once_is_said():
    texts, labels = [*X, "odd"], [*Y, "odd"]
    with pytest.warns(UserWarning, match="One document alone is labelled 'odd'"):
        model = tiny_classifier(max_epochs=1).fit(texts, labels)
    assert model.predict_proba(texts).shape == (41, 3)
    with (
        pytest.warns(UserWarning, match="One document alone"),
        pytest.raises(ValueError, match="no document of the class 'odd' to train on, of 1"),
    ):
        tiny_classifier(train_split=ValidSplit([([*range(40)], [40])])).fit(texts, labels)
    with pytest.warns(UserWarning, match="least populated class"):
        scores = cross_val_score(tiny_classifier(max_epochs=1), texts, labels, cv=2)
    assert np.isfinite(scores).all()


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"decision": "best"}, ValueError, "decision='best' is unknown"),
        ({"max_epochs": 0}, ValueError, "max_epochs must be"),
        ({"tokenizer": 3}, TypeError, "tokenizer must be"),
        ({"module__heads": 3}, ValueError, "heads=3 must divide"),
        ({"train_split": 5}, ValueError, "train_split must be None or"),
    ],
)
def test_bad_parameters(parameters, error, message):
    with pytest.raises(error, match=message):
        tiny_classifier(**parameters).fit(X, Y)


def test_unknown_parameters_are_refused_by_name():
    with pytest.raises(ValueError, match="Invalid parameter 'timestep'"):
        tiny_classifier(module__timestep=2)
    with pytest.raises(ValueError, match="Invalid parameter 'alphabet'"):
        tiny_classifier(tokenizer__alphabet="abc")
    with pytest.raises(TypeError, match="weights"):
        tiny_classifier().fit(X, Y, weights=np.ones(len(X)))


def test_bad_documents(classifier):
    with pytest.raises(TypeError, match="single string"):
        classifier.predict("great")
    with pytest.raises(ValueError, match="missing"):
        tiny_classifier().fit([*X[:-1], None], Y)
    with pytest.raises(ValueError, match="holds text"):
        tiny_classifier(tokenizer=None).fit(X, Y)
    with pytest.raises(ValueError, match="No document of X holds a token"):
        tiny_classifier(tokenizer=None, module__vocab_size=3).fit(
            [np.array([], int)] * 4, [0, 1, 0, 1]
        )


@pytest.mark.parametrize("method", ["predict", "predict_proba", "predict_log_proba"])
def test_unfitted(method):
    with pytest.raises(NotFittedError):
        getattr(tiny_classifier(), method)(X)


@pytest.mark.slow
def test_a_refused_refit_leaves_the_fitted_model():
    model = tiny_classifier(max_epochs=1, tokenizer=CharTokenizer()).fit(X, Y)
    before = model.predict_proba(X).tolist()
    for bad in (Y[1:], ["good"] * len(X)):
        with pytest.raises(ValueError, match="y holds"):
            model.fit(X, bad)
    with pytest.raises(ValueError, match="train_split leaves no document"):
        model.set_params(train_split=ValidSplit([([0, 2], [1, 3])])).fit(X, Y)
    assert model.predict_proba(X).tolist() == before


def test_initialize_alone_needs_the_classes():
    with pytest.raises(ValueError, match="classes are not known before fit"):
        tiny_classifier().initialize()


def test_a_module_instance_is_kept(language_model):
    module = copy.deepcopy(language_model.module_)
    model = SpikeDecoderClassifier(module, tokenizer="word", max_epochs=1, random_state=0)
    model.fit(X, Y)
    assert module.head.linear.out_features == module.vocab_size
    assert len(TEXTS)

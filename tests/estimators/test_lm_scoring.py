from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.base import clone
from tiny_language_model import tiny_model

from snn_estimators.energy import summarize

LONG = "the cat sat on the mat and the dog ran at the cat"  # several windows of 8


def test_score_samples_adds_up_what_predict_proba_says(fitted, texts):
    texts = [*texts, LONG]
    ids = fitted.tokenizer_.transform(texts)
    expected = [
        np.log(p[np.arange(len(d) - 1), d[1:]]).sum()
        for p, d in zip(fitted.predict_proba(texts), ids, strict=True)
    ]
    np.testing.assert_allclose(fitted.score_samples(texts), expected, rtol=1e-5)


@pytest.mark.slow
def test_score_is_a_mean_over_tokens(fitted, texts):
    n_predicted = sum(len(text) - 1 for text in texts)
    score = fitted.score(texts)
    assert score == pytest.approx(fitted.score_samples(texts).sum() / n_predicted)
    assert fitted.perplexity(texts) == pytest.approx(math.exp(-score))
    bits = -fitted.score_samples(texts).sum() / math.log(2)
    assert fitted.bits_per_character(texts) == pytest.approx(bits / sum(map(len, texts)))


@pytest.mark.slow
def test_sample_weights(fitted, texts):
    assert fitted.score(texts, sample_weight=[1, 1, 1, 1]) == fitted.score(texts)
    assert fitted.score(texts, sample_weight=[0, 2, 0, 0]) == pytest.approx(
        fitted.score(texts[1:2]), rel=1e-5
    )
    assert fitted.score(texts, sample_weight=[2, 1, 1, 1]) == pytest.approx(
        fitted.score([texts[0], *texts]), rel=1e-5
    )
    for wrong in ([1, 2], [1, 1, 1, -1], [1, 1, 1, np.nan]):
        with pytest.raises(ValueError, match="sample_weight must hold"):
            fitted.score(texts, sample_weight=wrong)


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_scores_do_not_depend_on_the_batches(fitted, texts, batch_size):
    model = tiny_model().fit(texts).set_params(iterator_valid__batch_size=batch_size)
    texts = [*texts, LONG, "a"]
    np.testing.assert_allclose(model.score_samples(texts), fitted.score_samples(texts), rtol=1e-5)


def test_documents_too_short_to_predict(fitted):
    assert fitted.score_samples(["a", "", "at"])[:2].tolist() == [0, 0]
    for method in ("score", "perplexity", "evaluate", "energy"):
        with pytest.raises(ValueError, match="nothing to score"):
            getattr(fitted, method)(["a", ""])
    with pytest.raises(ValueError, match="nothing to score"):
        fitted.bits_per_character([""])


def test_predictions_have_the_shape_of_the_documents(fitted):
    texts = [LONG, "at", ""]
    predictions, probabilities = fitted.predict(texts), fitted.predict_proba(texts)
    vocab_size = len(fitted.tokenizer_.vocabulary_)
    for text, ids, distribution in zip(texts, predictions, probabilities, strict=True):
        assert ids.shape == (len(text),)
        assert distribution.shape == (len(text), vocab_size)
        assert (distribution.argmax(-1) == ids).all()
        np.testing.assert_allclose(distribution.sum(-1), 1, rtol=1e-5)


def test_the_future_is_not_seen(fitted):
    whole = fitted.predict_proba(["the cat s"])[0]
    np.testing.assert_allclose(whole[:7], fitted.predict_proba(["the cat"])[0], atol=1e-5)


@pytest.mark.slow
def test_tables_of_ids():
    table = np.random.default_rng(0).integers(6, size=(5, 12))
    model = tiny_model(tokenizer=None).fit(table)
    assert model.vocab_size_ == 6
    assert model.predict(table).shape == (5, 12)
    assert model.predict_proba(table).shape == (5, 12, 6)
    assert isinstance(model.predict(list(table)), list)
    np.testing.assert_allclose(model.score_samples(list(table)), model.score_samples(table))
    assert model.bits_per_character(table) == pytest.approx(
        -model.score_samples(table).sum() / math.log(2) / 60
    )
    with pytest.raises(ValueError, match="12 features"):
        model.score(table[:, :4])
    assert np.isfinite(model.score(list(table[:, :4])))


@pytest.mark.slow
def test_ids_and_text_are_the_same_model(fitted, texts):
    ids = fitted.tokenizer_.transform(texts)
    model = clone(fitted).set_params(tokenizer=None, module__vocab_size=fitted.vocab_size_)
    assert model.fit(ids).score_samples(ids).tolist() == fitted.score_samples(texts).tolist()


def test_ids_beyond_the_vocabulary(fitted_on_ids):
    with pytest.raises(ValueError, match=r"token id 10, but the model knows ids 0 to 9"):
        fitted_on_ids.score([np.array([1, 10])])


def test_energy_and_spike_rates(fitted, texts):
    table = fitted.energy(texts)
    assert {"layer", "kind", "spike_rate", "accumulates", "macs", "energy_pj"} <= set(table)
    rates = fitted.spike_rates(texts)
    assert len(rates) > 5
    assert set(rates["layer"]) <= set(table["layer"])
    assert rates["spike_rate"].between(0, 1).all()


@pytest.mark.slow
def test_one_pass_gives_what_many_give(fitted, texts):
    texts = [*texts, LONG]
    totals = fitted.evaluate(texts)
    assert totals["log_likelihood"] == pytest.approx(fitted.score_samples(texts).sum())
    assert totals["n_tokens"] == sum(len(text) - 1 for text in texts)
    assert totals["n_characters"] == sum(map(len, texts))
    ids = fitted.tokenizer_.transform(texts)
    hits = [(p[:-1] == d[1:]).sum() for p, d in zip(fitted.predict(texts), ids, strict=True)]
    assert totals["n_correct"] == sum(hits)
    assert totals["spike_rate"] == summarize(fitted.energy(texts))["spike_rate"]
    assert totals["unknown_rate"] == 0


SCORING = ("score_samples", "score", "perplexity", "bits_per_character", "evaluate", "energy")


@pytest.mark.parametrize("method", SCORING)
def test_text_of_another_alphabet_is_not_scored(fitted, method):
    with pytest.raises(ValueError, match=r"83\.9% of the tokens .* unknown .*TextCleaner"):
        getattr(fitted, method)(["Всё смешалось в доме Облонских."])


@pytest.mark.parametrize("method", SCORING)
def test_some_unknown_characters_bring_a_warning(fitted, method, recwarn):
    getattr(fitted, method)(["the cat " * 20 + "!"])  # less than one in a hundred
    assert not recwarn
    getattr(fitted, method)(["the cat!", "the dog!"])
    assert [str(w.message)[:14] for w in recwarn] == ["12.5% of the t"]


def test_the_share_of_unknown_tokens(fitted, fitted_on_ids):
    with pytest.warns(UserWarning, match="unknown"):
        assert fitted.evaluate(["!the!", "cat"])["unknown_rate"] == 1 / 6  # the first is given
    assert fitted_on_ids.evaluate([np.arange(9)])["unknown_rate"] == 0
    strict = tiny_model(tokenizer__handle_unknown="error").fit(["abc"])
    assert strict.evaluate(["cab"])["unknown_rate"] == 0


def test_rare_words_are_meant_to_be_unknown(texts, recwarn):
    model = tiny_model(tokenizer="word").fit(texts)
    assert model.evaluate(["the cat sat elsewhere"])["unknown_rate"] == 1 / 3
    assert not recwarn
    with pytest.warns(UserWarning, match=r"75\.0% of the tokens"):
        model.score(["the rest is silence"])


def test_nothing_to_predict_has_no_score(fitted):
    for method in ("score", "perplexity", "bits_per_character", "energy"):
        with pytest.raises(ValueError, match="nothing to score"):
            getattr(fitted, method)(["", "a"])

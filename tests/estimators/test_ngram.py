"""N-grams with Kneser-Ney smoothing: by hand, against the plain recursion, and in searches."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks
from tiny_language_model import TEXTS

from snn_estimators import NGramLM, TextCleaner, WordTokenizer, language_model_scores
from snn_estimators.estimators.n_grams.kneser_ney import KneserNey

documents = st.lists(st.lists(st.integers(0, 4), max_size=9), min_size=1, max_size=6)


def arrays(lists):
    return [np.array(ids, np.int64) for ids in lists]


class Recursion:
    """The formula of the module, n-gram by n-gram."""

    def __init__(self, lists, order, vocab_size):
        self.order, self.vocab_size = order, vocab_size
        self.counts = [self._count(lists, n) for n in range(1, order + 1)]
        self.discounts = [self._discounts(list(counts.values())) for counts in self.counts]

    def _count(self, lists, n):
        found: dict = {}
        for number, ids in enumerate(lists):
            for i in range(len(ids) - n + 1):
                before = ids[i - 1] if i else "start"
                seen = (number, i) if n == self.order else before
                found.setdefault(tuple(ids[i : i + n]), set()).add(seen)
        return {gram: len(seen) for gram, seen in found.items()}

    def _discounts(self, counts):
        n = [sum(one == k for one in counts) for k in range(5)]
        share = n[1] / (n[1] + 2 * n[2]) if n[1] else 0.0
        if all(n[1:]):
            found = [k - (k + 1) * share * n[k + 1] / n[k] for k in (1, 2, 3)]
            if all(0 < one < k for k, one in enumerate(found, start=1)):
                return found
        return [share if 0 < share < 1 else 0.75] * 3

    def probability(self, token, context, n=None):
        n = min(self.order, len(context) + 1) if n is None else n
        if n == 0:
            return 1 / self.vocab_size
        history = tuple(context[len(context) - n + 1 :])
        lower = self.probability(token, context, n - 1)
        counts, discounts = self.counts[n - 1], self.discounts[n - 1]
        after = {gram[-1]: c for gram, c in counts.items() if gram[:-1] == history and c}
        total = sum(after.values())
        if not total:
            return lower
        taken = {w: min(discounts[min(c, 3) - 1], c) for w, c in after.items()}
        own = after.get(token, 0) - taken.get(token, 0.0)
        return (own + sum(taken.values()) * lower) / total


@settings(deadline=None, max_examples=60)
@given(documents, st.integers(1, 5), st.lists(st.integers(0, 4), min_size=1, max_size=8))
def test_it_is_the_recursion_and_sums_to_one(lists, order, text):
    model, plain = KneserNey(arrays(lists), order, 5), Recursion(lists, order, 5)
    ids = np.array(text, np.int64)
    contexts = model.contexts(ids)
    found = model.probabilities(contexts[:-1], ids)
    for i, token in enumerate(text):
        assert found[i] == pytest.approx(plain.probability(token, text[:i]), abs=1e-12)
        distribution = model.distribution(contexts[i])
        assert distribution.sum() == pytest.approx(1)
        assert distribution[token] == pytest.approx(found[i])


def test_by_hand():
    """Of "abab", "b": bigrams ab 2, ba 1; before a stand the start and b, before b a and start.

    No bigram occurs three times, so every discount is n1 / (n1 + 2 n2) = 1 / 3. Of single letters
    a and b have two different tokens before them each, so n1 is 0, and the discount 3/4.
    """
    model = NGramLM(order=2).fit(["abab", "b"])
    ids = {letter: i for i, letter in enumerate(model.tokenizer_.vocabulary_)}
    lowest = 1 / len(ids)
    of_b = (2 - 0.75 + 2 * 0.75 * lowest) / 4
    after_a = (2 - 1 / 3 + of_b / 3) / 2
    (found,) = model.predict_proba(["a"])
    assert found[0, ids["b"]] == pytest.approx(after_a)
    assert model.score_samples(["ab"]) == pytest.approx([math.log(after_a)])


def test_longer_n_grams_predict_better():
    text = ["the cat sat on the mat. the dog sat on the log. " * 3]
    held_out = ["the cat sat on the log. the dog sat on the mat."]
    perplexities = [NGramLM(order).fit(text).perplexity(held_out) for order in (1, 2, 3, 4)]
    assert perplexities == sorted(perplexities, reverse=True)


def test_every_score_is_of_the_same_likelihoods():
    model = NGramLM().fit(TEXTS)
    samples = model.score_samples(TEXTS)
    n_predicted = sum(len(text) - 1 for text in TEXTS)
    assert model.score(TEXTS) == pytest.approx(samples.sum() / n_predicted)
    assert model.perplexity(TEXTS) == pytest.approx(math.exp(-samples.sum() / n_predicted))
    scores = language_model_scores(model, TEXTS)
    assert -scores["neg_perplexity"] == pytest.approx(model.perplexity(TEXTS))
    assert -scores["neg_bits_per_character"] == pytest.approx(model.bits_per_character(TEXTS))
    likeliest = model.predict(TEXTS)
    ids = model.tokenizer_.transform(TEXTS)
    hits = sum((p[:-1] == i[1:]).sum() for p, i in zip(likeliest, ids, strict=True))
    assert scores["accuracy"] == pytest.approx(hits / n_predicted)
    assert math.isnan(scores["neg_energy_per_token_nj"])


def test_documents_do_not_see_each_other():
    model = NGramLM().fit(TEXTS)
    alone = [model.score_samples([text])[0] for text in TEXTS]
    assert model.score_samples(TEXTS).tolist() == alone
    assert model.score_samples(["", "a"]).tolist() == [0, 0]


def test_it_generates_what_it_has_seen():
    model = NGramLM(order=4).fit(["to be or not to be"])
    assert model.generate("to ", 3, temperature=0) == "be "[:3]
    drawn = model.generate(["to ", "or"], 20, random_state=0)
    assert drawn == model.generate(["to ", "or"], 20, random_state=0)
    assert "".join(model.generate("to ", 20, random_state=0, stream=True)) == drawn[0]


def test_words_of_a_tokenizer_can_be_searched():
    model = NGramLM(order=2, tokenizer=WordTokenizer())
    grid = {"tokenizer__min_frequency": [1, 2], "order": [1, 2]}
    search = GridSearchCV(
        model, grid, cv=2, scoring=language_model_scores, refit="neg_bits_per_character"
    ).fit(["the cat sat on the mat", "the dog sat on the mat"] * 4)
    assert search.best_params_["order"] == 2
    pipeline = make_pipeline(TextCleaner(), clone(model)).fit(["The CAT sat", "the cat sat"])
    assert np.isfinite(pipeline.score(["the cat"]))


def test_parameters_of_a_tokenizer_that_is_named():
    text = ["the cat and the dog", "a cat and a dog and a bird"]
    model = NGramLM(order=2, tokenizer="word")
    search = GridSearchCV(model, {"tokenizer__min_frequency": [2]}, cv=2).fit(text * 2)
    assert search.best_estimator_.tokenizer_.min_frequency == 2
    given = NGramLM(tokenizer=WordTokenizer(min_frequency=2)).fit(text)
    named = NGramLM().set_params(tokenizer="word", tokenizer__min_frequency=2).fit(text)
    assert named.vocab_size_ == given.vocab_size_ < NGramLM(tokenizer="word").fit(text).vocab_size_
    with pytest.raises(ValueError, match="Invalid parameter 'min_count'"):
        model.set_params(tokenizer__min_count=2)


def test_a_larger_vocabulary_leaves_something_for_what_was_not_seen():
    ids = [np.array([0, 1, 2, 0, 1, 2])]
    model = NGramLM(tokenizer=None, vocab_size=5).fit(ids)
    (rows,) = model.predict_proba(ids)
    assert rows.shape == (6, 5) and (rows > 0).all()
    np.testing.assert_allclose(rows.sum(1), 1)
    with pytest.raises(ValueError, match="vocab_size=2 is too small: the training data has 3"):
        NGramLM(tokenizer=None, vocab_size=2).fit(ids)


@pytest.mark.parametrize("order", [0, 1.5, True, "two", None])
def test_bad_orders_are_named(order):
    with pytest.raises(ValueError, match="order"):
        NGramLM(order=order).fit(TEXTS)


def test_other_bad_input_is_named():
    with pytest.raises(TypeError, match="tokenizer must be a name"):
        NGramLM(tokenizer=3).fit(TEXTS)
    with pytest.raises(ValueError, match="nothing to score"):
        NGramLM().fit(TEXTS).evaluate(["a"])
    with pytest.raises(ValueError, match="knows ids 0 to 2 only"):
        NGramLM(tokenizer=None).fit([[0, 1, 2]]).score([[0, 3, 1]])


@parametrize_with_checks([NGramLM(tokenizer=None)])
def test_scikit_learn_has_nothing_to_object(estimator, check):
    check(estimator)

"""N-grams as an estimator: what every language model has to beat."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.utils.validation import check_is_fitted

from snn_estimators._validation import check_whole
from snn_estimators.estimators.generation import Generation, Sampler
from snn_estimators.estimators.n_grams.kneser_ney import KneserNey
from snn_estimators.estimators.text_density import Floats, TextDensity
from snn_estimators.estimators.text_net import (
    check_known_ids,
    check_tokenizer,
    check_two_tokens,
    choose_vocab_size,
    largest_id,
)
from snn_estimators.estimators.token_windows import check_token_ids
from snn_estimators.text import BaseTokenizer, Ids, check_documents, make_tokenizer

__all__ = ["NGramLM"]


class NGramLM(TextDensity, Generation, BaseEstimator):
    """An n-gram model with interpolated, modified Kneser-Ney smoothing.

    It keeps the contract of the spiking language models: fitted on documents, scored by the
    log-likelihood of each token but a document's first, and it generates text.

    Parameters
    ----------
    order : int, default=3
        Tokens in an n-gram: 2 predicts a token from the one before.
    tokenizer : {"char", "word", "bpe"} or tokenizer or None, default="char"
        Fitted within `fit`. Its parameters are set by ``set_params(tokenizer__min_frequency=2)``
        or in a grid, also those of one that is given by name. With None, X holds token ids.
    vocab_size : int, optional
        Number of different tokens, where it is more than those of the training text.

    Attributes
    ----------
    tokenizer_ : tokenizer
        Fitted; absent with ``tokenizer=None``.
    vocab_size_ : int
    model_ : KneserNey
        The counts.
    n_features_in_ : int
        Width of a table of token ids seen in `fit`.

    References
    ----------
    Chen and Goodman, "An empirical study of smoothing techniques for language modeling", Computer
    Speech and Language, 1999; the formulas are in `snn_estimators.estimators.n_grams.kneser_ney`.

    Examples
    --------
    >>> from snn_estimators import NGramLM
    >>> model = NGramLM(order=2).fit(["abcabcabcabc"])
    >>> model.perplexity(["abcabc"]) < 2
    True
    >>> model.generate("ab", max_new_tokens=4, temperature=0)
    'cabc'
    """

    def __init__(
        self,
        order: int = 3,
        *,
        tokenizer: str | BaseTokenizer | None = "char",
        vocab_size: int | None = None,
    ) -> None:
        self.order = order
        self.tokenizer = tokenizer
        self.vocab_size = vocab_size

    def set_params(self, **params: Any) -> Self:
        """Set parameters, also those of a tokenizer that is given by name."""
        name = params.get("tokenizer", self.tokenizer)
        if isinstance(name, str) and any(key.startswith("tokenizer__") for key in params):
            params["tokenizer"] = make_tokenizer(name)
        return super().set_params(**params)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        takes_text = self.tokenizer is not None
        tags.estimator_type = "density_estimator"
        tags.input_tags.string = takes_text
        tags.input_tags.two_d_array = not takes_text
        tags.input_tags.categorical = not takes_text
        tags.input_tags.positive_only = not takes_text
        return tags

    def fit(self, X: Any, y: Any = None) -> Self:
        """Count the n-grams of documents.

        Parameters
        ----------
        X : iterable of str, or token ids
            As `SpikeDecoderLM.fit` takes it.
        y : None
            Ignored.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            If X is not such a collection, no document has two tokens, or a parameter makes no
            sense.
        """
        check_whole("order", self.order, 1, hint="give the number of tokens in an n-gram")
        check_whole("vocab_size", self.vocab_size, 1, optional=True)
        check_tokenizer(self.tokenizer)
        documents = self._check_X(X, reset=True)
        if self.tokenizer is None:
            tokens, n_tokens = documents, 1 + largest_id(documents)
        else:
            name = self.tokenizer
            tokenizer = make_tokenizer(name) if isinstance(name, str) else clone(name)
            tokens = tokenizer.fit(documents).encode(documents)
            self.tokenizer_, n_tokens = tokenizer, tokenizer.n_tokens_
        check_two_tokens(tokens, "There is nothing to count: at least one document must")
        self.vocab_size_ = choose_vocab_size("vocab_size", self.vocab_size, n_tokens)
        self.model_ = KneserNey(list(tokens), self.order, self.vocab_size_)
        return self

    def predict(self, X: Any) -> Any:
        """Return the most likely next token after each position, as `SpikeDecoderLM.predict`."""
        found = [rows.argmax(1) for rows in self._distributions(X)]
        return np.stack(found) if hasattr(X, "ndim") and self.tokenizer is None else found

    def predict_proba(self, X: Any) -> Any:
        """Return the distribution of the next token after each position.

        Returns
        -------
        list of ndarray of float, each of shape (n_tokens_of_the_document, vocab_size)
            Or one array of shape (n_documents, n_tokens, vocab_size) if X is a table.
        """
        found = list(self._distributions(X))
        return np.stack(found) if hasattr(X, "ndim") and self.tokenizer is None else found

    def evaluate(self, X: Any) -> dict[str, Any]:
        """Return the figures of `SpikeDecoderLM.evaluate` that n-grams have: quality, no cost."""
        documents = self._check_fitted_X(X)
        tokens = self._tokens_to_score(documents)
        if not any(len(ids) > 1 for ids in tokens):
            raise ValueError("There is nothing to score: no document has two tokens.")
        likeliest: dict[bytes, int] = {}
        n_correct = 0
        for ids in tokens:
            for contexts, token in zip(self.model_.contexts(ids)[1:-1], ids[1:], strict=True):
                key = contexts.tobytes()
                if key not in likeliest:
                    likeliest[key] = int(self.model_.distribution(contexts).argmax())
                n_correct += likeliest[key] == token
        return {
            "log_likelihood": float(self._log_likelihoods(tokens).sum()),
            "n_tokens": sum(max(len(ids) - 1, 0) for ids in tokens),
            "n_characters": sum(map(len, documents)),
            "n_correct": n_correct,
            "unknown_rate": self._unknown_rate([ids[1:] for ids in tokens]),
            "spelling_bits": self._spelling_bits(documents),
        }

    # What the mix-ins ask for

    def check_is_fitted(self) -> None:
        """Raise NotFittedError unless the estimator was fitted."""
        check_is_fitted(self, "model_")

    def _check_X(self, X: Any, *, reset: bool = False) -> Any:
        if self.tokenizer is None:
            return check_token_ids(self, X, reset=reset)
        return check_documents(X, allow_empty=not reset)

    def _tokenize(self, documents: Any) -> Sequence[Ids]:
        self.check_is_fitted()
        if self.tokenizer is not None:
            return self.tokenizer_.encode(documents)
        return check_known_ids(documents, self.vocab_size_)

    def _log_likelihoods(self, tokens: Sequence[Ids]) -> Floats:
        sums = [
            np.log(self.model_.probabilities(self.model_.contexts(ids)[1:-1], ids[1:])).sum()
            for ids in tokens
        ]
        return np.array(sums, dtype=float)

    def _distributions(self, X: Any) -> Iterator[Floats]:
        for ids in self._tokenize(self._check_fitted_X(X)):
            rows = [self.model_.distribution(one) for one in self.model_.contexts(ids)[1:]]
            yield np.array(rows).reshape(len(ids), self.vocab_size_)

    def _stream(
        self,
        prompts: Sequence[Ids],
        n_tokens: int,
        sampler: Sampler,
        seeds: Sequence[np.random.SeedSequence],
    ) -> Iterator[Ids]:
        rngs = [np.random.default_rng(seed) for seed in seeds]
        recent = [list(ids[-self.order :]) for ids in prompts]
        for _ in range(n_tokens):
            for ids, rng in zip(recent, rngs, strict=True):
                contexts = self.model_.contexts(np.array(ids[-self.order :], np.int64))[-1]
                ids.append(sampler(np.log(self.model_.distribution(contexts)), rng))
            yield np.array([ids[-1] for ids in recent], np.int64)

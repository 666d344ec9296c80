"""The scores that every density estimator of text has."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from snn_estimators._warnings import warn
from snn_estimators.text import BaseTokenizer, Ids, spelling_bits

__all__ = ["TextDensity", "exp_or_inf"]

Floats = npt.NDArray[np.float64]


class TextDensity:
    """The scoring methods that follow from the log-likelihoods of documents.

    A subclass has a `tokenizer`, and the methods whose bodies are left out here. Each minds tokens
    that the tokenizer does not know: where more of them stand in X than its `unknown_limits`
    allow, there is a warning first, and then a ValueError.
    """

    tokenizer: str | BaseTokenizer | None
    tokenizer_: BaseTokenizer

    def _check_X(self, X: Any, *, reset: bool = False) -> Any:
        raise NotImplementedError

    def _tokenize(self, documents: Any) -> Sequence[Ids]:
        raise NotImplementedError

    def _log_likelihoods(self, tokens: Sequence[Ids]) -> Floats:
        """Return the log-likelihood of each document's tokens but the first."""
        raise NotImplementedError

    # Scores

    def score_samples(self, X: Any) -> Floats:
        """Return the log-likelihood of each document.

        Parameters
        ----------
        X : iterable of str, or token ids
            As in `fit`.

        Returns
        -------
        ndarray of shape (n_documents,)
            In nats: the sum over all tokens of a document but its first, each given those before
            it in its window. 0 for a document of fewer than two tokens.

        Raises
        ------
        NotFittedError
            If the estimator was not fitted.
        ValueError
            If X is hardly known to the tokenizer.
        """
        return self._log_likelihoods(self._tokens_to_score(self._check_fitted_X(X)))

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Return the mean log-likelihood of a predicted token, in nats; higher is better.

        Parameters
        ----------
        X : iterable of str, or token ids
        y : None
            Ignored.
        sample_weight : array-like of shape (n_documents,), optional
            How much the tokens of each document count.

        Returns
        -------
        float

        Raises
        ------
        ValueError
            If there is no token to predict, X is hardly known to the tokenizer, or the weights do
            not fit.
        """
        tokens = self._tokens_to_score(self._check_fitted_X(X))
        weights = _check_weights(sample_weight, len(tokens))
        n_predicted = weights @ np.array([max(len(ids) - 1, 0) for ids in tokens])
        if n_predicted <= 0:
            raise ValueError(
                "There is nothing to score: no document (of positive weight) has two tokens."
            )
        return float(weights @ self._log_likelihoods(tokens) / n_predicted)

    def perplexity(self, X: Any) -> float:
        """Return exp(-score(X)): 1 is certainty, the size of the vocabulary a uniform guess."""
        return exp_or_inf(-self.score(X))

    def bits_per_character(self, X: Any) -> float:
        """Return the bits needed for X over its characters, which compare across tokenizers.

        An unknown token pays for itself and for spelling out the characters that it hides, see
        `snn_estimators.text.spelling_bits`: a tokenizer that knows less of the text gains nothing.

        With ``tokenizer=None`` a token counts as a character. As in `score_samples`, a document's
        first token is given.
        """
        documents = self._check_fitted_X(X)
        n_characters = sum(map(len, documents))
        if n_characters == 0:
            raise ValueError("There is nothing to score: X holds no characters.")
        tokens = self._tokens_to_score(documents)
        if not any(len(ids) > 1 for ids in tokens):
            raise ValueError("There is nothing to score: no document has two tokens.")
        bits = -self._log_likelihoods(tokens).sum() / math.log(2) + self._spelling_bits(documents)
        return float(bits / n_characters)

    # Documents

    def _check_fitted_X(self: Any, X: Any) -> Any:
        self.check_is_fitted()
        return self._check_X(X)

    def _tokens_to_score(self, documents: Any) -> Sequence[Ids]:
        """Return the ids of checked documents, unless they are mostly unknown tokens."""
        tokens = self._tokenize(documents)
        rate = self._unknown_rate(tokens)
        if rate == 0:
            return tokens
        warn_above, raise_above = self.tokenizer_.unknown_limits
        share = f"{rate:.1%} of the tokens of X are unknown to the model's tokenizer"
        if rate > raise_above:
            raise ValueError(
                f"{share}, so a score would say nothing: fit the model on text with those "
                "characters, or clean X (TextCleaner) as the training text was."
            )
        if rate > warn_above:
            warn(
                f"{share}: all count as one symbol, so the scores do not compare with those of a "
                "model that knows them.",
                UserWarning,
            )
        return tokens

    def _unknown_rate(self, tokens: Sequence[Ids]) -> float:
        unknown = None if self.tokenizer is None else self.tokenizer_.unknown_id_
        n_tokens = sum(map(len, tokens))
        if unknown is None or n_tokens == 0:
            return 0.0
        return sum(int((ids == unknown).sum()) for ids in tokens) / n_tokens

    def _spelling_bits(self, documents: Any) -> float:
        is_text = self.tokenizer is not None
        return float(spelling_bits(self.tokenizer_, documents).sum()) if is_text else 0.0


def _check_weights(sample_weight: Any, n_documents: int) -> Floats:
    if sample_weight is None:
        return np.ones(n_documents)
    weights = np.asarray(sample_weight, dtype=np.float64)
    if weights.shape != (n_documents,) or not np.isfinite(weights).all() or (weights < 0).any():
        raise ValueError(
            f"sample_weight must hold a finite number from 0 on for each of the {n_documents} "
            f"documents, got shape {weights.shape}."
        )
    return weights


def exp_or_inf(x: float) -> float:
    """Return exp(x), infinity where `math.exp` would raise."""
    try:
        return math.exp(x)
    except OverflowError:
        return math.inf

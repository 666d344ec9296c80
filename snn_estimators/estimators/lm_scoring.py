"""Scores, predictions and costs of a fitted language model."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from snn_estimators._warnings import warn
from snn_estimators.energy import EnergyMeter, EnergyProfile, spike_rates, summarize
from snn_estimators.energy.profiles import DEFAULT, resolve_profile
from snn_estimators.estimators.token_windows import TokenWindows
from snn_estimators.estimators.training import TrainedNet
from snn_estimators.text import IGNORED, BaseTokenizer, Ids

__all__ = ["LanguageModelScoring", "exp_or_inf"]

Floats = npt.NDArray[np.float64]


class Batch(NamedTuple):
    """Windows of equal length, and what the module makes of them."""

    documents: Ids  # [batch]
    starts: Ids  # [batch], positions in the documents
    targets: Tensor  # [batch, sequence]
    logits: Tensor  # [batch, sequence, vocabulary]


class LanguageModelScoring(TrainedNet):
    """The scoring methods of a language model, all in passes over windows of equal length.

    Each minds tokens that the tokenizer does not know: where more of them stand in X than its
    `unknown_limits` allow, there is a warning first, and then a ValueError.
    """

    tokenizer: str | BaseTokenizer | None
    tokenizer_: BaseTokenizer

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
        """Return the bits needed for X over its characters.

        They compare across tokenizers only where `evaluate` returns an ``unknown_rate`` of (nearly)
        0: an unknown token pays for none of the characters that it hides, so a tokenizer that
        knows less of the text may look better than it is.

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
        return float(-self._log_likelihoods(tokens).sum() / math.log(2) / n_characters)

    # Predictions

    def predict(self, X: Any) -> Any:
        """Return the most likely next token after each position.

        Returns
        -------
        list of ndarray of int, or ndarray of int
            Ids, one array a document, of its length; a table if X is a table of token ids.
        """
        return self._at_every_position(X, lambda logits: logits.argmax(-1))

    def predict_proba(self, X: Any) -> Any:
        """Return the distribution of the next token after each position.

        Returns
        -------
        list of ndarray of float, each of shape (n_tokens_of_the_document, vocab_size)
            Or one array of shape (n_documents, n_tokens, vocab_size) if X is a table.
        """
        return self._at_every_position(X, lambda logits: logits.softmax(-1))

    # Cost

    def energy(self, X: Any, *, profile: EnergyProfile | str = DEFAULT) -> pd.DataFrame:
        """Return what inference on X costs per token, a row a layer; see `snn_estimators.energy`.

        Parameters
        ----------
        X : iterable of str, or token ids
        profile : EnergyProfile or str, default="45nm-sram"
            The technology, or its name in `snn_estimators.energy.PROFILES`.

        Returns
        -------
        DataFrame
            Columns at least ``layer, kind, spike_rate, accumulates, macs, energy_pj``;
            `snn_estimators.energy.summarize` adds them up.
        """
        return self.evaluate(X, profile=profile)["energy"]

    def spike_rates(self, X: Any) -> pd.DataFrame:
        """Return the share of spikes wherever all values are spikes; see `snn_estimators.energy`.

        That is in the input of linear maps and attention, and in what encodings and neurons emit.
        """
        return spike_rates(self.energy(X))

    def evaluate(self, X: Any, *, profile: EnergyProfile | str = DEFAULT) -> dict[str, Any]:
        """Return every figure of one pass over X: quality and cost together.

        Parameters
        ----------
        X : iterable of str, or token ids
        profile : EnergyProfile or str, default="45nm-sram"

        Returns
        -------
        dict
            ``log_likelihood`` : float
                Of all predicted tokens together, in nats.
            ``n_tokens`` : int
                Predicted tokens: all but the first of each document.
            ``n_characters`` : int
                Characters of X, as it came; tokens with ``tokenizer=None``.
            ``n_correct`` : int
                Predicted tokens that were the most likely ones.
            ``unknown_rate`` : float
                Share of the predicted tokens that are the tokenizer's unknown token.
            ``energy`` : DataFrame
                As in `energy`.
            ``spike_rate`` : float
                Spikes over what the neurons could have emitted; NaN without neurons.

        Raises
        ------
        NotFittedError
            If the estimator was not fitted.
        ValueError
            If there is no token to predict, X is hardly known to the tokenizer, or the profile is
            unknown.
        """
        profile = resolve_profile(profile)
        documents = self._check_fitted_X(X)
        tokens = self._tokens_to_score(documents)
        windows = TokenWindows(tokens, self.module_.max_len)
        if not len(windows):
            raise ValueError("There is nothing to score: no document has two tokens.")
        log_likelihood, n_tokens, n_correct = 0.0, 0, 0
        with self._inference(), EnergyMeter(self.module_, profile=profile) as meter:
            for batch in self._walk(windows):
                counts = batch.targets != IGNORED
                log_likelihood += float(_log_likelihood(batch.logits, batch.targets).sum())
                n_tokens += int(counts.sum())
                n_correct += int(((batch.logits.argmax(-1) == batch.targets) & counts).sum())
        table = meter.table()
        return {
            "log_likelihood": log_likelihood,
            "n_tokens": n_tokens,
            "n_characters": sum(map(len, documents)),
            "n_correct": n_correct,
            "unknown_rate": self._unknown_rate([ids[1:] for ids in tokens]),
            "energy": table,
            "spike_rate": float(summarize(table)["spike_rate"]),
        }

    # Passes

    def _check_fitted_X(self, X: Any) -> Any:
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

    @contextmanager
    def _inference(self) -> Iterator[None]:
        """Leave the global random state alone, whatever the module or the loader draws."""
        self._set_training(False)
        with self._private_generators(0), torch.no_grad():
            yield

    def _walk(self, windows: TokenWindows) -> Iterator[Batch]:
        """Run the module over all windows, batch by batch."""
        loader = self.get_iterator(windows)
        for indices, batch in zip(loader.batch_sampler, loader, strict=True):
            documents, starts = windows.locate(np.asarray(indices))
            logits = self.evaluation_step(batch)
            yield Batch(documents, starts, batch[1].to(logits.device), logits)

    def _log_likelihoods(self, tokens: Sequence[Ids]) -> Floats:
        totals = np.zeros(len(tokens))
        with self._inference():
            for batch in self._walk(TokenWindows(tokens, self.module_.max_len)):
                sums = _log_likelihood(batch.logits, batch.targets).sum(1)
                np.add.at(totals, batch.documents, sums.cpu().numpy())
        return totals

    def _at_every_position(self, X: Any, read: Callable[[Tensor], Tensor]) -> Any:
        """Return what `read` makes of the logits after each position of each document."""
        documents = self._check_fitted_X(X)
        tokens = self._tokenize(documents)
        blank = read(torch.zeros(1, self.module_.vocab_size)).numpy()[0]
        results = [np.empty((len(ids), *blank.shape), blank.dtype) for ids in tokens]
        with self._inference():
            for batch in self._walk(
                TokenWindows(tokens, self.module_.max_len, every_position=True)
            ):
                values = read(batch.logits).cpu().numpy()
                for document, start, row in zip(batch.documents, batch.starts, values, strict=True):
                    results[document][start : start + len(row)] = row
        return np.stack(results) if isinstance(documents, np.ndarray) else results


def _log_likelihood(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the log-probability of each target in nats, 0 for those that do not count."""
    counts = targets != IGNORED
    chosen = logits.log_softmax(-1).gather(-1, targets.where(counts, 0).unsqueeze(-1)).squeeze(-1)
    return chosen.double().where(counts, 0.0)


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

"""Scores, predictions and costs of a fitted language model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from snn_estimators.energy import EnergyMeter, EnergyProfile, spike_rates, summarize
from snn_estimators.energy.profiles import DEFAULT, resolve_profile
from snn_estimators.estimators.net.training import TrainedNet
from snn_estimators.estimators.text_density import Floats, TextDensity
from snn_estimators.estimators.token_windows import TokenWindows
from snn_estimators.text import IGNORED, Ids

__all__ = ["LanguageModelScoring"]


class Batch(NamedTuple):
    """Windows of equal length, and what the module makes of them."""

    documents: Ids  # [batch]
    starts: Ids  # [batch], positions in the documents
    targets: Tensor  # [batch, sequence]
    logits: Tensor  # [batch, sequence, vocabulary]


class LanguageModelScoring(TextDensity, TrainedNet):
    """The scoring methods of a language model, all in passes over windows of equal length."""

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
            ``spelling_bits`` : float
                What it takes to spell them.
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
            "spelling_bits": self._spelling_bits(documents),
            "energy": table,
            "spike_rate": float(summarize(table)["spike_rate"]),
        }

    # Passes

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

"""What a fitted classifier says of documents, and what that costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from snn_estimators.energy import EnergyMeter, EnergyProfile, spike_rates
from snn_estimators.energy.profiles import DEFAULT
from snn_estimators.estimators.classification.labelled_documents import LabelledDocuments, Labels
from snn_estimators.estimators.text_net import TextNet
from snn_estimators.text import Ids

__all__ = ["ClassifierScoring"]


class ClassifierScoring(TextNet):
    """The predicting methods of a classifier, all in passes over documents of equal length."""

    classes_: npt.NDArray[Any]

    # Predictions

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """Return the most likely class of each document.

        Parameters
        ----------
        X : iterable of str, or token ids
            As in `fit`; documents may be of any length, and empty ones are fine.

        Returns
        -------
        ndarray of shape (n_documents,)
            Labels, of the type that y had in `fit`.
        """
        codes = self._logits(X).argmax(1)
        return self.classes_[codes.numpy()]

    def predict_proba(self, X: Any) -> npt.NDArray[np.float64]:
        """Return the probability of each class for each document.

        Parameters
        ----------
        X : iterable of str, or token ids

        Returns
        -------
        ndarray of shape (n_documents, n_classes)
            In the order of `classes_`.
        """
        return self._logits(X).softmax(1).numpy()

    def predict_log_proba(self, X: Any) -> npt.NDArray[np.float64]:
        """Return the logarithm of `predict_proba`."""
        return self._logits(X).log_softmax(1).numpy()

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

        Raises
        ------
        ValueError
            If no document holds a token.
        """
        tokens = self._tokens_to_judge(X)
        with EnergyMeter(self.module_, profile=profile) as meter:
            self._run(tokens)
        return meter.table()

    def spike_rates(self, X: Any) -> pd.DataFrame:
        """Return the share of spikes wherever all values are spikes; see `energy`.

        That is in the input of linear maps and attention, and in what encodings and neurons emit.
        """
        return spike_rates(self.energy(X))

    # Passes

    def _logits(self, X: Any) -> Tensor:
        return self._run(self._tokens_to_judge(X))

    def _tokens_to_judge(self, X: Any) -> Sequence[Ids]:
        self.check_is_fitted()
        return self._tokenize(self._check_X(X))

    def _run(self, tokens: Sequence[Ids]) -> Tensor:
        """Give the logits of documents, shape [documents, n_classes], in float64 on the CPU."""
        unknown = Labels(self.classes_, np.zeros(len(tokens), np.int64))
        loader: Any = self.get_iterator(LabelledDocuments(tokens, unknown))
        logits = torch.empty(len(tokens), len(self.classes_), dtype=torch.float64)
        with self._private_generators(0):
            for indices, batch in zip(loader.batch_sampler, loader, strict=True):
                logits[indices] = self.evaluation_step(batch).double().cpu()
        return logits

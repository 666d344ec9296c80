"""How much each document counts in a classifier's loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor

from snn_estimators.estimators.classification.labelled_documents import Labels

__all__ = ["document_weights", "weighted_mean"]

Floats = npt.NDArray[np.float64]


def document_weights(labels: Labels, class_weight: Any, sample_weight: Any) -> Floats | None:
    """Return the weight of each document: its own times its class's; None if all are 1.

    Raises
    ------
    ValueError
        If `class_weight` is none that scikit-learn knows, or has a class that is not there; if
        `sample_weight` holds anything but a finite number from 0 on for each document, or zeros
        alone.
    """
    weights = _check_sample_weight(sample_weight, len(labels.codes))
    weights = weights * _of_classes(labels, class_weight)[labels.codes]
    return None if (weights == 1).all() else weights


def _check_sample_weight(sample_weight: Any, n_documents: int) -> Floats:
    if sample_weight is None:
        return np.ones(n_documents)
    weights = np.asarray(sample_weight, dtype=np.float64)
    if weights.shape != (n_documents,):
        raise ValueError(
            f"sample_weight must hold a number for each of the {n_documents} documents, got shape "
            f"{weights.shape}."
        )
    wrong = np.flatnonzero(~np.isfinite(weights) | (weights < 0))
    if len(wrong):
        raise ValueError(
            f"sample_weight[{wrong[0]}] is {weights[wrong[0]]:g}: give finite numbers from 0 on."
        )
    if not weights.any():
        raise ValueError("sample_weight holds zeros alone: nothing is left to learn from.")
    return weights


def _of_classes(labels: Labels, class_weight: Any) -> Floats:
    if class_weight is not None and not isinstance(class_weight, Mapping):
        if class_weight != "balanced":
            raise ValueError(
                f'class_weight must be None, "balanced" or a dictionary, got {class_weight!r}.'
            )
        present = np.unique(labels.codes)
        weights = np.ones(len(labels.classes))
        weights[present] = compute_class_weight("balanced", classes=present, y=labels.codes)
        return weights
    given = dict(class_weight or {})
    classes = labels.classes.tolist()
    strangers = [one for one in given if one not in classes]
    if strangers:
        raise ValueError(
            f"class_weight names {strangers[0]!r}, which is none of the classes {classes}."
        )
    return _check_sample_weight([given.get(one, 1.0) for one in classes], len(classes))


def weighted_mean(criterion: Any, logits: Tensor, targets: Tensor) -> Tensor:
    """Return the weighted mean of a criterion's losses; 0 if all weights are 0.

    Targets are codes and weights, of shape [documents, 2].

    Raises
    ------
    ValueError
        If the criterion has no `reduction`, so that the losses of documents are not to be had.
    """
    if not hasattr(criterion, "reduction"):
        raise ValueError(
            f"Weights of documents need a criterion with a parameter reduction, as PyTorch's have; "
            f"{type(criterion).__name__} has none: leave out class_weight and sample_weight."
        )
    codes, weights = targets[:, 0].long(), targets[:, 1].to(logits)
    before, criterion.reduction = criterion.reduction, "none"
    try:
        losses = criterion(logits, codes)
    finally:
        criterion.reduction = before
    return (weights * losses).sum() / weights.sum().clamp_min(1e-12)

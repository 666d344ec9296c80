"""From documents with labels to batches of documents of similar length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from torch import Tensor
from torch.utils.data import Dataset, Sampler, Subset

from snn_estimators._warnings import warn
from snn_estimators.text import PADDING, Ids

__all__ = [
    "LabelledDocuments",
    "Labels",
    "SimilarLengths",
    "check_classes_left",
    "check_labels",
    "collate_labelled",
    "labelled_part",
    "warn_of_singles",
]

_BATCHES_SORTED_TOGETHER = 50


class Labels(NamedTuple):
    """Labels as a classifier keeps them."""

    classes: npt.NDArray[Any]
    """Every class once, sorted, as the user wrote it."""
    codes: Ids
    """Index of each document's class."""
    weights: npt.NDArray[np.float64] | None = None
    """How much each document counts in the loss."""


def check_labels(y: Any, n_documents: int, owner: str, classes: Any = None) -> Labels:
    """Return classes and codes of the labels y: strings, whole numbers or truth values.

    The classes are those in y by default. `owner` is named in the messages.

    Raises
    ------
    ValueError
        If y is missing, of another length or kind, holds a missing label, or makes fewer than two
        classes, or if one of its labels is none of `classes`.

    Examples
    --------
    >>> check_labels(["good", "bad", "good"], 3, "Me").codes
    array([1, 0, 1])
    """
    if y is None:
        raise ValueError(f"{owner} requires y to be passed, but the target y is None.")
    labels = column_or_1d(y, warn=True)
    if len(labels) != n_documents:
        raise ValueError(
            f"X holds {n_documents} documents, but y holds {len(labels)} labels: pass one each."
        )
    # Before numpy, in whose arrays of strings NaN reads "nan".
    missing = np.flatnonzero(pd.isna(np.asarray(y, dtype=object).ravel()))
    if len(missing):
        raise ValueError(
            f"y holds no label (None or NaN) for document {missing[0]}: label it or drop it."
        )
    if labels.dtype.kind in "mM":
        raise ValueError(f"y holds {labels.dtype} values: write them as strings to have classes.")
    try:
        check_classification_targets(labels)
        known = np.unique(labels if classes is None else column_or_1d(classes))
    except TypeError as error:
        raise ValueError(
            f"y holds labels of kinds that have no order ({error}): write all as strings, say."
        ) from error
    if len(known) < 2:
        raise ValueError(
            f"y holds one class only, {known.tolist()}: a classifier needs at least two classes."
        )
    strangers = np.flatnonzero(~np.isin(labels, known))
    if len(strangers):
        raise ValueError(
            f"y holds the label {labels.tolist()[strangers[0]]!r}, which is none of the classes "
            f"{known.tolist()}: fit again on data with all classes."
        )
    return Labels(known, np.searchsorted(known, labels).astype(np.int64))


class LabelledDocuments(Dataset):
    """Documents as token ids, each with the code of its class.

    Parameters
    ----------
    documents : sequence of ndarray of int, each of shape (n_tokens,)
    labels : Labels
    """

    def __init__(self, documents: Sequence[Ids], labels: Labels) -> None:
        self.documents = documents
        self.labels = labels
        self.lengths = np.array([len(ids) for ids in documents], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.documents)

    def __getitem__(self, index: int) -> tuple[Tensor, int, float | None]:
        _, codes, weights = self.labels
        weight = None if weights is None else float(weights[index])
        return torch.from_numpy(self.documents[index].astype(np.int64)), int(codes[index]), weight


def labelled_part(dataset: Dataset) -> tuple[Ids, Ids]:
    """Return lengths and codes of labelled documents, or of what a train split left of them."""
    if isinstance(dataset, Subset):
        lengths, codes = labelled_part(dataset.dataset)
        indices = np.asarray(dataset.indices, dtype=np.int64)
        return lengths[indices], codes[indices]
    if isinstance(dataset, LabelledDocuments):
        return dataset.lengths, dataset.labels.codes
    raise TypeError(f"Expected labelled documents, got a {type(dataset).__name__}.")


def check_classes_left(dataset: LabelledDocuments, train: Dataset) -> None:
    """Raise ValueError if a train split leaves a class without a document to train on."""
    codes, kept = dataset.labels.codes, labelled_part(train)[1]
    lost = np.setdiff1d(codes, kept)
    if not len(lost):
        return
    name, n_documents = dataset.labels.classes.tolist()[lost[0]], int((codes == lost[0]).sum())
    remedy = "leave it out, or label another one so"
    if n_documents > 1:
        remedy = "choose a stratified one, such as ValidSplit(5, stratified=True)"
    raise ValueError(
        f"train_split leaves no document of the class {name!r} to train on, of {n_documents} in "
        f"all: {remedy}."
    )


def collate_labelled(
    batch: Sequence[tuple[Tensor, int, float | None]],
) -> tuple[Tensor, Tensor]:
    """Pad documents on the right, to shape [batch, longest document], and stack their codes.

    If they have weights, the targets are of shape [batch, 2]: codes and weights.
    """
    width = max(len(ids) for ids, _, _ in batch)
    tokens = torch.full((len(batch), width), PADDING)
    for row, (ids, _, _) in zip(tokens, batch, strict=True):
        row[: len(ids)] = ids
    codes = torch.tensor([code for _, code, _ in batch])
    weights = [weight for _, _, weight in batch if weight is not None]
    if not weights:
        return tokens, codes
    return tokens, torch.stack([codes.double(), torch.tensor(weights).double()], dim=1)


class SimilarLengths(Sampler[list[int]]):
    """Batches drawn at random, of documents so similar in length that little is padded.

    Every epoch, the documents are shuffled, sorted by length within pools of fifty batches, and
    the batches are shuffled again.

    Examples
    --------
    >>> sampler = SimilarLengths(np.array([9, 2, 8, 3]), batch_size=2)
    >>> sorted(sorted(batch) for batch in sampler)
    [[0, 2], [1, 3]]
    """

    def __init__(self, lengths: Ids, batch_size: int) -> None:
        self.lengths = lengths
        self.batch_size = batch_size

    def __len__(self) -> int:
        return -(-len(self.lengths) // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        shuffled = torch.randperm(len(self.lengths)).numpy()
        batches = []
        pool_size = _BATCHES_SORTED_TOGETHER * self.batch_size
        for start in range(0, len(shuffled), pool_size):
            pool = shuffled[start : start + pool_size]
            pool = pool[np.argsort(self.lengths[pool], kind="stable")]
            batches += [pool[i : i + self.batch_size] for i in range(0, len(pool), self.batch_size)]
        for index in torch.randperm(len(batches)).tolist():
            yield batches[index].tolist()


def warn_of_singles(labels: Labels) -> None:
    """Warn of classes that a single document has."""
    counts = np.bincount(labels.codes, minlength=len(labels.classes))
    singles = labels.classes[counts == 1].tolist()
    if singles:
        warn(
            f"One document alone is labelled {singles[0]!r}"
            + (f" (and so for {len(singles) - 1} more classes)" if len(singles) > 1 else "")
            + ": too few to learn the class, and no split can have it on both sides.",
            UserWarning,
        )

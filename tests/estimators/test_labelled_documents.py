from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import Subset, TensorDataset

from snn_estimators.estimators.classification.labelled_documents import (
    LabelledDocuments,
    SimilarLengths,
    check_labels,
    collate_labelled,
    labelled_part,
)


@pytest.mark.parametrize("n_documents", [1, 7, 8, 1000])
def test_every_document_is_in_one_batch(n_documents):
    lengths = np.random.default_rng(0).integers(1, 60, n_documents)
    sampler = SimilarLengths(lengths, batch_size=8)
    batches = list(sampler)
    assert len(batches) == len(sampler)
    assert sorted(index for batch in batches for index in batch) == list(range(n_documents))
    assert sorted(map(len, batches))[1:] == [8] * (len(batches) - 1)


def test_little_is_padded_and_no_two_epochs_are_alike():
    lengths = np.random.default_rng(0).integers(1, 60, 4000)
    sampler = SimilarLengths(lengths, batch_size=32)
    first, second = list(sampler), list(sampler)
    padded = sum(len(batch) * lengths[batch].max() for batch in first)
    assert padded < 1.05 * lengths.sum()
    assert first != second
    means = [lengths[batch].mean() for batch in first]
    assert abs(np.corrcoef(range(len(means)), means)[0, 1]) < 0.3  # not from short to long
    torch.manual_seed(5)
    again = list(sampler)
    torch.manual_seed(5)
    assert list(sampler) == again


def test_parts_of_a_dataset():
    labels = check_labels(list("abcab"), 5, "Me")
    dataset = LabelledDocuments([np.arange(n) for n in range(5)], labels)
    lengths, codes = labelled_part(Subset(Subset(dataset, [4, 2, 0]), [1, 0]))
    assert lengths.tolist() == [2, 4]
    assert codes.tolist() == [2, 1]
    with pytest.raises(TypeError, match="labelled documents"):
        labelled_part(TensorDataset(torch.zeros(3)))
    tokens, targets = collate_labelled([dataset[0], dataset[3]])
    assert tokens.tolist() == [[-1, -1, -1], [0, 1, 2]]
    assert targets.tolist() == [0, 0]


@pytest.mark.parametrize(
    "y",
    [
        ["b", "a", "b"],
        np.array([7, 2, 7]),
        np.array([True, False, True]),
        np.array([2.0, 1.0, 2.0]),
        pd.Series(["b", "a", "b"], index=[5, 5, 9]),
        pd.Categorical(["b", "a", "b"]),
    ],
)
def test_labels_are_sorted_and_kept(y):
    classes, codes, _ = check_labels(y, 3, "Me")
    assert codes.tolist() == [1, 0, 1]
    assert classes[codes].tolist() == list(y)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (["a", pd.NA, "b"], "document 1"),
        ([None, "a", "b"], "document 0"),
        (["a", "b", float("nan")], "document 2"),
        ([1.5, 2.5, 3.5], "continuous"),
        ("abc", "1d array"),
        ([["a"], ["b", "c"], ["d"]], "inhomogeneous|1d array"),
    ],
)
def test_what_is_no_label(y, message):
    with pytest.raises(ValueError, match=message):
        check_labels(y, 3, "Me")


def test_classes_may_be_known_before():
    assert check_labels(["b"], 1, "Me", classes=["c", "b", "a"]).codes.tolist() == [1]
    with pytest.raises(ValueError, match="label 'd'"):
        check_labels(["b", "d"], 2, "Me", classes=["a", "b"])


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.array(["a", 2] * 4, dtype=object), "write all as strings"),
        (np.array(["2026-01-01", "2026-01-02"] * 4, "M8[D]"), "write them as strings"),
    ],
)
def test_labels_that_make_no_classes(y, message):
    with pytest.raises(ValueError, match=message):
        check_labels(y, 8, "Me")

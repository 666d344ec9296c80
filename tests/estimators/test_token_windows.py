from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import BaseEstimator
from torch.utils.data import RandomSampler, SequentialSampler, Subset

from snn_estimators.estimators import SpikeGPTLM, token_windows
from snn_estimators.estimators.token_windows import (
    ShuffledWindows,
    TokenWindows,
    check_token_ids,
    collate,
    equal_length_batches,
    window_lengths,
)
from snn_estimators.text import IGNORED, PADDING


def documents(*lengths):
    return [np.arange(n) + 100 * i for i, n in enumerate(lengths)]


@pytest.mark.parametrize("length", [1, 2, 3, 5, 8, 40])
def test_every_token_but_the_first_is_predicted_once(length):
    docs = documents(0, 1, 2, 3, 8, 9, 10, 17)
    targets = [t for _, ts in TokenWindows(docs, length) for t in ts.tolist()]
    assert sorted(targets) == [t for d in docs for t in d[1:].tolist()]


@pytest.mark.parametrize("length", [1, 3, 5, 8])
def test_every_position_feeds_each_token_once(length):
    docs = documents(0, 1, 2, 3, 8, 17)
    windows = TokenWindows(docs, length, every_position=True)
    assert sorted(t for xs, _ in windows for t in xs.tolist()) == [t for d in docs for t in d]


@pytest.mark.parametrize("stride", [1, 2, 3, 5, 7])
def test_windows_are_pieces_at_multiples_of_the_stride(stride):
    docs = documents(4, 30)
    windows = TokenWindows(docs, 5, stride)
    where = np.column_stack(windows.locate(np.arange(len(windows))))
    for (document, start), (inputs, targets), length in zip(
        where, windows, windows.lengths(), strict=True
    ):
        assert start % stride == 0
        assert inputs.tolist() == docs[document][start : start + length].tolist()
        assert targets.tolist() == docs[document][start + 1 : start + 1 + length].tolist()


def test_stride_one_has_a_full_window_at_every_position():
    windows = TokenWindows(documents(30), 5, 1)
    assert len(windows) == 25
    assert set(windows.lengths()) == {5}


def test_windows_end_like_any_sequence():
    windows = TokenWindows(documents(6), 5)
    with pytest.raises(IndexError):
        windows[len(windows)]
    assert len(TokenWindows([], 5)) == 0


def test_collate_pads_on_the_right():
    inputs, targets = collate(list(TokenWindows(documents(4, 2), 8)))
    assert inputs.tolist() == [[0, 1, 2], [100, PADDING, PADDING]]
    assert targets.tolist() == [[1, 2, 3], [101, IGNORED, IGNORED]]


def test_batches_of_equal_length_cover_all():
    lengths = np.array([3, 8, 3, 8, 8, 1, 3, 3])
    batches = equal_length_batches(lengths, 2)
    assert sorted(i for batch in batches for i in batch) == list(range(8))
    assert all(len(batch) <= 2 and len(set(lengths[batch])) == 1 for batch in batches)
    assert equal_length_batches(np.empty(0, np.int64), 2) == []


def test_lengths_of_a_subset():
    windows = TokenWindows(documents(9, 4), 5)
    assert window_lengths(Subset(windows, [2, 0])).tolist() == [3, 5]
    with pytest.raises(TypeError, match="Expected windows"):
        window_lengths(torch.utils.data.TensorDataset())


class Anything(BaseEstimator):
    """An estimator, as far as validation cares."""


@pytest.mark.parametrize(
    "X",
    [
        np.array([[1, 2], [3, 4]]),
        [[1, 2], [3, 4]],
        np.array([[1.0, 2.0], [3.0, 4.0]]),
        torch.tensor([[1, 2], [3, 4]]),
    ],
)
def test_tables(X):
    estimator = Anything()
    table = check_token_ids(estimator, X, reset=True)
    assert table.dtype == np.int64
    assert table.tolist() == [[1, 2], [3, 4]]
    assert estimator.n_features_in_ == 2


@pytest.mark.parametrize(
    "X",
    [
        [[1], [2, 3]],
        [np.array([1]), np.array([2, 3])],
        (torch.tensor([1]), torch.tensor([2, 3])),
        np.array([np.array([1]), np.array([2, 3])], dtype=object),
    ],
)
def test_ragged(X):
    estimator = Anything()
    estimator.n_features_in_ = 7
    ids = check_token_ids(estimator, X, reset=True)
    assert [d.tolist() for d in ids] == [[1], [2, 3]]
    assert not hasattr(estimator, "n_features_in_")


@pytest.mark.parametrize(
    ("X", "message"),
    [
        ([[-1, 2]], "Negative values"),
        ([np.array([0, 1]), np.array([-1])], "Negative values"),
        ([[0.5, 2]], "fractions"),
        ([[np.nan, 2]], "NaN"),
        ([np.array([0.0, np.nan]), np.array([1])], "missing values"),
        ([[0, None], [1]], "missing values"),
        ([[0.0, np.inf], [1]], "infinite values"),
        ([[1e300, 0], [1]], "too large"),
        ([[2**70, 0], [1]], "object|too large"),
        ([np.array(["a"]), np.array(["b", "c"])], "values where token ids belong"),
        (["text"], "tokenizer"),
        (np.array(["text"]), "tokenizer"),
        (pd.Series(["text"]), "tokenizer"),
        ([], "array"),
        ([np.zeros((2, 2)), np.zeros(2)], "one-dimensional"),
    ],
)
def test_what_is_no_token_ids(X, message):
    with pytest.raises(ValueError, match=message):
        check_token_ids(Anything(), X, reset=True)


def test_windows_are_shuffled_as_by_pytorch_without_an_object_each(monkeypatch):
    monkeypatch.setattr(token_windows, "_AT_ONCE", 16)
    sizes = []
    tolist = torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, "tolist", lambda t: sizes.append(t.numel()) or tolist(t))
    windows = TokenWindows([np.arange(1000)], 3)
    torch.manual_seed(3)
    ours = list(ShuffledWindows(windows))
    after = torch.rand(())

    assert max(sizes) <= 16
    torch.manual_seed(3)
    assert ours == list(RandomSampler(windows))
    assert after == torch.rand(())


def test_models_shuffle_windows_so():
    options = {"module__n_embd": 8, "module__n_layer": 1, "module__ctx_len": 4, "max_steps": 1}
    model = SpikeGPTLM(random_state=0, **options).fit(["to be or not to be"])
    windows = model.get_dataset([np.arange(9)])

    assert type(model.get_iterator(windows, training=True).sampler) is ShuffledWindows
    model.set_params(iterator_train__shuffle=False)
    assert type(model.get_iterator(windows, training=True).sampler) is SequentialSampler

"""Windows cover the text; folds of windows share no character."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import KFold, check_cv, cross_validate
from sklearn.neighbors import KernelDensity

from snn_estimators.text import PADDING, WindowKFold, split_windows

TEXT = "abcdefghijklmnopqrstuvwxyz"


@pytest.mark.parametrize(
    ("length", "stride"), list(itertools.product([1, 3, 5, 26], [None, 1, 2, 7]))
)
def test_windows_have_the_length_and_start_at_the_stride(length, stride):
    windows = split_windows(TEXT, length, stride)
    starts = range(0, len(TEXT) - length + 1, stride or length)
    assert windows == [TEXT[s : s + length] for s in starts]
    assert all(len(w) == length for w in windows)


def test_without_overlap_the_windows_are_the_text():
    assert "".join(split_windows(TEXT, 13)) == TEXT
    assert "".join(split_windows(TEXT, 5)) == TEXT[:25]


def test_no_window_reaches_over_the_end_of_a_document():
    expected = ["abc", "bcd", "xyz"]
    for documents in (
        ["abcd", "xy", "xyz"],
        np.array(["abcd", "xy", "xyz"]),
        iter(["abcd", "xyz"]),
    ):
        assert split_windows(documents, 3, 1) == expected
    assert split_windows(pd.Series(["abcd", "xyz"]), 3, 1) == expected


def test_token_ids():
    windows = split_windows(np.arange(7), 3, 2)
    np.testing.assert_array_equal(windows, [[0, 1, 2], [2, 3, 4], [4, 5, 6]])
    ragged = split_windows([np.arange(4), [7, 8], np.arange(3)], 3)
    np.testing.assert_array_equal(ragged, [[0, 1, 2], [0, 1, 2]])
    table = split_windows(np.arange(8).reshape(2, 4), 2)
    np.testing.assert_array_equal(table, [[0, 1], [2, 3], [4, 5], [6, 7]])


@pytest.mark.parametrize("text", ["", "abcd", ["ab", "abcd"], [], np.arange(4)])
def test_too_short_a_text_is_refused(text):
    with pytest.raises(ValueError, match=r"No text is long enough for one window: length=5"):
        split_windows(text, 5)


@pytest.mark.parametrize("wrong", [0, -1, 1.5, "3", True])
def test_lengths_are_positive_integers(wrong):
    with pytest.raises(ValueError, match="length must be a whole number from 1 on"):
        split_windows(TEXT, wrong)
    with pytest.raises(ValueError, match="stride must be a whole number from 1 on"):
        split_windows(TEXT, 3, wrong)
    with pytest.raises(ValueError, match="length must be"):
        WindowKFold(length=wrong)
    with pytest.raises(ValueError, match="stride must be"):
        WindowKFold(length=3, stride=wrong)
    with pytest.raises(ValueError, match="n_splits must be"):
        WindowKFold(wrong, length=3)


@pytest.mark.parametrize("wrong", [3, None, [3, 4], ["abc", None], np.zeros(3), {"a": "abc"}])
def test_what_is_neither_text_nor_ids_is_refused(wrong):
    with pytest.raises(TypeError, match="text"):
        split_windows(wrong, 1)


FOLDS = [
    (n_windows, n_splits, length, stride)
    for n_windows, n_splits, length, stride in itertools.product(
        [8, 13, 40], [2, 3, 5], [1, 4, 7], [None, 1, 3, 9]
    )
    if n_windows - -(-n_windows // n_splits) > 2 * ((length - 1) // (stride or length))
]


@pytest.mark.slow
@pytest.mark.parametrize(("n_windows", "n_splits", "length", "stride"), FOLDS)
def test_folds_share_no_character_and_drop_nothing_else(n_windows, n_splits, length, stride):
    step = stride or length
    text = np.arange(length + (n_windows - 1) * step)  # each character is its own position
    windows = split_windows(text, length, stride)
    assert len(windows) == n_windows
    folds = list(WindowKFold(n_splits, length=length, stride=stride).split(windows))
    assert len(folds) == n_splits
    np.testing.assert_array_equal(np.concatenate([test for _, test in folds]), range(n_windows))
    for train, test in folds:
        assert (np.diff(test) == 1).all()
        assert (np.diff(train) > 0).all()
        tested = {int(c) for i in test for c in windows[i]}
        for i, window in enumerate(windows):
            shares = not tested.isdisjoint(window.tolist())
            assert (i in train) == (not shares)


def test_several_documents_never_straddle_a_fold_either():
    documents = [np.arange(0, 11), np.arange(20, 25), np.arange(40, 60)]
    windows = split_windows(documents, 4, 2)
    for train, test in WindowKFold(3, length=4, stride=2).split(windows):
        assert not {int(c) for i in train for c in windows[i]} & {
            int(c) for i in test for c in windows[i]
        }


def test_without_overlap_it_is_scikit_learns_kfold():
    windows = split_windows(TEXT, 2)
    ours = WindowKFold(4, length=2).split(windows)
    for (train, test), (their_train, their_test) in zip(ours, KFold(4).split(windows), strict=True):
        np.testing.assert_array_equal(train, their_train)
        np.testing.assert_array_equal(test, their_test)


def test_serves_as_cv():
    cv = WindowKFold(3, length=4, stride=2)
    assert repr(cv) == "WindowKFold(length=4, n_splits=3, stride=2)"
    assert check_cv(cv) is cv
    assert cv.get_n_splits() == 3
    windows = np.stack(split_windows(np.arange(40), 4, 2))
    assert len(cross_validate(KernelDensity(), windows, cv=cv)["test_score"]) == 3


@pytest.mark.parametrize(
    ("windows", "message"),
    [
        (split_windows(TEXT, 5, 2), "Window 0 has length 5, but length=4"),
        (["abcd", "efgh"], "n_splits=3 folds need as many windows, got 2"),
        (split_windows(TEXT[:8], 4, 1), "overlap one test block"),
    ],
)
def test_folds_that_cannot_be_are_refused(windows, message):
    with pytest.raises(ValueError, match=message):
        list(WindowKFold(3, length=4, stride=1).split(windows))


def test_one_fold_is_none():
    with pytest.raises(ValueError, match="n_splits=1"):
        WindowKFold(1, length=4)


def test_padding_is_no_token():
    assert PADDING == -1

"""Several seeds a candidate: whether a difference is significant."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from snn_estimators._validation import is_whole

__all__ = ["check_seeds", "compare_with_best"]


def check_seeds(seeds: Any, first: Any) -> list[int]:
    """Return the list of seeds; a number of them counts up from `first`, and None is one.

    Examples
    --------
    >>> check_seeds(3, first=7), check_seeds([1, 4], first=None)
    ([7, 8, 9], [1, 4])
    """
    if seeds is None or is_whole(seeds, 0):
        start = int(first) if is_whole(first, 0) else 0
        seeds = range(start, start + (1 if seeds is None else int(seeds)))
    listed = list(seeds) if not isinstance(seeds, str) and np.iterable(seeds) else []
    if not listed or len(set(listed)) < len(listed) or not all(is_whole(one, 0) for one in listed):
        raise ValueError(
            f"seeds must be how many there are, or a list of different whole numbers, got {seeds!r}"
        )
    return [int(seed) for seed in listed]


def compare_with_best(losses: npt.ArrayLike) -> pd.DataFrame:
    """Compare each candidate with the best one, pair by pair of the same fold and the same seed.

    What a fold or a seed does to both candidates alike falls out of the difference. The test is
    Student's, of paired samples: it asks whether other seeds would order the two alike on these
    texts. It knows nothing of other texts, nor that the best was chosen by the same scores,
    which makes it look a little better than it is.

    Parameters
    ----------
    losses : array-like of shape (n_candidates, n_pairs)
        Such as perplexities, with the pairs in the same order for every candidate. NaN where
        there is none.

    Returns
    -------
    DataFrame
        A row a candidate: ``difference`` (mean of candidate minus best), ``difference_se`` (its
        standard error) and ``p_value`` (two-sided). NaN for a candidate that failed; the best one
        has the difference 0 and nothing else.

    Examples
    --------
    >>> compare_with_best([[9.0, 8.0, 9.0], [9.5, 8.4, 9.6]]).round(3)
       difference  difference_se  p_value
    0         0.0            NaN      NaN
    1         0.5          0.058    0.013
    """
    losses = np.asarray(losses, dtype=float)
    means = losses.mean(axis=1)
    compared = pd.DataFrame(
        np.nan, index=range(len(losses)), columns=["difference", "difference_se", "p_value"]
    )
    if not np.isfinite(means).any():
        return compared
    best = int(np.nanargmin(np.where(np.isfinite(means), means, np.nan)))
    compared.loc[best, "difference"] = 0.0
    n_pairs = losses.shape[1]
    for row in np.flatnonzero(np.isfinite(means) & (np.arange(len(losses)) != best)):
        difference = losses[row] - losses[best]
        compared.loc[row, "difference"] = difference.mean()
        if n_pairs > 1 and np.ptp(difference) > 0:
            compared.loc[row, "difference_se"] = stats.sem(difference)
            compared.loc[row, "p_value"] = stats.ttest_1samp(difference, 0.0).pvalue
    return compared

r"""Interpolated Kneser-Ney smoothing of n-grams, on arrays.

A context :math:`h` of :math:`n - 1` tokens gives

.. math:: P_n(w \mid h) = \frac{\max(c(hw) - D(c(hw)), 0) + \gamma(h)\,P_{n-1}(w \mid h')}{c(h)},
          \qquad \gamma(h) = \sum_w \min(D(c(hw)), c(hw)),

where :math:`h'` is :math:`h` without its first token, and :math:`P_0` uniform. At the highest order
:math:`c` counts n-grams; below it, how many different tokens stand before one, with the start of a
document as one of them. The discounts are those of Chen and Goodman for counts of 1, 2, and 3 or
more, from the numbers :math:`n_k` of n-grams with a count of k; where one of :math:`n_1` to
:math:`n_4` is 0, or a discount would not lie between 0 and its count, all are
:math:`n_1 / (n_1 + 2 n_2)`, and 3/4 if that is not between 0 and 1 either.

References
----------
Chen and Goodman, "An empirical study of smoothing techniques for language modeling", Computer
Speech and Language, 1999.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from snn_estimators.text import Ids

__all__ = ["KneserNey"]

Floats = npt.NDArray[np.float64]
Wide = npt.NDArray[np.int64]  # numbers of n-grams, for which the type of ids is too small
_UNSEEN = -1


class _Level(NamedTuple):
    """The n-grams of one order, sorted, and what they count."""

    keys: Ids
    """The number of the n-gram without its last token, times the vocabulary, plus that token."""
    discounted: Floats
    """Counts less their discounts."""
    totals: Floats
    """Of each context, the sum of its counts."""
    kept_back: Floats
    """Of each context, the sum of its discounts."""


class KneserNey:
    """Counts of a text, smoothed.

    Parameters
    ----------
    documents : sequence of ndarray of int
        Token ids.
    order : int
        Length of the longest n-grams.
    vocab_size : int
    """

    def __init__(self, documents: Sequence[Ids], order: int, vocab_size: int) -> None:
        self.order, self.vocab_size = order, vocab_size
        tokens = np.concatenate([np.empty(0, np.int64), *documents])
        lengths = np.array([len(ids) for ids in documents], np.int64)
        # How many tokens of its document stand before each.
        before = np.arange(len(tokens)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        self.levels = self._count(tokens, before)

    def _count(self, tokens: Ids, before: Ids) -> list[_Level]:
        ending: Wide = np.zeros(
            len(tokens), np.int64
        )  # the number of the n-gram that ends at each token
        found: list[tuple[Wide, Wide, Wide, Wide]] = []  # keys, counts, suffixes, at starts
        for n in range(1, self.order + 1):
            places = np.flatnonzero(before >= n - 1)
            contexts = ending[places - 1] if n > 1 else np.zeros(len(places), np.int64)
            keys, first, numbers, counts = np.unique(
                contexts * self.vocab_size + tokens[places],
                return_index=True, return_inverse=True, return_counts=True,
            )  # fmt: skip
            starts = np.zeros(len(keys), np.int64)
            starts[numbers[before[places] == n - 1]] = 1
            found.append((keys, counts, ending[places[first]], starts))
            ending = np.full(len(tokens), _UNSEEN)
            ending[places] = numbers
        levels, n_contexts = [], 1
        for n, (keys, counts, _, starts) in enumerate(found, start=1):
            if n < self.order:
                suffixes = found[n][2]
                counts = starts + np.bincount(suffixes, minlength=len(keys))
            levels.append(_level(keys, counts, n_contexts, self.vocab_size))
            n_contexts = len(keys)
        return levels

    def contexts(self, ids: Ids) -> Ids:
        """Return the contexts of the token after each position, as rows of numbers by order.

        Returns
        -------
        ndarray of int, shape (n_tokens + 1, order)
            The first row is that of the first token; -1 where a context was never seen.
        """
        known = np.full((len(ids) + 1, self.order), _UNSEEN)
        known[:, 0] = 0
        for n in range(1, self.order):
            known[1:, n] = self._find(n, known[:-1, n - 1], ids)
        return known

    def _find(self, n: int, contexts: Ids, tokens: Ids) -> Ids:
        """Return the numbers of n-grams; -1 for those that were never seen."""
        keys = self.levels[n - 1].keys
        wanted = contexts * self.vocab_size + tokens
        places = np.searchsorted(keys, wanted).clip(max=max(len(keys) - 1, 0))
        is_there = (contexts >= 0) & (len(keys) > 0)
        if len(keys):
            is_there &= keys[places] == wanted
        return np.where(is_there, places, _UNSEEN)

    def probabilities(self, contexts: Ids, tokens: Ids) -> Floats:
        """Return the probability of each token after its contexts, shape (n_tokens,)."""
        found = np.full(len(tokens), 1 / self.vocab_size)
        for n, level in enumerate(self.levels, start=1):
            seen = contexts[:, n - 1] >= 0
            number = contexts[:, n - 1].clip(min=0)
            total = level.totals[number] if len(level.totals) else np.zeros(len(tokens))
            use = seen & (total > 0)
            places = self._find(n, contexts[:, n - 1], tokens)
            counted = np.where(places >= 0, np.append(level.discounted, 0.0)[places], 0.0)
            share = np.divide(
                counted + np.append(level.kept_back, 0.0)[number] * found, total, where=use,
                out=np.zeros(len(tokens)),
            )  # fmt: skip
            found = np.where(use, share, found)
        return found

    def distribution(self, contexts: Ids) -> Floats:
        """Return the probabilities of all tokens after the contexts of one position."""
        found = np.full(self.vocab_size, 1 / self.vocab_size)
        for level, context in zip(self.levels, contexts.tolist(), strict=True):
            if context < 0 or not len(level.totals) or level.totals[context] <= 0:
                continue
            first = context * self.vocab_size
            begin, end = np.searchsorted(level.keys, [first, first + self.vocab_size])
            found *= level.kept_back[context]
            found[level.keys[begin:end] - first] += level.discounted[begin:end]
            found /= level.totals[context]
        return found


def _level(keys: Ids, counts: Ids, n_contexts: int, vocab_size: int) -> _Level:
    discounts = np.minimum(_discounts(counts)[counts.clip(max=3)], counts)
    contexts = keys // vocab_size
    return _Level(
        keys,
        counts - discounts,
        np.bincount(contexts, counts, minlength=n_contexts).astype(float),
        np.bincount(contexts, discounts, minlength=n_contexts).astype(float),
    )


def _discounts(counts: Ids) -> Floats:
    """Return the discounts of counts of 0, 1, 2, and 3 or more."""
    n = np.bincount(counts.clip(max=5), minlength=6)[:5].astype(float)
    if n[1:].all():
        share = n[1] / (n[1] + 2 * n[2])
        found = np.array([0.0, *(k - (k + 1) * share * n[k + 1] / n[k] for k in (1, 2, 3))])
        if all(0 < found[k] < k for k in (1, 2, 3)):
            return found
    share = n[1] / (n[1] + 2 * n[2]) if n[1] else 0.0
    single = share if 0 < share < 1 else 0.75
    return np.array([0.0, single, single, single])

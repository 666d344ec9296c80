"""Successive halving: many candidates for a few steps, the best of them for more."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Rung", "plan_rungs"]


class Rung(NamedTuple):
    """How many candidates are trained for how long."""

    candidates: int
    resources: int


def plan_rungs(n_candidates: int, factor: int, most: int) -> list[Rung]:
    """Divide the candidates by `factor` from rung to rung, and multiply the training by it.

    The last rung trains for `most` steps or epochs, as a plain sweep would, like scikit-learn's
    halving searches with ``min_resources="exhaust"``. It has at most `factor` - 1 candidates,
    unless `most` is too small for that.

    Examples
    --------
    >>> for rung in plan_rungs(12, 3, most=150):
    ...     print(rung)
    Rung(candidates=12, resources=16)
    Rung(candidates=4, resources=50)
    Rung(candidates=2, resources=150)
    """
    n_rungs = 1
    while factor**n_rungs <= n_candidates and most // factor**n_rungs >= 1:
        n_rungs += 1
    return [
        Rung(-(-n_candidates // factor**i), most // factor ** (n_rungs - 1 - i))
        for i in range(n_rungs)
    ]

"""Successive halving: many candidates for a few steps, the best of them for more."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Rung", "plan_rungs"]


class Rung(NamedTuple):
    """How many candidates are trained for how long."""

    candidates: int
    resources: int


def plan_rungs(n_candidates: int, factor: int, most: int, least: int = 1) -> list[Rung]:
    """Divide the candidates by `factor` from rung to rung, and multiply the training by it.

    The last rung trains for as long as a plain sweep would, as in scikit-learn's halving searches
    with ``min_resources="exhaust"``.

    Parameters
    ----------
    n_candidates : int
    factor : int
        At least 2.
    most : int
        Steps (or epochs) of the last rung.
    least : int, default=1
        Of the first rung; a higher value leaves fewer rungs.

    Returns
    -------
    list of Rung
        The last one has at most `factor` - 1 candidates, unless `most` is too small for that.

    Examples
    --------
    >>> for rung in plan_rungs(12, 3, most=150):
    ...     print(rung)
    Rung(candidates=12, resources=16)
    Rung(candidates=4, resources=50)
    Rung(candidates=2, resources=150)
    >>> plan_rungs(12, 3, most=150, least=50)
    [Rung(candidates=12, resources=50), Rung(candidates=4, resources=150)]
    """
    n_rungs = 1
    while factor**n_rungs <= n_candidates and most // factor**n_rungs >= least:
        n_rungs += 1
    return [
        Rung(-(-n_candidates // factor**i), most // factor ** (n_rungs - 1 - i))
        for i in range(n_rungs)
    ]

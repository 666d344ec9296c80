"""What each parameter of a search does to a metric, with the other parameters held."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from snn_estimators._validation import suggest
from snn_estimators.model_selection.tables import QUALITY, parameter_columns

__all__ = ["BASELINE", "main_effects", "varied_parameters"]

BASELINE = "baseline"
"""The column of a sweep's table that names what is no candidate."""


def main_effects(table: pd.DataFrame, metric: str = QUALITY) -> pd.DataFrame:
    """Compare the values of each parameter among candidates that agree in all others.

    Parameters
    ----------
    table : DataFrame
        From `results_table`. Baselines and candidates that failed are left out.
    metric : str, default="perplexity"
        A column.

    Returns
    -------
    DataFrame
        A row each for a parameter and a value:

        * ``effect``: the metric minus its mean over the parameter's values, in the mean over all
          combinations of the others (main effect);
        * ``n_combinations``: how many combinations there are;
        * ``spread``: the deviation of the metric over folds (and seeds), in the quadratic mean over
          candidates; NaN if the table has none;
        * ``larger_than_spread``: whether the parameter's effects differ by more than that.

        A parameter of which no two values are compared, with the others held, has no row.

    Raises
    ------
    ValueError
        If there is no such column.

    Examples
    --------
    >>> runs = {"heads": [1, 1, 5, 5], "levels": [4, 16, 4, 16], "perplexity": [9.0, 8.0, 8.8, 7.6]}
    >>> effects = main_effects(pd.DataFrame(runs))
    >>> effects.round(3)[["parameter", "value", "effect", "n_combinations"]]
      parameter value  effect  n_combinations
    0     heads     1    0.15               2
    1     heads     5   -0.15               2
    2    levels     4    0.55               2
    3    levels    16   -0.55               2
    """
    if metric not in table:
        raise ValueError(f"metric={metric!r} is no column of the table: {suggest(metric, table)}")
    varied = varied_parameters(table)
    rows = candidates(table)
    rows = rows[np.isfinite(rows[metric].astype(float))]
    deviations = rows.get(f"{metric}_std")
    spread = math.nan if deviations is None else float(np.sqrt((deviations**2).mean()))
    found = []
    for name in varied:
        effects = pd.DataFrame(paired(rows, name, varied, metric), columns=["value", "effect"])
        means = effects.groupby("value", sort=False)["effect"].agg(["mean", "size"])
        found += [
            {"parameter": name, "value": value, "effect": one["mean"]}
            | {"n_combinations": int(one["size"]), "spread": spread}
            for value, one in means.iterrows()
        ]
    columns = ["parameter", "value", "effect", "n_combinations", "spread"]
    effects = pd.DataFrame(found, columns=columns)
    ranges = effects.groupby("parameter")["effect"].agg(lambda one: one.max() - one.min())
    effects["larger_than_spread"] = effects["parameter"].map(ranges) > effects["spread"].fillna(0)
    return effects.astype({"value": object})


def paired(
    rows: pd.DataFrame, name: str, varied: list[str], metric: str
) -> list[tuple[Any, float]]:
    """Return values of a parameter, and their metric minus the mean where all else is equal."""
    others = [other for other in varied if other != name]
    combinations = rows.groupby(others, dropna=False, sort=False) if others else [((), rows)]
    values = _ordered(rows[name])
    found = []
    for _, one in combinations:
        if len(one[name].drop_duplicates()) > 1:
            difference = one[metric].astype(float) - one[metric].astype(float).mean()
            found += list(zip(one[name], difference, strict=True))
    return sorted(found, key=lambda pair: values.index(pair[0]) if pair[0] in values else math.inf)


def varied_parameters(table: pd.DataFrame) -> list[str]:
    """Name the parameters of which candidates have at least two values."""
    rows = candidates(table)
    names = [name for name in parameter_columns(table) if name != BASELINE]
    return [name for name in names if len(rows[name].drop_duplicates()) > 1]


def candidates(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that are no baselines."""
    return table[table[BASELINE].isna()] if BASELINE in table else table


def _ordered(column: pd.Series) -> list[Any]:
    """Values in order of size where they have one, else of their names."""
    values = list(column.dropna().drop_duplicates())
    try:
        return sorted(values)
    except TypeError:
        return sorted(values, key=str)

"""Tidy tables of search results: one row a candidate, quality beside cost."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.exceptions import NotFittedError

from snn_estimators._describe import describe_value
from snn_estimators._validation import check_choices
from snn_estimators.model_selection.scoring import final_estimator

__all__ = ["parameter_columns", "pareto_front", "results_table", "short_names", "to_cell"]

QUALITY = "perplexity"
COSTS = {
    "synaptic": "energy_per_token_nj",
    "total": "total_energy_per_token_nj",
    "total_with_memory": "energy_with_memory_per_token_nj",
    "weight_reads": "weight_reads_per_token",
}
"""Costs that a Pareto front may be drawn over, and the columns that hold them."""
COST = "total_with_memory"

_METRICS = (
    QUALITY,
    "bits_per_character",
    "accuracy",
    "unknown_rate",
    *COSTS.values(),
    "relative_energy",
    "relative_total",
    "relative_with_memory",
    "spike_rate",
    "n_parameters",
    "ann_n_parameters",
    "context_length",
    "score",
    "fit_time",
)
_COMPARED = ("difference", "difference_se", "p_value")
_BOOKKEEPING = ("rank", "iteration", "n_resources", *_COMPARED, "pareto", "failure")
_SEARCH_COLUMN = re.compile(r"(?:(mean|std)_)?(test|train)_(.+)")


def results_table(search: Any, *, cost: str = COST) -> pd.DataFrame:
    """Tabulate a search: one row a candidate, the best first.

    Parameters
    ----------
    search : fitted search, ``cv_results_``, ``cross_validate`` output, or list of dicts
        A `GridSearchCV`, `RandomizedSearchCV` or halving search; its ``cv_results_``; what
        `cross_validate` returned; or a list of the latter, each with the candidate's parameters
        among the keys (``{"timesteps": 2, **cross_validate(...)}``).
    cost : {"synaptic", "total", "total_with_memory", "weight_reads"}, default="total_with_memory"
        What the Pareto front weighs against perplexity: synaptic energy, energy of all operations,
        that with memory, or weights read a token.

    Returns
    -------
    DataFrame
        Columns, in this order:

        * ``rank``: 1 is the best by the search's `refit`, else the lowest perplexity; candidates
          whose fit failed come last;
        * one column a parameter, under its short name (``module__timesteps`` is ``timesteps``);
          NaN where a candidate of a list of grids does not set it, "none" where it sets None;
        * ``iteration``, ``n_resources`` of halving searches;
        * each metric's mean over folds under its natural sign (``neg_perplexity`` becomes
          ``perplexity``) followed by its standard deviation, ``perplexity_std``;
        * ``fit_time``, ``fit_time_std`` in seconds;
        * ``pareto``: whether no other candidate (of the same halving iteration) has both a
          perplexity and a `cost` as low, one of them lower.

        A search without ``scoring`` has one metric, the language model's mean log-likelihood in
        nats per token: it is shown as ``score``, and as the perplexity of each fold averaged.

    Raises
    ------
    NotFittedError
        If the search was not fitted.
    ValueError
        If `cost` is unknown, or has no price in the profile that was measured with.
    TypeError
        If `search` is none of the above.

    Examples
    --------
    >>> import numpy as np
    >>> runs = [
    ...     {"heads": 1, "test_neg_perplexity": np.array([-9.0, -11.0])},
    ...     {"heads": 5, "test_neg_perplexity": np.array([-8.0, -8.0])},
    ... ]
    >>> results_table(runs)[["rank", "heads", "perplexity", "perplexity_std"]]
       rank  heads  perplexity  perplexity_std
    0     1      5         8.0             0.0
    1     2      1        10.0             1.0
    """
    check_choices({"cost": COSTS}, cost=cost)
    cv_results = _cv_results(search)
    candidates = cv_results["params"]
    names = dict.fromkeys(name for one in candidates for name in one)
    parameters = pd.DataFrame({name: _column(candidates, name) for name in names})
    parameters = parameters.reindex(range(len(candidates)))
    metrics = _metrics(cv_results)
    if getattr(search, "scoring", "") is None and "score" in metrics and _is_model(search):
        metrics = _with_perplexity(cv_results) | metrics
    taken = {*_METRICS, *_BOOKKEEPING, *metrics}
    parameters.columns = pd.Index(short_names(parameters.columns, taken))
    halving = {
        name: cv_results[key]
        for name, key in (("iteration", "iter"), ("n_resources", "n_resources"))
        if key in cv_results
    }
    table = pd.concat([parameters, pd.DataFrame(halving | metrics, parameters.index)], axis=1)
    table["pareto"] = _pareto_column(table, cost)
    table = _ranked(table, cv_results, getattr(search, "refit", None))
    table.attrs["cost"] = cost
    table.attrs["parameters"] = list(parameters.columns)
    return table


def short_names(names: Iterable[str], taken: Iterable[str] = ()) -> list[str]:
    """Shorten ``module__timesteps`` to ``timesteps``, keeping just enough to stay unique.

    Names that are `taken` mean something else in the same table.

    Examples
    --------
    >>> short_names(["lm__module__tau", "lm__lr", "lm__optimizer__lr"])
    ['tau', 'lm__lr', 'optimizer__lr']
    """
    parts = {name: name.split("__") for name in names}
    kept = dict.fromkeys(parts, 1)
    while True:
        short = {name: "__".join(part[-kept[name] :]) for name, part in parts.items()}
        used = [*short.values(), *taken]
        growing = [n for n in parts if used.count(short[n]) > 1 and kept[n] < len(parts[n])]
        if not growing:
            return list(short.values())
        for name in growing:
            kept[name] += 1


def pareto_front(costs: Any) -> np.ndarray:
    """Mark the points that no other point dominates.

    Parameters
    ----------
    costs : array-like of shape (n_points, n_costs)
        Every column is to be small. A point with a NaN or an infinity is never marked.

    Returns
    -------
    ndarray of bool, shape (n_points,)
        Equal points are marked alike.

    Examples
    --------
    >>> pareto_front([[1, 9], [2, 5], [2, 6], [9, 1]])
    array([ True,  True, False,  True])
    """
    costs = np.asarray(costs, dtype=float)
    valid = np.isfinite(costs).all(axis=1)
    marked = valid.copy()
    for index in np.flatnonzero(valid):
        as_low = (costs[valid] <= costs[index]).all(axis=1)
        lower = (costs[valid] < costs[index]).any(axis=1)
        marked[index] = not (as_low & lower).any()
    return marked


def parameter_columns(table: pd.DataFrame) -> list[str]:
    """Name the columns with parameters in a results table, also in one read back from CSV.

    Examples
    --------
    >>> parameter_columns(pd.DataFrame({"rank": [1], "heads": [5], "perplexity": [8.0]}))
    ['heads']
    """
    known = [name for name in table.attrs.get("parameters", ()) if name in table]
    if known:
        return known
    names = [str(name) for name in table.columns]
    means = {name.removesuffix("_std") for name in names if name.endswith("_std")}
    others = {*_METRICS, *_BOOKKEEPING, *means, *(f"{name}_std" for name in means)}
    return [n for n in names if n not in others and n.removeprefix("train_") not in others]


def _cv_results(search: Any) -> Mapping[str, Any]:
    """Convert every accepted input to the layout of ``cv_results_``."""
    if isinstance(search, Mapping):
        return search if "params" in search else _gather([search])
    if isinstance(search, Sequence) and all(isinstance(one, Mapping) for one in search):
        if not search:
            raise ValueError("the list of results is empty: there is nothing to tabulate")
        return _gather(search)
    if hasattr(search, "cv_results_"):
        return search.cv_results_
    if hasattr(search, "get_params") and hasattr(search, "fit"):
        raise NotFittedError(
            f"this {type(search).__name__} has no cv_results_: give results_table a search such as "
            "GridSearchCV, after its fit"
        )
    raise TypeError(
        "results_table takes a fitted search, its cv_results_, the output of cross_validate or a "
        f"list of such, got {type(search).__name__}"
    )


def _gather(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Join outputs of ``cross_validate``, one a candidate."""
    measured = ("fit_time", "score_time", "estimator", "indices")
    keys = [key for run in runs for key in run if re.match("(test|train)_", key)]
    joined: dict[str, Any] = {
        "params": [
            {k: v for k, v in run.items() if k not in measured and k not in keys} for run in runs
        ]
    }
    for key in dict.fromkeys([*keys, "fit_time"]):
        values = [np.atleast_1d(np.asarray(run.get(key, np.nan), dtype=float)) for run in runs]
        joined[f"mean_{key}"] = np.array([one.mean() for one in values])
        joined[f"std_{key}"] = np.array([one.std() for one in values])
    return joined


def _metrics(cv_results: Mapping[str, Any]) -> dict[str, Any]:
    """Means and deviations by short name, in the table's order, with natural signs."""
    found: dict[str, Any] = {}
    for key, values in cv_results.items():
        match = _SEARCH_COLUMN.fullmatch(key)
        if match and match.group(1) == "mean":
            metric = match.group(3)
            name = metric.removeprefix("neg_")
            sign = 1 if name == metric else -1
            side = "" if match.group(2) == "test" else "train_"
            # The zero takes the sign off a negative one.
            found[side + name] = sign * np.asarray(values, dtype=float) + 0.0
            found[f"{side}{name}_std"] = np.asarray(cv_results["std_" + key[5:]], dtype=float)
    for name in ("n_parameters", "ann_n_parameters", "train_n_parameters"):
        if name in found:
            del found[f"{name}_std"]
            whole = np.isfinite(found[name]).all() and (found[name] % 1 == 0).all()
            found[name] = found[name].astype(np.int64) if whole else found[name]
    if "mean_fit_time" in cv_results:
        found["fit_time"] = np.asarray(cv_results["mean_fit_time"], dtype=float)
        found["fit_time_std"] = np.asarray(cv_results["std_fit_time"], dtype=float)
    order = {name: place for place, name in enumerate(_METRICS)}
    place = {name: order.get(name.removesuffix("_std"), len(order) - 2) for name in found}
    return {name: found[name] for name in sorted(found, key=lambda name: place[name])}


def _with_perplexity(cv_results: Mapping[str, Any]) -> dict[str, np.ndarray]:
    folds = [v for k, v in cv_results.items() if re.fullmatch(r"split\d+_test_score", k)]
    with np.errstate(over="ignore"):
        perplexities = np.exp(-np.asarray(folds, dtype=float))
    return {QUALITY: perplexities.mean(axis=0), f"{QUALITY}_std": perplexities.std(axis=0)}


def _is_model(search: Any) -> bool:
    """Whether the search's own score is a language model's, in nats per token."""
    return hasattr(final_estimator(search.estimator), "evaluate")


def cost_column(table: pd.DataFrame, cost: str | None = None) -> str:
    """Name the column of a cost; by default of the one that a table was made with."""
    cost = table.attrs.get("cost", COST) if cost is None else cost
    check_choices({"cost": COSTS}, cost=cost)
    return COSTS[cost]


def _pareto_column(table: pd.DataFrame, cost: str) -> np.ndarray:
    marked, column = np.zeros(len(table), dtype=bool), COSTS[cost]
    if QUALITY in table and column in table:
        priced = COSTS["synaptic"]
        if table[column].isna().all() and priced in table and table[priced].notna().any():
            raise ValueError(
                f"cost={cost!r} has no value: the profile has no price of memory; use "
                "cost='total', or a profile that has one, such as '45nm-sram'."
            )
        rounds = table["iteration"] if "iteration" in table else pd.Series(0, table.index)
        for one in rounds.unique():
            rows = np.flatnonzero(rounds == one)
            marked[rows] = pareto_front(table.iloc[rows][[QUALITY, column]])
    return marked


def _ranked(table: pd.DataFrame, cv_results: Mapping[str, Any], refit: Any) -> pd.DataFrame:
    """Best first; a halving search's last iteration, which saw most data, before the others."""
    metric = refit.removeprefix("neg_") if isinstance(refit, str) else QUALITY
    if metric in table:
        loss = -table[metric] if metric == refit else table[metric]
    elif QUALITY in table:
        loss = table[QUALITY]
    elif "score" in table:
        loss = -table["score"]
    else:
        ranks = [values for key, values in cv_results.items() if key.startswith("rank_test_")]
        loss = pd.Series(ranks[0] if ranks else 0, table.index)
    rounds = -table["iteration"] if "iteration" in table else pd.Series(0, table.index)
    keys = pd.DataFrame({"round": rounds, "loss": loss.astype(float)})
    order = keys.sort_values(["round", "loss"], kind="stable", na_position="last").index
    keys = keys.loc[order].fillna(np.inf)
    new = (keys != keys.shift()).any(axis=1).to_numpy()
    places = np.arange(1, len(table) + 1)
    ranked = table.loc[order].reset_index(drop=True)
    ranked.insert(0, "rank", np.maximum.accumulate(np.where(new, places, 1)))
    return ranked


def _column(candidates: Sequence[Mapping[str, Any]], name: str) -> pd.Series:
    """Gather a parameter's values; gaps do not turn whole numbers into 2.0."""
    values = [to_cell(one[name]) if name in one else np.nan for one in candidates]
    column = pd.Series(values)
    gaps_in_integers = column.dtype == float and any(isinstance(one, int) for one in values)
    return pd.Series(values, dtype=object) if gaps_in_integers and column.hasnans else column


def to_cell(value: Any) -> Any:
    """Return a parameter's value as a number, a truth value or text.

    Examples
    --------
    >>> [to_cell(value) for value in (np.float64(0.5), None, dict)]
    [0.5, 'none', 'dict']
    """
    value = value.item() if isinstance(value, np.generic) else value
    return value if isinstance(value, bool | int | float) else describe_value(value)

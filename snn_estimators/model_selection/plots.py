"""Plots of a results table: quality against cost, and what each parameter does to both.

Plain `Figure` objects, drawn without pyplot: nothing global changes, and nothing needs a display.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from snn_estimators._describe import describe_value
from snn_estimators.model_selection.effects import BASELINE, candidates, paired, varied_parameters
from snn_estimators.model_selection.labels import LABELS
from snn_estimators.model_selection.tables import QUALITY, cost_column, pareto_front

if TYPE_CHECKING:  # matplotlib takes a second to import, which workers need not spend
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_effects", "plot_pareto"]

# Blue and orange stay apart for every kind of colour vision, and in grey print.
_FRONT, _OTHERS, _INK, _GRID = "#d1495b", "#8d99ae", "#2b2d42", "#e5e7ec"
_COLOURS = {QUALITY: "#1d4e89", "score": "#1d4e89"}
_COST_COLOUR = "#c8620b"
_DPI = 160
# Beyond this ratio of largest to smallest a logarithmic axis reads better.
_LOG_ABOVE = 3.0
_PANELS_IN_A_ROW = 4
_LONGEST_TICK, _LONGEST_CELL = 24, 48
_LISTED_FRONT_POINTS = 14
_KEY_SIZE = 7.5


def plot_pareto(table: pd.DataFrame, *, cost: str | None = None) -> Figure:
    """Draw perplexity against energy per token, with the Pareto front numbered and listed.

    Parameters
    ----------
    table : DataFrame
        From `results_table`. Candidates that failed are left out.
    cost : {"synaptic", "total", "total_with_memory", "weight_reads"}, optional
        As in `results_table`; by default the one that the table was made with. With another one the
        front is found anew.

    Returns
    -------
    Figure
        Axes that span more than a factor of three are logarithmic; bars are standard deviations
        over folds.

    Examples
    --------
    >>> table = pd.DataFrame(
    ...     {"heads": [1, 5], "perplexity": [9.0, 8.0], "energy_per_token_nj": [1.0, 2.0],
    ...      "pareto": [True, True]}
    ... )
    >>> plot_pareto(table, cost="synaptic").axes[0].get_ylabel()
    'perplexity'
    """
    from matplotlib.figure import Figure

    column = cost_column(table, cost)
    if QUALITY not in table or column not in table or not _finite(table, column).any():
        return _empty("No candidate has both a perplexity and a cost.")
    points = candidates(table)
    points = points[_finite(points, column)].sort_values([column, QUALITY])
    is_marked = points["pareto"].astype(bool)
    if column != cost_column(table):
        is_marked = pareto_front(points[[QUALITY, column]])
    front = points[is_marked]
    listed = varied_parameters(table)
    key = _front_key(front, listed, len(points) - len(front))
    # A monospaced letter is 0.6 of its size wide, and an inch has 72 points.
    key_width = 0.4 + max(map(len, key.splitlines())) * 0.6 * _KEY_SIZE / 72
    figure = Figure(figsize=(5.4 + key_width, 4.4), dpi=_DPI, layout="constrained")
    axes = figure.subplots()
    _baselines(axes, table, column)
    for rows, colour, size, order in ((points, _OTHERS, 26, 2), (front, _FRONT, 42, 4)):
        _spread(axes, rows, column, colour, order)
        axes.scatter(rows[column], rows[QUALITY], s=size, color=colour, zorder=order, linewidth=0)
    axes.step(front[column], front[QUALITY], where="post", color=_FRONT, linewidth=1.2, zorder=3)
    for number, (x, y) in enumerate(zip(front[column], front[QUALITY], strict=True), start=1):
        axes.annotate(
            str(number), (x, y), (5, 5), textcoords="offset points", color=_FRONT, weight="bold",
            fontsize=9, zorder=5,
        )  # fmt: skip
    _dress(axes)
    _scale(axes.xaxis, points[column])
    _scale(axes.yaxis, points[QUALITY])
    axes.set_xlabel(LABELS[column])
    axes.set_ylabel(QUALITY)
    axes.set_title("Quality against cost", loc="left", fontsize=11, color=_INK)
    axes.annotate(
        key, (1.0, 1.0), (14, 0), xycoords="axes fraction", textcoords="offset points", va="top",
        fontsize=_KEY_SIZE, family="monospace", color=_INK, linespacing=1.5,
    )  # fmt: skip
    return figure


def plot_effects(table: pd.DataFrame) -> Figure:
    """Draw each parameter's main effect on perplexity and on energy as small multiples.

    Parameters
    ----------
    table : DataFrame
        From `results_table`.

    Returns
    -------
    Figure
        A panel for every parameter with at least two values, perplexity above energy. Faint points
        are differences of candidates that agree in all other parameters, from the mean of those;
        the marker is their mean, see `main_effects`; the grey band is the deviation over folds. If
        no two candidates agree so, the differences are those from the mean of all, and the panel
        says that the others vary.

    Examples
    --------
    >>> table = pd.DataFrame({"heads": [1, 5], "perplexity": [9.0, 8.0]})
    >>> [axes.get_xlabel() for axes in plot_effects(table).axes]
    ['heads']
    """
    from matplotlib.figure import Figure

    metrics = [name for name in (QUALITY, cost_column(table)) if name in table] or ["score"]
    varied = varied_parameters(table)
    metrics = [name for name in metrics if name in table and table[name].notna().any()]
    if not varied or not metrics:
        return _empty("No parameter has two values to compare.")
    # Points then stand side by side in the order of the other parameters, not of their ranks.
    table = candidates(table).sort_values(varied, key=lambda column: column.astype(str))
    across = min(len(varied), _PANELS_IN_A_ROW)
    blocks = math.ceil(len(varied) / across)
    figure = Figure(
        figsize=(max(1.4 + 2.5 * across, 4.4), 0.5 + 2.3 * len(metrics) * blocks),
        dpi=_DPI, layout="constrained",
    )  # fmt: skip
    grid = figure.subplots(blocks * len(metrics), across, squeeze=False)
    for place in range(blocks * across):
        block, column = divmod(place, across)
        for row, metric in enumerate(metrics):
            axes = grid[block * len(metrics) + row, column]
            if place >= len(varied):
                axes.remove()
                continue
            held = _effect(axes, table, varied[place], varied, metric)
            if column:
                axes.sharey(grid[block * len(metrics) + row, 0])
            axes.tick_params(labelbottom=row == len(metrics) - 1)
            if row == len(metrics) - 1:
                axes.set_xlabel(varied[place] if held else f"{varied[place]} (others vary)")
            if column == 0:
                axes.set_ylabel(f"Δ {LABELS.get(metric, metric)}")
            else:
                axes.tick_params(labelleft=False)
    figure.suptitle(
        "Effect of each parameter" + (", the others held" if across > 1 else ""),
        x=0.01, ha="left", fontsize=11, color=_INK,
    )  # fmt: skip
    return figure


def _effect(
    axes: Axes, table: pd.DataFrame, parameter: str, varied: list[str], metric: str
) -> bool:
    """Draw one panel, and return whether the other parameters are held."""
    colour = _COLOURS.get(metric, _COST_COLOUR)
    differences = paired(table, parameter, varied, metric)
    held = bool(differences)
    if not held:
        centred = table[metric].astype(float) - table[metric].astype(float).mean()
        differences = list(zip(table[parameter], centred, strict=True))
    found = pd.DataFrame(differences, columns=["value", "difference"])
    values = _ordered(found["value"])
    deviations = table.get(f"{metric}_std")
    if deviations is not None and deviations.notna().any():
        spread = float(np.sqrt((deviations**2).mean()))
        axes.axhspan(-spread / 2, spread / 2, color=_GRID, zorder=0)
    for place, value in enumerate(values):
        cells = found.loc[_equals(found["value"], value), "difference"].to_numpy(dtype=float)
        cells = cells[np.isfinite(cells)]
        if not len(cells):
            continue
        # Points side by side, not on top of one another; no random jitter: same table, same plot.
        shifts = np.linspace(-0.14, 0.14, len(cells)) if len(cells) > 1 else np.zeros(1)
        axes.scatter(place + shifts, cells, s=9, color=colour, alpha=0.3, linewidth=0)
        axes.plot(place, cells.mean(), "o", markersize=6, color=colour, zorder=4)
    _dress(axes)
    axes.xaxis.grid(False)
    labels = [describe_value(value, _LONGEST_TICK) for value in values]
    crowded = sum(map(len, labels)) > 22
    axes.set_xticks(
        range(len(values)), labels,
        rotation=30 if crowded else 0, ha="right" if crowded else "center",
    )  # fmt: skip
    axes.set_xlim(-0.5, len(values) - 0.5)
    return held


def _front_key(front: pd.DataFrame, listed: list[str], others: int) -> str:
    """Write the front as a small table: numbers cannot overlap as labels at the points would."""
    rows = [["", *listed]]
    for number, (_, row) in enumerate(front.iterrows(), start=1):
        rows.append([str(number), *(describe_value(row[name], _LONGEST_CELL) for name in listed)])
    hidden = len(rows) - 1 - _LISTED_FRONT_POINTS
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows[: 1 + _LISTED_FRONT_POINTS]
    ]
    if hidden > 0:
        lines.append(f"and {hidden} more, see the table")
    noun = "candidate" if others == 1 else "candidates"
    return "\n".join(["Pareto front", *lines, "", f"grey: {others} other {noun}"])


def _baselines(axes: Axes, table: pd.DataFrame, cost: str) -> None:
    """Draw a line through the twins, and one at the perplexity of each model without a cost."""
    if BASELINE not in table:
        return
    rows = table[table[BASELINE].notna() & np.isfinite(table[QUALITY].astype(float))]
    twins = rows[_finite(rows, cost)].sort_values(cost)
    axes.plot(
        twins[cost], twins[QUALITY], "s--", color=_INK, markersize=5, linewidth=1, zorder=3,
        label="non-spiking twins",
    )  # fmt: skip
    for style, (_, row) in zip((":", "-.", "--"), rows.drop(twins.index).iterrows(), strict=False):
        axes.axhline(row[QUALITY], linestyle=style, color=_OTHERS, linewidth=1, label=row[BASELINE])
    axes.legend(fontsize=8, frameon=False)


def _spread(axes: Axes, rows: pd.DataFrame, cost: str, colour: str, order: int) -> None:
    """Draw standard deviations over folds, where there are any."""
    axes.errorbar(
        rows[cost], rows[QUALITY], xerr=rows.get(f"{cost}_std"), yerr=rows.get(f"{QUALITY}_std"),
        fmt="none", ecolor=colour, elinewidth=0.8, alpha=0.6, zorder=order - 0.5,
    )  # fmt: skip


def _dress(axes: Axes) -> None:
    axes.grid(color=_GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_OTHERS)
    axes.tick_params(colors=_INK, labelsize=9, length=3)


def _scale(axis: Any, values: pd.Series) -> None:
    """Choose a linear or logarithmic axis, with plain numbers at its ticks either way."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    values = values[np.isfinite(values)]
    if values.min() > 0 and values.max() / values.min() > _LOG_ABOVE:
        axis.axes.set(**{f"{axis.axis_name}scale": "log"})
        within_a_decade = values.max() / values.min() < 10
        ticks = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0) if within_a_decade else (1.0, 2.0, 5.0)
        axis.set_major_locator(LogLocator(subs=ticks))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())
    else:
        axis.set_major_locator(MaxNLocator(nbins=6))


def _empty(message: str) -> Figure:
    """Draw a message in place of a plot, so that the file is never a stale one."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 2), dpi=_DPI)
    figure.text(0.5, 0.5, message, ha="center", va="center", color=_INK)
    return figure


def _finite(table: pd.DataFrame, cost: str) -> np.ndarray:
    return np.isfinite(table[[QUALITY, cost]].to_numpy(dtype=float)).all(axis=1)


def _ordered(column: pd.Series) -> list[Any]:
    """Values in order of size where they have one, else of their names; the gap comes last."""
    values = list(column.dropna().drop_duplicates())
    gap = [math.nan] if column.hasnans else []
    try:
        return sorted(values) + gap
    except TypeError:
        return sorted(values, key=str) + gap


def _equals(column: pd.Series, value: Any) -> pd.Series:
    missing = isinstance(value, float) and math.isnan(value)
    return column.isna() if missing else column == value

"""The files of a search: tables, plots and the description of the run."""

from __future__ import annotations

import io
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from snn_estimators._describe import describe_json, describe_value
from snn_estimators._files import check_writable, replace_file
from snn_estimators.model_selection.effects import main_effects
from snn_estimators.model_selection.labels import LABELS
from snn_estimators.model_selection.plots import plot_effects, plot_pareto
from snn_estimators.model_selection.provenance import describe_run
from snn_estimators.model_selection.tables import QUALITY, parameter_columns

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["present", "write_tables"]

_SHARES = (
    *("accuracy", "unknown_rate", "spike_rate"),
    *("relative_energy", "relative_total", "relative_with_memory"),
)
_AS_THEY_ARE = ("rank", "iteration", "n_resources", "failure")
_DETAILS = (
    *("total_energy_per_token_nj", "weight_reads_per_token", "relative_energy", "relative_total"),
    *("accuracy", "spike_rate", "n_parameters", "ann_n_parameters", "context_length", "fit_time"),
)


def write_tables(
    table: pd.DataFrame, folder: str | os.PathLike[str], *, run: Mapping[str, Any] | None = None
) -> Path:
    """Write a results table for machines, for papers and for the eye.

    Leaves ``results.csv`` (full precision), ``results.md`` and ``results.tex`` (rounded),
    ``pareto.png``, ``effects.png`` and ``run.json``. Everything is rendered before the first file
    is touched and each file is replaced whole, so an interruption never leaves half a file.

    Parameters
    ----------
    table : DataFrame
        From `results_table`.
    folder : str or path
        Made if it is not there.
    run : dict, optional
        What goes into ``run.json``, as `describe_run` gives it; by default the versions and the
        machine alone.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    OSError
        If the folder cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> table = pd.DataFrame({"rank": [1], "heads": [5], "perplexity": [8.0], "pareto": [False]})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     sorted(path.name for path in write_tables(table, folder).iterdir())
    ['effects.png', 'pareto.png', 'results.csv', 'results.md', 'results.tex', 'run.json']
    """
    folder = check_writable(folder)
    neat = present(table)
    contents: dict[str, bytes] = {
        "results.csv": table.to_csv(index=False).encode(),
        "results.md": (_markdown(neat) + _effects_in_words(table)).encode(),
        "results.tex": _latex(neat).encode(),
        "pareto.png": _png(plot_pareto(table)),
        "effects.png": _png(plot_effects(table)),
        "run.json": _json(describe_run() if run is None else run),
    }
    for name, content in contents.items():
        replace_file(folder / name, content)
    return folder


def present(table: pd.DataFrame, *, brief: bool = False) -> pd.DataFrame:
    """Round and merge a results table for people: text cells, "mean ± standard deviation".

    Parameters
    ----------
    table : DataFrame
        From `results_table`.
    brief : bool, default=False
        Leave out what a narrow screen has no room for; standard deviations too.

    Returns
    -------
    DataFrame of str
        One column a metric, shares in percent; a dash where a fit failed or a candidate does not
        set a parameter. Unknown tokens have a column if there are any.

    Examples
    --------
    >>> present(pd.DataFrame({"heads": [5], "perplexity": [8.0], "perplexity_std": [0.25]}))
      heads   perplexity
    0     5  8.00 ± 0.25
    """
    parameters = parameter_columns(table)
    cells = {}
    for name in map(str, table.columns):
        label = name if name in parameters else LABELS.get(name, name.replace("_", " "))
        spread = table.get(f"{name}_std")
        if name.endswith("_std") and name.removesuffix("_std") in table:
            continue
        if brief and name not in parameters and (name in _DETAILS or name.startswith("train_")):
            continue
        if name.removeprefix("train_") == "unknown_rate" and not table[name].fillna(0).any():
            continue
        if name == "failure" and not table[name].notna().any():
            continue
        if name == "pareto":
            cells[label] = ["✓" if flag else "" for flag in table[name]]
        elif name in parameters or name in _AS_THEY_ARE:
            cells[label] = [describe_value(value) for value in table[name]]
        else:
            percent = 100.0 if name in _SHARES else 1.0
            brief_spread = None if brief or spread is None else percent * spread
            cells[label] = _rounded(percent * table[name], brief_spread)
    return pd.DataFrame(cells, table.index)


def _markdown(neat: pd.DataFrame) -> str:
    return neat.to_markdown(index=False, disable_numparse=True) + "\n"


def _effects_in_words(table: pd.DataFrame) -> str:
    """Say which parameters matter more than the folds do; nothing if nothing can be compared."""
    if QUALITY not in table:
        return ""
    effects = main_effects(table)
    if effects["spread"].isna().all():
        return ""
    lines = []
    for name, one in effects.groupby("parameter", sort=False):
        values = ", ".join(
            f"{describe_value(value)} {effect:+.2f}"
            for value, effect in zip(one["value"], one["effect"], strict=True)
        )
        verdict = "" if one["larger_than_spread"].all() else ": no more than the spread over folds"
        lines.append(f"* `{name}`: {values}{verdict}")
    spread = f"(the spread over folds is {effects['spread'].iloc[0]:.2f})"
    return "\n".join([f"\nMain effects on perplexity, the others held {spread}:\n", *lines, ""])


def _rounded(mean: pd.Series, std: pd.Series | None) -> list[str]:
    """Three significant digits of the column's typical value, in every cell alike."""
    sizes = mean[np.isfinite(mean) & (mean != 0)].abs()
    typical = float(sizes.median()) if len(sizes) else 1.0
    counts = len(sizes) > 0 and bool((sizes % 1 == 0).all()) and std is None
    digits = 0 if counts else int(np.clip(2 - math.floor(math.log10(typical)), 0, 6))
    digits = max(digits, 2) if 10 <= typical < 100 and not counts else digits
    cells = [f"{value:.{digits}f}" if np.isfinite(value) else "-" for value in mean]
    if std is None:
        return cells
    return [
        f"{cell} ± {spread:.{digits}f}" if cell != "-" and np.isfinite(spread) else cell
        for cell, spread in zip(cells, std, strict=True)
    ]


def _latex(neat: pd.DataFrame) -> str:
    """Render a booktabs table; the two signs that plain LaTeX lacks become commands."""
    text = neat.to_latex(index=False, escape=True, column_format="r" * len(neat.columns))
    return text.replace("±", r"$\pm$").replace("✓", r"$\checkmark$")


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    # No software version in the file: the same table gives the same bytes.
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _json(run: Mapping[str, Any]) -> bytes:
    return (json.dumps(describe_json(run), indent=2, ensure_ascii=False) + "\n").encode()

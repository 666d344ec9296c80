"""How tables and plots name metrics and write values."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

__all__ = ["LABELS", "text_of"]

LABELS = {
    "rank": "#",
    "bits_per_character": "bits/char",
    "accuracy": "accuracy (%)",
    "unknown_rate": "unknown (%)",
    "energy_per_token_nj": "energy (nJ/token)",
    "total_energy_per_token_nj": "total energy (nJ/token)",
    "relative_energy": "energy (% of ANN)",
    "spike_rate": "spike rate (%)",
    "n_parameters": "parameters",
    "tokens_per_second": "tokens/s",
    "fit_time": "fit (s)",
    "difference": "Δ perplexity",
    "difference_se": "s.e. of Δ",
    "p_value": "p",
    "pareto": "Pareto",
}
"""Labels of metrics whose names need one; shares are meant in percent."""


def text_of(value: Any, longest: int | None = None) -> str:
    """Write a parameter's value; a dash where a candidate has none.

    Parameters
    ----------
    value : object
    longest : int, optional
        Cut longer text.

    Returns
    -------
    str

    Examples
    --------
    >>> [text_of(value) for value in (2.0, 0.125, True, "none", float("nan"))]
    ['2', '0.125', 'True', 'none', '-']
    """
    if isinstance(value, float | np.floating):
        text = "-" if math.isnan(value) else f"{value:g}"
    else:
        text = str(value)
    return text if longest is None or len(text) <= longest else f"{text[: longest - 1]}…"

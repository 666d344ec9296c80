"""How tables and plots name metrics and write values."""

from __future__ import annotations

import functools
import inspect
import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["LABELS", "readable", "text_of"]

_ADDRESS = re.compile(r"\bat 0x[0-9a-fA-F]+")
_DEEPEST = 4

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


def readable(value: Any) -> Any:
    """Return a value as it is, or text of it if it would be written as a place in memory.

    Examples
    --------
    >>> class Noise:
    ...     def __init__(self, size=1.0):
    ...         self.size = size
    >>> readable([Noise(), len, 1])
    '[Noise(size=1.0), len, 1]'
    >>> readable([None, "a", 0.5])
    [None, 'a', 0.5]
    """
    if isinstance(value, str):
        return value
    return _told(value) if _ADDRESS.search(repr(value)) else value


def _told(value: Any, depth: int = 0) -> str:
    """Write code by its name, and objects by class and parameters: the same in every process."""
    if inspect.isroutine(value) or inspect.isclass(value):
        return value.__name__
    if isinstance(value, functools.partial):
        parts = [_told(one, depth + 1) for one in (value.func, *value.args)]
        return f"partial({', '.join(parts + _pairs(value.keywords, depth))})"
    if isinstance(value, str) or not _ADDRESS.search(repr(value)):
        return " ".join(repr(value).split())
    if depth > _DEEPEST:
        return type(value).__name__
    if isinstance(value, Mapping):
        pairs = (f"{_told(k, depth + 1)}: {_told(v, depth + 1)}" for k, v in value.items())
        return f"{{{', '.join(pairs)}}}"
    if isinstance(value, list | tuple | set | frozenset):
        inside = ", ".join(_told(one, depth + 1) for one in value)
        return f"[{inside}]" if isinstance(value, list) else f"({inside})"
    return f"{type(value).__name__}({', '.join(_pairs(_parameters(value), depth))})"


def _pairs(parameters: Mapping[str, Any], depth: int) -> list[str]:
    return [f"{name}={_told(value, depth + 1)}" for name, value in parameters.items()]


def _parameters(value: Any) -> dict[str, Any]:
    """Return an object's parameters that are not the defaults, else its plain attributes."""
    if not hasattr(value, "get_params"):
        return {k: v for k, v in getattr(value, "__dict__", {}).items() if not k.startswith("_")}
    defaults = inspect.signature(type(value)).parameters
    return {
        name: one
        for name, one in value.get_params(deep=False).items()
        if name not in defaults or repr(defaults[name].default) != repr(one)
    }

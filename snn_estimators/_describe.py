"""How values are written for people: the same text in every process, in tables, logs and JSON."""

from __future__ import annotations

import functools
import inspect
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

__all__ = [
    "changed_parameters",
    "describe_assignments",
    "describe_code",
    "describe_json",
    "describe_value",
]

_ADDRESS = re.compile(r"\bat 0x[0-9a-fA-F]+")
_BRACKETS: Mapping[type, str] = {
    dict: "{}", list: "[]", tuple: "()", set: "{}", frozenset: "{}",
}  # fmt: skip
_DEEPEST = 4


def describe_value(value: Any, longest: int | None = None) -> str:
    """Write a value as tables and plots show it, with a dash for NaN; longer text is cut.

    Examples
    --------
    >>> [describe_value(value) for value in (2.0, 0.125, True, "a b", None, float("nan"), dict)]
    ['2', '0.125', 'True', 'a b', 'none', '-', 'dict']
    """
    if isinstance(value, float | np.floating):
        text = "-" if math.isnan(value) else f"{value:g}"
    elif value is None:
        text = "none"
    else:
        text = value if isinstance(value, str) else describe_code(value)
    return text if longest is None or len(text) <= longest else f"{text[: longest - 1]}…"


def describe_code(value: Any, depth: int = 0) -> str:
    """Write a value as code: functions and classes by name, objects by class and parameters."""
    if inspect.isroutine(value) or inspect.isclass(value):
        return value.__name__
    if isinstance(value, functools.partial):
        parts = [describe_code(one, depth + 1) for one in (value.func, *value.args)]
        keywords = describe_assignments(value.keywords, depth + 1)
        return f"partial({', '.join([*parts, keywords] if keywords else parts)})"
    kind = next((one for one in _BRACKETS if isinstance(value, one) and value), None)
    if kind is None:
        text = " ".join((repr(value) if _has_code(value) else str(value)).split())
        if isinstance(value, str) or not _ADDRESS.search(text):
            return text
    if depth > _DEEPEST:  # it may hold itself
        return type(value).__name__
    if kind is not None:
        inside = [describe_code(one, depth + 1) for one in value]
        if kind is dict:
            values = [describe_code(one, depth + 1) for one in value.values()]
            inside = [f"{name}: {one}" for name, one in zip(inside, values, strict=True)]
        comma = "," if kind is tuple and len(inside) == 1 else ""
        return f"{_BRACKETS[kind][0]}{', '.join(inside)}{comma}{_BRACKETS[kind][1]}"
    parameters = changed_parameters(value)
    return f"{type(value).__name__}({describe_assignments(parameters, depth + 1)})"


def _has_code(value: Any) -> bool:
    """Return whether `repr` reads better than `str`, as it does not for paths and arrays."""
    return isinstance(value, str | bytes) or hasattr(value, "get_params")


def describe_assignments(values: Mapping[str, Any], depth: int = 0) -> str:
    """Write names and values as arguments of a call."""
    return ", ".join(f"{name}={describe_code(value, depth)}" for name, value in values.items())


def describe_json(value: Any, text: Callable[[str], str] = str) -> Any:
    """Return a value as JSON knows it; what JSON does not know becomes text.

    The function `text` is applied to every text but keys.

    Examples
    --------
    >>> describe_json({"lr": np.float64(0.1), "betas": (0.9, None), "optimizer": dict})
    {'lr': 0.1, 'betas': [0.9, None], 'optimizer': 'dict'}
    """
    if isinstance(value, Mapping):
        return {str(key): describe_json(one, text) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [describe_json(one, text) for one in value]
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if value is None or isinstance(value, bool | int | float):
        return value
    return text(describe_value(value))


def changed_parameters(value: Any) -> dict[str, Any]:
    """Return an object's parameters that are not the defaults, else its public attributes."""
    if not hasattr(value, "get_params"):
        return {k: v for k, v in getattr(value, "__dict__", {}).items() if not k.startswith("_")}
    defaults: dict[str, str] = {}
    for one in type(value).__mro__:  # a class with **kwargs hands on what its parents take
        for name, parameter in inspect.signature(one).parameters.items():
            defaults.setdefault(name, repr(parameter.default))
    parameters = value.get_params(deep=False)
    return {name: one for name, one in parameters.items() if defaults.get(name) != repr(one)}

"""Parameter grids: reading them from text, and finding their mistakes before the first fit."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.model_selection import ParameterGrid

from snn_estimators._validation import suggest
from snn_estimators.persistence.stable_hash import canonical
from snn_estimators.text import make_tokenizer

__all__ = [
    "check_grid",
    "parse_grid",
    "parse_values",
    "resolve_parameters",
    "set_parameters",
    "valid_parameters",
]

Grid = Mapping[str, Sequence[Any]]

_WORDS = {"true": True, "false": False, "none": None, "null": None}
_INTEGER = re.compile(r"[+-]?\d+")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
# A comma parts two values unless it stands inside [brackets] or "quotes".
_ITEM = re.compile(r"""\s*((?:\[[^\]]*\]|"[^"]*"|'[^']*'|[^,])*)\s*(?:,|$)""")


def check_grid(estimator: Any, grid: Grid | Sequence[Grid]) -> int:
    """Check a grid, and count its candidates.

    Parameters
    ----------
    estimator : estimator
        What the search will clone; a Pipeline is fine.
    grid : dict or list of dicts
        As `GridSearchCV` takes it: parameter names to lists of values.

    Returns
    -------
    int
        Number of candidates.

    Raises
    ------
    ValueError
        If a name is unknown to the estimator (the closest names are listed), or if a list of
        values is empty, repeats itself or is no list.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> check_grid(Ridge(), {"alpha": [0.1, 1.0], "fit_intercept": [True, False]})
    4
    >>> check_grid(Ridge(), {"alhpa": [0.1]})
    Traceback (most recent call last):
    ...
    ValueError: unknown parameter 'alhpa' of Ridge: did you mean 'alpha'? Choose one of ...
    """
    grids = [grid] if isinstance(grid, Mapping) else list(grid)
    if not grids or not any(grids):
        raise ValueError("the grid is empty: give at least one parameter, e.g. timesteps=1,2,4")
    known = valid_parameters(estimator)
    for name in {name: None for one in grids for name in one}:
        if name not in known:
            raise ValueError(_unknown(name, known, estimator))
    for one in grids:
        for name, values in one.items():
            _check_values(name, values)
    return len(ParameterGrid(grids))


def _check_values(name: str, values: Any) -> None:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise ValueError(f"the grid gives {name!r} the single value {values!r}: put it in a list")
    if not isinstance(values, Sequence | np.ndarray):
        raise ValueError(f"the grid gives {name!r} a {type(values).__name__}: make it a list")
    values = list(values)
    if not values:
        raise ValueError(f"the grid gives {name!r} no value: list at least one")
    keys = [_key(value) for value in values]
    repeated = next((v for v, key in zip(values, keys, strict=True) if keys.count(key) > 1), None)
    if len(set(keys)) < len(keys):
        raise ValueError(f"the grid lists {repeated!r} twice for {name!r}: list each value once")


def _key(value: Any) -> tuple[type, str]:
    """Return a key that equal values share; the text of a long one leaves out its middle."""
    try:
        return type(value), json.dumps(canonical(value), sort_keys=True)
    except (AttributeError, TypeError, ValueError):  # equal to no other
        return type(value), str(id(value))


def valid_parameters(estimator: Any) -> list[str]:
    """List the parameters that an estimator takes, nested ones under their full names.

    A skorch net's ``get_params`` names only those parts of its module that were set by hand, so
    the signatures of module, optimizer and data loaders are read as well.
    """
    parameters = estimator.get_params(deep=True)
    names = dict.fromkeys(parameters)
    for stem, value in [("", estimator), *((f"{k}__", v) for k, v in parameters.items())]:
        for name in _names_of_net(value):
            names[f"{stem}{name}"] = None
    return list(names)


def _names_of_net(net: Any) -> Iterable[str]:
    """Parameters that a skorch net passes to its parts: ``module__x``, ``tokenizer__x``, ..."""
    if inspect.isclass(net) or not hasattr(net, "prefixes_"):
        return
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    for component, part in net.get_params(deep=False).items():
        if component == "tokenizer" and isinstance(part, str):
            part = type(make_tokenizer(part))
        if inspect.isclass(part):
            for name, one in inspect.signature(part).parameters.items():
                if one.kind not in variadic:
                    yield f"{component}__{name}"


def _unknown(name: str, names: Sequence[str], estimator: Any) -> str:
    """Write the error about an unknown name, with the closest known ones."""
    kind = type(estimator).__name__
    return f"unknown parameter {name!r} of {kind}: {suggest(name, names)}"


def resolve_parameters(estimator: Any, grid: Mapping[str, Any]) -> dict[str, Any]:
    """Replace short parameter names by the full ones.

    An exact name wins, then one of the module's (``timesteps`` for ``module__timesteps``), then one
    of the tokenizer's, then any other. A ValueError names those that are unknown or ambiguous.
    """
    if not (isinstance(grid, Mapping) and all(isinstance(name, str) for name in grid)):
        raise TypeError(
            "the grid must be a dict of parameters' names to lists of values, or a list of such "
            f"dicts, got {grid!r}"
        )
    known = valid_parameters(estimator)
    resolved: dict[str, Any] = {}
    for name, value in grid.items():
        full = _full_name(name, known, estimator)
        if full in resolved:
            raise ValueError(f"the grid sets {full!r} twice, once as {name!r}: name it once")
        resolved[full] = value
    return resolved


def set_parameters(estimator: Any, parameters: Mapping[str, Any]) -> Any:
    """Set parameters by short or full names, whatever their order, and return the estimator.

    The estimator's own are set first: another tokenizer or optimizer has other parameters.
    """
    known = estimator.get_params()
    own = {n: value for n, value in parameters.items() if n in known and "__" not in n}
    estimator.set_params(**own)
    rest = {n: value for n, value in parameters.items() if n not in own}
    return estimator.set_params(**resolve_parameters(estimator, rest))


def _full_name(name: str, known: Sequence[str], estimator: Any) -> str:
    if name in known:
        return name
    fitting = [one for one in known if one.endswith(f"__{name}")]
    for owner in ("module", "tokenizer", None):
        chosen = [one for one in fitting if owner is None or owner in one.split("__")[:-1]]
        if len(chosen) == 1:
            return chosen[0]
        if chosen:
            names = ", ".join(map(repr, chosen[:4]))
            raise ValueError(f"parameter {name!r} may be any of {names}: give the full name")
    raise ValueError(_unknown(name, known, estimator))


def parse_grid(options: Iterable[str]) -> dict[str, list[Any]]:
    """Read ``NAME=V1,V2`` options into names and lists of values."""
    grid: dict[str, list[Any]] = {}
    for option in options:
        name, equals, text = option.partition("=")
        name = name.strip()
        if not name or not equals:
            raise ValueError(f"cannot read {option!r}: write NAME=V1,V2, e.g. blocks=1,2")
        if name in grid:
            raise ValueError(f"{name!r} is given twice: list all its values in one NAME=V1,V2")
        grid[name] = parse_values(text, name=name)
    return grid


def parse_values(text: str, *, name: str = "the option") -> list[Any]:
    """Read comma-separated values, each different one once, in order; `name` is for errors.

    Examples
    --------
    >>> parse_values("1, 2.5, 3e-4, true, none, two-hot, [1, 2], '8'")
    [1, 2.5, 0.0003, True, None, 'two-hot', [1, 2], '8']
    """
    items = [match.group(1).strip() for match in _ITEM.finditer(text)]
    items = items[:-1] if len(items) > 1 and not text.rstrip().endswith(",") else items
    values: dict[tuple[type, str], Any] = {}
    for item in items:
        if not item:
            raise ValueError(f"{name} has an empty value in {text!r}: write V1,V2 without gaps")
        value = _parse_value(item)
        values[type(value), repr(value)] = value
    return list(values.values())


def _parse_value(item: str) -> Any:
    if item.lower() in _WORDS:
        return _WORDS[item.lower()]
    if _INTEGER.fullmatch(item):
        return int(item)
    if _NUMBER.fullmatch(item):
        return float(item)
    if item[0] == item[-1] and item[0] in "'\"" and len(item) > 1:
        return item[1:-1]
    if item.startswith("["):
        try:
            return json.loads(item)
        except json.JSONDecodeError as error:
            raise ValueError(f"cannot read the list {item!r}: write JSON, e.g. [1, 2]") from error
    return item

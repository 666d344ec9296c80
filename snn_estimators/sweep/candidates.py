"""The candidates of a grid: listed without duplicates, and checked."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import clone
from sklearn.model_selection import ParameterGrid

from snn_estimators._describe import describe_assignments
from snn_estimators.model_selection.grids import Grid
from snn_estimators.model_selection.scoring import final_estimator
from snn_estimators.model_selection.tables import short_names
from snn_estimators.persistence.stable_hash import canonical
from snn_estimators.sweep.keys import score_key
from snn_estimators.text import BaseTokenizer

__all__ = ["Candidate", "describe_candidate", "list_candidates", "try_candidates"]


class Candidate(NamedTuple):
    """What a grid sets in the estimator."""

    parameters: dict[str, Any]
    """Under full names."""
    key: str | None = None
    """From `score_key`; None if it could not be computed."""


def list_candidates(estimator: Any, grid: Grid | Sequence[Grid]) -> list[Candidate]:
    """List the candidates of a grid, or of a list of grids, without duplicates.

    Candidates of several grids that make the same model, as one grid sets what another leaves to
    the estimator, are one, with the parameters of both. Two of one grid are a ValueError.
    """
    found: dict[Any, dict[str, Any]] = {}
    for one in [grid] if isinstance(grid, Mapping) else grid:
        of_grid: dict[Any, dict[str, Any]] = {}
        for parameters in ParameterGrid(one):
            key: Any
            try:
                key = score_key(_make(estimator, parameters))
            except Exception:  # `try_candidates` raises it with the candidate's parameters
                key = object()  # equal to no other
            if key in of_grid:
                raise ValueError(_same_fit(of_grid[key], parameters))
            of_grid[key] = parameters
        found |= {key: found.get(key, {}) | parameters for key, parameters in of_grid.items()}
    return [
        Candidate(parameters, key if isinstance(key, str) else None)
        for key, parameters in found.items()
    ]


def _same_fit(one: dict[str, Any], other: dict[str, Any]) -> str:
    """Write the error about two candidates of a grid that make the same fit."""
    names = [name for name in one if one[name] is not other[name]]
    chosen = [describe_candidate({name: c[name] for name in names}) for c in (one, other)]
    hint = ", or set max_steps=None" if any(n.endswith("max_epochs") for n in names) else ""
    return (
        f"the grid compares {chosen[0]} with {chosen[1]}, which make the same fit: keep one of "
        f"the two{hint}"
    )


def try_candidates(
    estimator: Any,
    candidates: Iterable[Candidate],
    windows: Sequence[str],
    memory: str | None,
    on_candidate: Callable[[], object] = lambda: None,
    *,
    any_device: bool = False,
    skip: bool = False,
) -> dict[int, str]:
    """Build each candidate's module, so that errors come in a second, not in an hour.

    Candidates with the same tokenizer have it fitted once. One that cannot be fitted is a
    ValueError that names its parameters; with `skip` the reason is returned, by the candidate's
    number. `memory` is the folder of the cached fits. With `any_device` the model's need not be
    there.
    """
    tokens: dict[str, list[Any]] = {}
    reasons: dict[int, str] = {}
    for number, candidate in enumerate(candidates):
        try:
            model = _make(estimator, candidate.parameters)
            final_estimator(model).set_params(memory=memory)
            if any_device:
                final_estimator(model).set_params(device="auto")
            _try(model, windows, tokens)
            if candidate.key is None:
                score_key(model)  # raises the error that `list_candidates` passed over
        except (ValueError, TypeError) as error:
            reasons[number] = str(error)
            if not skip:
                raise ValueError(
                    "the grid holds an impossible candidate, "
                    f"{describe_candidate(candidate.parameters)}: {error}"
                ) from error
        on_candidate()
    return reasons


def describe_candidate(parameters: Mapping[str, Any]) -> str:
    """Return a candidate's parameters as text, by their short names."""
    names = short_names(parameters)
    return describe_assignments(dict(zip(names, parameters.values(), strict=True)))


def _make(estimator: Any, parameters: Mapping[str, Any]) -> Any:
    try:
        return clone(estimator).set_params(**clone(parameters, safe=False))
    except TypeError as error:
        raise TypeError(
            f"each fit needs a copy of the parameters, and one cannot be copied ({error}): give "
            "functions, classes, or objects of plain attributes"
        ) from error


def _try(model: Any, windows: Sequence[str], tokens: dict[str, list[Any]]) -> None:
    """Check a model on text, or on the fewest token ids that give the same errors.

    `tokens` caches those ids by the steps that lead to them.
    """
    last, before = final_estimator(model), []
    if hasattr(model, "steps") and len(model.steps) > 1:
        before = [step for _, step in model.steps[:-1]]
    if not isinstance(last.tokenizer, str | BaseTokenizer):
        last.check(model[:-1].fit_transform(windows) if before else windows)
        return
    tokenizer = last._tokenizer_to_fit()
    key = json.dumps([canonical(step) for step in (*before, tokenizer)], sort_keys=True)
    if key not in tokens:
        seen = model[:-1].fit_transform(windows) if before else windows
        is_enough = any(len(ids) > 1 for ids in tokenizer.fit(seen).encode(seen))
        tokens[key] = [np.array([0, tokenizer.n_tokens_ - 1] if is_enough else [0])]
    _on_ids(last).check(tokens[key])


def _on_ids(model: Any) -> Any:
    """Return the same model, but for token ids instead of text."""
    parameters = model.get_params(deep=False)
    kept = {k: v for k, v in parameters.items() if k.partition("__")[0] != "tokenizer"}
    return type(model)(**kept, tokenizer=None)

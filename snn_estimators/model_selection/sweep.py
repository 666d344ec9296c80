"""A whole sweep: corpus to windows, windows to search, search to table and files."""

from __future__ import annotations

import inspect
import os
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.exceptions import FitFailedWarning
from sklearn.model_selection import GridSearchCV, ParameterGrid

from snn_estimators.estimators import LanguageModel, language_model
from snn_estimators.estimators.base import resolve_device
from snn_estimators.model_selection.grids import check_grid, resolve_parameters, set_parameters
from snn_estimators.model_selection.progress import CountedScorer, fit_progress
from snn_estimators.model_selection.provenance import describe_corpus, describe_run
from snn_estimators.model_selection.report import check_writable, write_tables
from snn_estimators.model_selection.scoring import SCORES, language_model_scores
from snn_estimators.model_selection.tables import results_table, short_names
from snn_estimators.text import (
    CharTokenizer,
    TextCleaner,
    WindowKFold,
    check_documents,
    load_corpus,
    split_windows,
)

__all__ = [
    "DEFAULT_GRID",
    "DEFAULT_GRIDS",
    "SweepResult",
    "TablesNotWrittenError",
    "prepare_text",
    "run_sweep",
    "sweep_model",
]

DEFAULT_GRID: Mapping[str, Sequence[Any]] = {
    "timesteps": [1, 2, 4],
    "heads": [1, 5],
    "encoding": ["learned", "two-hot"],
}
"""What a sweep of SpikeDecoder compares."""

DEFAULT_GRIDS: Mapping[str, Mapping[str, Sequence[Any]]] = {
    "spikedecoder": DEFAULT_GRID,
    "spikegpt": {"n_embd": [32, 64], "spikes": ["residual", "everywhere", "none"]},
}
"""What a sweep of each family compares."""

_SMALL: Mapping[str, Mapping[str, Any]] = {
    "spikedecoder": {"module__blocks": 2, "lr": 0.01},
    "spikegpt": {"module__n_layer": 2, "lr": 0.01},
}


class SweepResult(NamedTuple):
    """What a sweep found."""

    table: pd.DataFrame
    """From `results_table`."""
    search: GridSearchCV
    """The fitted search."""
    run: dict[str, Any]
    """From `describe_run`: what ``run.json`` holds."""


class TablesNotWrittenError(RuntimeError):
    """A sweep is done, but its files could not be written; nothing is lost.

    Attributes
    ----------
    result : SweepResult
        What the sweep found, for another try with `write_tables`.
    """

    def __init__(self, message: str, result: SweepResult) -> None:
        super().__init__(message)
        self.result = result


def run_sweep(
    corpus: str | os.PathLike[str] | Sequence[str] = "python-docs",
    grid: Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Sequence[Any]]] = DEFAULT_GRID,
    *,
    estimator: Any = None,
    length: int = 64,
    limit: int | None = 80_000,
    clean: bool = True,
    folds: int = 2,
    n_jobs: int | None = None,
    refit: bool = False,
    output: str | os.PathLike[str] | None = None,
    progress: bool = False,
    command: Sequence[str] | None = None,
) -> SweepResult:
    """Cross-validate every candidate of a grid on a text, and tabulate quality and cost.

    A convenience around scikit-learn's own `GridSearchCV` with `language_model_scores`: everything
    that can be refused is refused before the first fit, and a candidate that fails later costs its
    row and nothing else.

    Parameters
    ----------
    corpus : str, path or list of str, default="python-docs"
        What `load_corpus` takes, or the documents themselves.
    grid : dict or list of dicts, default=DEFAULT_GRID
        Parameters to lists of values. Short names do: ``timesteps`` for ``module__timesteps``.
    estimator : estimator, optional
        What is cloned for each candidate; by default `sweep_model` for `length` and `clean`.
    length : int, default=64
        Tokens that a model sees at most; the text is cut into windows one longer.
    limit : int or None, default=80_000
        Characters of the (cleaned) text to use.
    clean : bool, default=True
        Whether `TextCleaner` reduces the text to SpikeDecoder's 30 symbols first.
    folds : int, default=2
        Contiguous blocks of text, each held out once.
    n_jobs : int, optional
        Fits at a time, -1 for one a core; by default one a core, or one alone on a GPU.
    refit : bool, default=False
        Whether the best candidate is fitted once more, to the whole text (``best_estimator_``).
    output : str or path, optional
        Where `write_tables` leaves its files; nothing is written without.
    progress : bool, default=False
        Whether to show a bar over all fits.
    command : list of str, optional
        Command line for ``run.json``.

    Returns
    -------
    SweepResult
        ``table``, ``search``, ``run``.

    Raises
    ------
    ValueError
        If the corpus is unknown or too short, if a parameter is unknown or a candidate cannot be
        built (say, heads that do not divide the width), or if every single fit or score failed.
    OSError
        If `output` cannot be written; before the first fit.
    TablesNotWrittenError
        If writing fails after the last fit nevertheless (the disk is full): it holds the result.

    Examples
    --------
    >>> result = run_sweep(
    ...     ["the cat sat on the mat. " * 20], {"timesteps": [1, 2], "heads": [1]},
    ...     estimator=sweep_model(length=16, max_steps=1), length=16, n_jobs=1,
    ... )
    >>> result.table[["timesteps", "heads"]].sort_values("timesteps").to_numpy().tolist()
    [[1, 1], [2, 1]]
    """
    started = time.perf_counter()
    if n_jobs == 0:
        raise ValueError("n_jobs must not be 0: give the number of fits at a time, or -1 for all")
    estimator = sweep_model(length=length, clean=clean) if estimator is None else estimator
    grid = _resolved(estimator, grid)
    n_fits = folds * check_grid(estimator, grid)
    name = corpus if isinstance(corpus, str | os.PathLike) else "documents"
    text = prepare_text(corpus, clean=clean, limit=limit)
    windows = split_windows(text, length + 1)
    cv = WindowKFold(folds, length=length + 1)
    list(cv.split(windows))
    _build_every(estimator, grid, windows)
    # Described before the first fit: nothing may go wrong between the last fit and its table.
    story = describe_run(
        parameters={
            "estimator": _settings_of(estimator),
            "grid": grid,
            "folds": folds,
            "length": length,
            "limit": limit,
            "clean": clean,
        },
        seed=estimator.get_params().get("random_state"),
        corpus=describe_corpus(name, [text]),
        command=command,
    )
    # The last of the checks, so that no other refusal leaves an empty folder behind.
    folder = None if output is None else check_writable(output)

    with fit_progress(language_model_scores, SCORES, n_fits, show=progress) as scorer:
        search = GridSearchCV(
            estimator,
            grid,
            scoring=scorer,
            refit="neg_perplexity" if refit else False,
            cv=cv,
            n_jobs=_jobs(estimator, n_fits) if n_jobs is None else n_jobs,
        )
        _fit(search, windows)
        _check_any_score(search, scorer)
    # The counter's file is gone; later calls of the search's `score` need none.
    search.scoring = search.scorer_ = language_model_scores

    table = results_table(search)
    run = story | {"duration_seconds": round(time.perf_counter() - started, 3)}
    result = SweepResult(table, search, run)
    if folder is not None:
        _write(result, folder)
    return result


def sweep_model(
    preset: str | None = None,
    *,
    family: str = "spikedecoder",
    length: int = 64,
    clean: bool = True,
    **parameters: Any,
) -> LanguageModel:
    """Make the small language model that sweeps compare by default.

    Two layers and 150 small, large steps: a fit of seconds, long enough for differences to show.

    Parameters
    ----------
    preset : str, optional
        A recipe of the estimator's `PRESETS` to start from instead.
    family : {"spikedecoder", "spikegpt"}, default="spikedecoder"
    length : int, default=64
        Tokens in a window.
    clean : bool, default=True
        Whether the text will be cleaned: then the alphabet is SpikeDecoder's, else it is learned.
    **parameters
        Parameters of the estimator, or their short names (``blocks=4``).

    Returns
    -------
    SpikeDecoderLM or SpikeGPTLM
        Not fitted.

    Raises
    ------
    ValueError
        If there is no such family, preset or parameter.

    Examples
    --------
    >>> sweep_model(blocks=3).get_params()["module__blocks"]
    3
    """
    kind = language_model(family)
    tokenizer = CharTokenizer("spikedecoder") if clean else "char"
    base: dict[str, Any] = {"tokenizer": tokenizer, "random_state": 0}
    if preset is None:
        model = kind(**base, **_SMALL[family], max_steps=150, batch_size=8)
    else:
        model = kind.from_preset(preset, **base)
    return set_parameters(model, {kind.WINDOW: length, **parameters})


def prepare_text(
    corpus: str | os.PathLike[str] | Sequence[str], *, clean: bool = True, limit: int | None = None
) -> str:
    """Load a corpus, clean it if wanted, and join its documents to one text.

    Parameters
    ----------
    corpus : str, path or list of str
        What `load_corpus` takes, or the documents themselves.
    clean : bool, default=True
        Whether to reduce the text to SpikeDecoder's 30 symbols.
    limit : int, optional
        Characters to keep.

    Returns
    -------
    str

    Raises
    ------
    ValueError
        If there is no such corpus, or nothing is left of it.

    Examples
    --------
    >>> prepare_text(["To be!", "Or 2 not?"], limit=12)
    'to be. or no'
    """
    if isinstance(corpus, str | os.PathLike):
        name, documents = os.fspath(corpus), load_corpus(os.fspath(corpus))
    else:
        name, documents = "the documents", check_documents(corpus)
    if clean:
        documents = TextCleaner("spikedecoder").transform(documents)
    text = "\n".join(documents) if not clean else " ".join(one.strip() for one in documents)
    if not text.strip():
        raise ValueError(
            f"nothing is left of {name} after cleaning, "
            "which keeps Latin letters alone: use other text, or do not clean it"
        )
    return text[:limit]


def _resolved(estimator: Any, grid: Any) -> Any:
    if isinstance(grid, Mapping):
        return resolve_parameters(estimator, grid)
    return [resolve_parameters(estimator, one) for one in grid]


def _build_every(estimator: Any, grid: Any, windows: list[str]) -> None:
    """Build each candidate's module: what is impossible is refused in a second, not in an hour."""
    if not isinstance(estimator, LanguageModel):
        return
    for candidate in ParameterGrid(grid):
        try:
            clone(estimator).set_params(**candidate).check(windows)
        except (ValueError, TypeError) as error:
            names = short_names(candidate)
            chosen = ", ".join(map("{}={!r}".format, names, candidate.values()))
            raise ValueError(
                f"the grid holds an impossible candidate, {chosen}: {error}"
            ) from error


def _jobs(estimator: Any, n_fits: int) -> int:
    """One fit a core; a GPU is shared badly."""
    on_gpu = str(resolve_device(estimator.get_params().get("device", "cpu"))).startswith("cuda")
    return 1 if on_gpu else min(joblib.cpu_count(), n_fits)


def _fit(search: GridSearchCV, windows: list[str]) -> None:
    """Fit; say in one sentence what scikit-learn quotes tracebacks for."""
    with warnings.catch_warnings(record=True) as caught:
        try:
            search.fit(windows)
        except ValueError as error:
            if "fits failed" not in str(error):
                raise
            raise ValueError(f"every fit of the sweep failed: {_last_line(error)}") from error
    for warning in caught:
        if warning.category is FitFailedWarning:
            warnings.warn(
                "some fits failed, their candidates stand last in the table with gaps: "
                f"{_last_line(warning.message)}",
                FitFailedWarning,
                stacklevel=3,
            )
        elif "non-finite" not in str(warning.message):
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )


def _check_any_score(search: GridSearchCV, scorer: CountedScorer) -> None:
    """Refuse to call a table full of gaps a success."""
    means = [v for key, v in search.cv_results_.items() if key.startswith("mean_test_")]
    if not np.isfinite(np.array(means, dtype=float)).any():
        reason = scorer.last_failure or "no figure is finite"
        raise ValueError(f"no candidate of the sweep could be scored: {reason}")


def _write(result: SweepResult, folder: Path) -> None:
    try:
        write_tables(result.table, folder, run=result.run)
    except Exception as error:
        raise TablesNotWrittenError(
            f"the sweep is done, but its tables could not be written into {folder}: {error}", result
        ) from error


def _last_line(message: Any) -> str:
    """Return the last line of a traceback, which is the error."""
    return str(message).strip().splitlines()[-1]


def _settings_of(estimator: Any) -> dict[str, Any]:
    """Return the parameters that differ from the defaults of the estimator's classes."""
    defaults: dict[str, str] = {}
    for one in type(estimator).__mro__:
        for name, parameter in inspect.signature(one).parameters.items():
            defaults.setdefault(name, repr(parameter.default))
    parameters = estimator.get_params(deep=False)
    changed = {n: value for n, value in parameters.items() if defaults.get(n) != repr(value)}
    return {"class": type(estimator).__name__, **changed}

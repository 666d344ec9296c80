"""The plan of a sweep: its fits, all of them checked before the first one starts."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from sklearn.base import clone
from tqdm import tqdm

from snn_estimators._describe import describe_value
from snn_estimators._validation import check_whole
from snn_estimators._warnings import warn
from snn_estimators.estimators import LanguageModel
from snn_estimators.model_selection.grids import Grid, check_grid, resolve_parameters
from snn_estimators.model_selection.provenance import describe_corpus
from snn_estimators.model_selection.scoring import final_estimator
from snn_estimators.model_selection.seeds import check_seeds
from snn_estimators.model_selection.tables import short_names
from snn_estimators.persistence.cache_key import WITHOUT_EFFECT
from snn_estimators.persistence.hashing import hash_json
from snn_estimators.sweep.candidates import describe_candidate, list_candidates, try_candidates
from snn_estimators.sweep.defaults import prepare_text
from snn_estimators.sweep.halving import Rung, plan_rungs
from snn_estimators.sweep.keys import code_key, score_key
from snn_estimators.sweep.leaderboard import Row
from snn_estimators.sweep.worker import Fit, final_stem, set_final
from snn_estimators.text import WindowKFold, split_windows

__all__ = ["Plan", "check_estimator", "load_texts", "resolve_grid"]

_RESOURCES = ("max_steps", "max_epochs")


@dataclass
class Plan:
    """Estimator, candidates, texts, seeds, folds and rungs of a sweep.

    The parameters are those of `Sweep`, after `check_estimator`, `resolve_grid` and `load_texts`;
    `memory` is the folder of the cached fits. Fits `on_other_machines` may have devices that are
    not here. Candidates that cannot be built are errors or, if `impossible` is "skip", in
    `reasons`: by corpus and number, why.
    """

    estimator: Any
    grid: Any
    texts: Mapping[str, str]
    length: int
    folds: int
    seeds: Any = None
    halving: int | None = None
    resource: str | None = None
    memory: str | None = None
    progress: bool = False
    on_other_machines: bool = False
    impossible: str = "raise"

    def __post_init__(self) -> None:
        self.candidates = list_candidates(self.estimator, self.grid)
        self._keys: dict[tuple[int | str, int, int], tuple[str, str]] = {}
        self._seed = f"{final_stem(self.estimator)}random_state"
        self._check_seeds()
        self.reasons: dict[tuple[str, int], str] = {}
        self.rungs = self._plan_rungs()
        self.descriptions = {
            name: describe_corpus(name, [text]) for name, text in self.texts.items()
        }
        self._try_candidates()
        if self.reasons:
            self.rungs = self._plan_rungs()

    @property
    def n_fits(self) -> int:
        """Number of fits, all rungs together."""
        return (self.n_rows - len(self.reasons)) * len(self.seeds) * self.folds

    @property
    def n_rows(self) -> int:
        """Number of rows that the table will have."""
        counts = product(self.texts, self.rungs)
        fitted = sum(min(rung.candidates, self._n_possible(corpus)) for corpus, rung in counts)
        return fitted + len(self.reasons)

    def _n_possible(self, corpus: str) -> int:
        return len(self.candidates) - sum(place == corpus for place, _ in self.reasons)

    def row(self, corpus: str, candidate: int, rung: int) -> Row:
        """Return a row of the table."""
        resources = self.rungs[rung].resources if self.halving else None
        parameters, reason = self.candidates[candidate].parameters, self.reasons.get
        return Row(
            corpus, candidate, parameters, rung, resources, impossible=reason((corpus, candidate))
        )

    def baseline_row(self, corpus: str, name: str, model: Any = None) -> Row:
        """Return a row of a model that is no candidate, trained as long as the last of those."""
        rung = len(self.rungs) - 1
        resources = self.rungs[rung].resources if self.halving else None
        return Row(corpus, -1, {}, rung, resources, baseline=name, model=model)

    def folds_of(self, corpus: str) -> Iterator[tuple[list[str], list[str]]]:
        """Yield the windows that each fold is trained and scored on."""
        windows, cv = self._windows(self.texts[corpus])
        for train, test in cv.split(windows):
            yield [windows[i] for i in train], [windows[i] for i in test]

    def fits(self, number: int, row: Row) -> list[Fit]:
        """Return the fits of a row."""
        fits = []
        for seed in self.seeds:
            if row.baseline is None:
                model = clone(self.estimator).set_params(**clone(row.parameters, safe=False))
            else:
                model = clone(row.model)
            if self._seed not in row.parameters:
                set_final(model, random_state=seed)
            if row.resources is not None:
                steps = {"max_steps": None} if self.resource == "max_epochs" else {}
                set_final(model, **{str(self.resource): row.resources}, **steps)
            place = row.candidate if row.baseline is None else f"{row.corpus}: {row.baseline}"
            of_model = place, seed, row.iteration
            if of_model not in self._keys:
                self._keys[of_model] = score_key(model), code_key(model)
            text = self.descriptions[row.corpus]["sha256"]
            for fold in range(self.folds):
                name = f"{self._name(row)},seed={seed},fold={fold}"
                scores, code = self._keys[of_model]
                key = hash_json([scores, text, self.length, self.folds, fold])
                fits.append(Fit(name, number, row.corpus, seed, fold, model, key, code))
        return fits

    def keys(self) -> Iterator[tuple[str, str | None]]:
        """Yield the keys of every possible fit: that of its scores, and that of its model."""
        for corpus in self.texts:
            training = [train for train, _ in self.folds_of(corpus)]
            for rung, candidate in product(range(len(self.rungs)), range(len(self.candidates))):
                row = self.row(corpus, candidate, rung)
                for fit in self.fits(0, row) if row.is_fitted else ():
                    yield fit.key, self._key_of_model(fit, training[fit.fold])

    def _key_of_model(self, fit: Fit, windows: list[str]) -> str | None:
        model, seen = clone(fit.model), windows
        if hasattr(model, "steps") and len(model.steps) > 1:
            seen = model[:-1].fit_transform(windows)
        return final_estimator(model).set_params(memory=self.memory)._key_of_fit(seen, None, {})

    def _name(self, row: Row) -> str:
        names = short_names(row.parameters)
        values = [describe_value(value, 40) for value in row.parameters.values()]
        words = [row.corpus, *map("{}={}".format, names, values)]
        if row.baseline is not None:
            words.append(row.baseline)
        if row.resources is not None:
            words.append(f"{self.resource}={row.resources}")
        return re.sub(r"[^\w.,=+-]+", "_", ",".join(words))

    def estimator_of(self, row: Row) -> Any:
        """Return the estimator of a row, with the first seed, not fitted."""
        model = self.fits(0, row)[0].model
        last = final_estimator(model)
        if last.save_every_n_steps is not None and last.memory is None:
            set_final(model, memory=self.memory)
        return model

    # Checks

    def _check_seeds(self) -> None:
        if self.seeds is not None and any(self._seed in one.parameters for one in self.candidates):
            raise ValueError("seeds and the grid's random_state both set the seed: give one")
        first = getattr(final_estimator(self.estimator), "random_state", None)
        self.seeds = check_seeds(self.seeds, first)

    def _plan_rungs(self) -> list[Rung]:
        n_candidates = max(map(self._n_possible, self.texts))
        if self.halving is None:
            if self.resource is not None:
                raise ValueError("resource is for halving alone: set halving, too")
            return [Rung(n_candidates, 0)]
        check_whole("halving", self.halving, 2)
        model = final_estimator(self.estimator)
        if self.resource is None:
            self.resource = "max_epochs" if model.max_steps is None else "max_steps"
        if self.resource not in _RESOURCES or getattr(model, self.resource) is None:
            raise ValueError(
                f"resource must be max_steps or max_epochs, and set in the estimator, got "
                f"{self.resource!r}"
            )
        stem = final_stem(self.estimator)
        for name in _RESOURCES:
            if any(f"{stem}{name}" in one.parameters for one in self.candidates):
                raise ValueError(f"halving decides on {name} itself: take it out of the grid")
        return plan_rungs(n_candidates, self.halving, getattr(model, self.resource))

    def _windows(self, text: str) -> tuple[list[str], WindowKFold]:
        """Cut a text into windows, and make what divides them into folds."""
        window_length = self.length + 1
        return split_windows(text, window_length), WindowKFold(self.folds, length=window_length)

    def _try_candidates(self) -> None:
        with tqdm(
            total=len(self.texts) * len(self.candidates), unit="candidate", desc="planning",
            leave=False, disable=not self.progress,
        ) as bar:  # fmt: skip
            for name, text in self.texts.items():
                windows, cv = self._windows(text)
                list(cv.split(windows))  # raises an error if there are too few
                try:
                    reasons = try_candidates(
                        self.estimator,
                        self.candidates,
                        windows,
                        self.memory,
                        bar.update,
                        any_device=self.on_other_machines,
                        skip=self.impossible == "skip",
                    )
                    if len(reasons) == len(self.candidates):
                        raise ValueError(f"every candidate of the grid is impossible: {reasons[0]}")
                except ValueError as error:
                    if len(self.texts) == 1:
                        raise
                    raise ValueError(f"with the corpus {name}, {error}") from error
                self.reasons |= {(name, number): reason for number, reason in reasons.items()}

    def warn_of_impossible(self) -> None:
        """Warn of candidates that are skipped, if there are any."""
        if not self.reasons:
            return
        (_, first), reason = next(iter(self.reasons.items()))
        numbers = {number for _, number in self.reasons}
        warn(
            f"{len(numbers)} of {len(self.candidates)} candidates are impossible, and stand last "
            f"in the table with the reason: "
            f"{describe_candidate(self.candidates[first].parameters)}: {reason}"
        )


def check_estimator(estimator: Any, memory: str | None) -> None:
    """Check that an estimator is a language model, and saves itself in the memory alone."""
    model = final_estimator(estimator)
    if not isinstance(model, LanguageModel):
        raise TypeError(
            "a sweep compares language models such as SpikeDecoderLM, or a Pipeline that ends "
            f"in one, got {type(model).__name__}"
        )
    if model.name is not None or model.resume:
        given = "resume=True" if model.name is None else f"name={model.name!r}"
        raise ValueError(
            f"the estimator has {given}, but a sweep keeps its many fits in its memory=, and "
            "resumes by itself: leave name=None and resume=False"
        )
    if model.save_every_n_steps is not None and memory is None:
        raise ValueError(
            f"save_every_n_steps={model.save_every_n_steps!r} needs a folder to save in: give the "
            "sweep an output= or a memory="
        )


def _check_comparable(estimator: Any, grid: Grid | Sequence[Grid]) -> None:
    stem = final_stem(estimator)
    grids = [grid] if isinstance(grid, Mapping) else grid
    for name in {name: None for one in grids for name in one}:
        short = name.removeprefix(stem)
        if short == "memory":
            raise ValueError(
                f"{name!r} is no parameter to compare: memory= says where fits are kept"
            )
        if short in ("name", "resume", "keep_checkpoints"):
            raise ValueError(
                f"{name!r} is no parameter to compare: a sweep keeps its fits in its memory=, "
                "without names, and resumes by itself"
            )
        if short in WITHOUT_EFFECT:
            raise ValueError(
                f"{name!r} changes no score, so there is nothing to compare: set it in the "
                "estimator"
            )


def resolve_grid(estimator: Any, grid: Grid | Sequence[Grid]) -> Any:
    """Replace short names by full ones in a grid or a list of grids, and check the grid.

    A parameter that changes no score, or that a sweep sets itself, is a ValueError.
    """
    given: Any = grid  # of any type
    if isinstance(given, Iterable) and not isinstance(given, str | Mapping):
        resolved: Any = [resolve_parameters(estimator, one) for one in given]
    else:
        resolved = resolve_parameters(estimator, given)
    check_grid(estimator, resolved)
    _check_comparable(estimator, resolved)
    return resolved


def load_texts(corpora: Any, *, clean: bool, limit: int | None) -> dict[str, str]:
    """Load one corpus or several, each under the name that tables give it."""
    if isinstance(corpora, str | os.PathLike):
        corpora = [corpora]
    if not isinstance(corpora, Mapping):
        listed: list[Any] = list(corpora) if isinstance(corpora, Iterable) else [None]
        if not all(isinstance(one, str | os.PathLike) for one in listed):
            raise TypeError(
                "corpora must be a name, a path, a list of those, or a dict of names to documents"
            )
        corpora = dict(zip(_names(listed), listed, strict=True))
    if not corpora:
        raise ValueError("there is no corpus: name at least one")
    return {str(name): prepare_text(one, clean=clean, limit=limit) for name, one in corpora.items()}


def _names(corpora: Sequence[str | os.PathLike[str]]) -> list[str]:
    """Name each corpus, files of one name by their folders, too."""
    paths = [Path(one) for one in corpora]
    places = [str(path.resolve() if path.exists() else path) for path in paths]
    names = [str(describe_corpus(one, [])["name"]) for one in corpora]
    for name, place in zip(names, places, strict=True):
        if places.count(place) > 1:
            raise ValueError(f"the corpus {name!r} is listed twice: name it once")
    count = 1
    while len(set(names)) < len(names):
        count += 1
        longer = ("/".join(Path(place).parts[-count:]) for place in places)
        pairs = zip(names, longer, strict=True)
        names = [name if names.count(name) == 1 else more for name, more in pairs]
    return names

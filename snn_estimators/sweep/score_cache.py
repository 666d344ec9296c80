"""The store of a sweep: what became of each fit, kept from one run to the next."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from snn_estimators._files import check_writable, replace_file
from snn_estimators.model_selection.scoring import SCORES, final_estimator
from snn_estimators.persistence.fit_cache import FitCache, MemoryLike
from snn_estimators.persistence.fit_cache import fit_key as key_of_model
from snn_estimators.persistence.hashing import hash_json
from snn_estimators.persistence.stable_hash import canonical
from snn_estimators.sweep.worker import FitResult

__all__ = ["ScoreCache", "fit_key", "folder_of"]


_SCORES = "scores"
_FOLDERS = "fits", _SCORES


class ScoreCache:
    """Outcomes by key, one small file each, in the folder that is the estimators' memory, too.

    Any number of sweeps may share it.

    Parameters
    ----------
    memory : path, joblib.Memory or None
        None keeps nothing.

    Raises
    ------
    TypeError, ValueError
        If the folder is no memory, or that of a newer version.

    Examples
    --------
    >>> score_cache = ScoreCache(None)
    >>> score_cache.note("key", FitResult(1.5, {"accuracy": 0.5}))
    >>> score_cache.recall("key") is None
    True
    """

    def __init__(self, memory: MemoryLike) -> None:
        self._memory = FitCache.of(memory)
        self.folder = folder_of(memory)

    def open(self) -> None:
        """Make the folder, unless it is there, and try whether it takes files.

        Raises
        ------
        OSError
            If that is impossible, or it takes none.
        """
        if self._memory is None or self.folder is None:
            return
        check_writable(self.folder, "store")
        self._memory.open()
        for name in _FOLDERS:
            check_writable(self.folder / name, "store's folder")
        ignore = self.folder / ".gitignore"
        if not ignore.exists():  # models and figures are nothing to commit beside the tables
            replace_file(ignore, b"*\n")

    def forget(self, keys: Iterable[tuple[str, str | None]]) -> None:
        """Delete what there is of fits, and nothing else.

        Parameters
        ----------
        keys : iterable of (str, str or None)
            Of their figures and of their models.
        """
        if self._memory is None:
            return
        for key, model in keys:
            self._path(key).unlink(missing_ok=True)
            if model is not None:
                self._memory.forget(model)

    def _path(self, key: str) -> Path:
        assert self.folder is not None
        return self.folder / _SCORES / f"{key}.json"

    def megabytes(self) -> float | None:
        """Return how much room the fits and their figures take; None if nothing is kept."""
        if self.folder is None:
            return None
        files = (path for name in _FOLDERS for path in (self.folder / name).glob("*"))
        return sum(map(_size, files)) / 1e6

    def note(self, key: str, outcome: FitResult) -> None:
        """Keep the outcome of a fit that was scored; one that failed may be tried again.

        Raises
        ------
        OSError
            If its file cannot be written.
        """
        if self.folder is None or outcome.scores is None:
            return
        content = {"fit_time": outcome.fit_time, "scores": outcome.scores}
        text = json.dumps({"content": content, "sha256": hash_json(content)})
        replace_file(self._path(key), text.encode())

    def recall(self, key: str) -> FitResult | None:
        """Return what was noted under a key; None, with a warning, if its file is damaged."""
        if self.folder is None:
            return None
        path = self._path(key)
        try:
            record = json.loads(path.read_text("utf-8"))
            if record["sha256"] != hash_json(record["content"]):
                raise ValueError("its checksum is wrong")
            return FitResult.of(record["content"]["fit_time"], record["content"]["scores"])
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, OSError) as error:
            warnings.warn(f"{path} is damaged ({error}): the fit is done again", stacklevel=2)
            return None


def folder_of(memory: MemoryLike) -> Path | None:
    """Return the folder that a memory means, wherever the workers stand; None keeps nothing.

    Raises
    ------
    TypeError, ValueError
        If it is no memory, or that of a newer version.
    """
    meant = FitCache.of(memory)
    return None if meant is None else meant.folder.absolute()


def fit_key(model: Any, **data: Any) -> str:
    """Return what finds a fit again: equal for equal models, data and versions.

    Parameters
    ----------
    model : language model, or Pipeline that ends in one
        Not fitted.
    **data
        What else the fit depends on, as JSON has it.

    Returns
    -------
    str

    Raises
    ------
    TypeError
        If a parameter's value cannot be told from others.

    Examples
    --------
    >>> from snn_estimators.sweep.defaults import sweep_model
    >>> fit_key(sweep_model(heads=1), fold=0) == fit_key(sweep_model(heads=1), fold=0)
    True
    >>> fit_key(sweep_model(heads=1), fold=0) == fit_key(sweep_model(heads=5), fold=0)
    False
    """
    before = [canonical(step) for step in model[:-1]] if hasattr(model, "steps") else []
    return key_of_model(final_estimator(model), data | {"scores": SCORES, "before": before}, {})


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # another sweep has forgotten it
        return 0

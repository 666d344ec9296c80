"""The scores of fits by key, kept from one run of a sweep to the next."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from snn_estimators._files import check_writable, read_json, replace_file
from snn_estimators._warnings import warn
from snn_estimators.persistence.fit_cache import FitCache, MemoryLike
from snn_estimators.persistence.hashing import hash_json
from snn_estimators.sweep.worker import FitResult

__all__ = ["ScoreCache", "folder_of"]

_SCORES = "scores"
_FOLDERS = "fits", _SCORES


class ScoreCache:
    """Scores of fits by key, one small file each, in the folder of the estimators' memory.

    Any number of sweeps may share it; a memory of None keeps nothing.
    """

    def __init__(self, memory: MemoryLike) -> None:
        self._memory = FitCache.of(memory)
        self.folder = folder_of(memory)

    def open(self) -> None:
        """Make the folder, unless it is there; OSError if it cannot be made or written to."""
        if self._memory is None or self.folder is None:
            return
        check_writable(self.folder, "memory")
        self._memory.open()
        for name in _FOLDERS:
            check_writable(self.folder / name, "memory's folder")
        ignore = self.folder / ".gitignore"
        if not ignore.exists():  # models and scores are not to be committed beside the tables
            replace_file(ignore, b"*\n")

    def forget(self, keys: Iterable[tuple[str, str | None]]) -> None:
        """Delete the scores and models of fits, by the keys of both, and nothing else."""
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
        """Return the size of all fits and scores; None if nothing is kept."""
        if self.folder is None:
            return None
        files = (path for name in _FOLDERS for path in (self.folder / name).glob("*"))
        return sum(map(_size, files)) / 1e6

    def note(self, key: str, result: FitResult) -> None:
        """Keep the result of a fit that was scored; one that failed may be tried again."""
        if self.folder is None or result.scores is None:
            return
        content = {"fit_time": result.fit_time, "scores": result.scores}
        text = json.dumps({"content": content, "sha256": hash_json(content)})
        replace_file(self._path(key), text.encode())

    def recall(self, key: str) -> FitResult | None:
        """Return the result of a key, if any; None, with a warning, if its file is damaged."""
        if self.folder is None:
            return None
        path = self._path(key)
        try:
            record = read_json(path)
            if record["sha256"] != hash_json(record["content"]):
                raise ValueError("its checksum is wrong")
            return FitResult.of(record["content"]["fit_time"], record["content"]["scores"])
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, OSError) as error:
            warn(f"{path} is damaged ({error}): the fit is done again")
            return None


def folder_of(memory: MemoryLike) -> Path | None:
    """Return the absolute folder of a memory; None keeps nothing.

    Raises TypeError or ValueError if it is no memory, or of another version.
    """
    meant = FitCache.of(memory)
    return None if meant is None else meant.folder.absolute()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # another sweep has deleted it
        return 0

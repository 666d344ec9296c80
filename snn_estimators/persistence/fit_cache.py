"""The `memory` of estimators: finished fits are loaded, and unfinished ones resume.

It is a folder::

    memory/
        memory.json                           the format of the rest
        fits/1f0c....safetensors              a finished fit
        fits/93ab....unfinished.safetensors   the newest state of one that is not

What counts as the same fit
---------------------------
A fit's file is named by its key (see `cache_key`). Of user-defined functions, classes and modules
the code counts, and the globals that it names; what they fetch in other ways (files, ``globals()``,
a changed library) does not. A loaded fit equals a trained one to the bit on the machine and with
the number of threads that the saved one had.

Nothing is kept without an integer seed, under a switch of PyTorch that is not at its default, of a
fit that draws from numpy's or Python's global generators (Python's goes unnoticed on Dask, which
draws from it), and of `partial_fit` on a fitted estimator. A loaded fit runs no callbacks.

When it is saved
----------------
Every `save_every_n_steps`; by default after an epoch, as long as that takes no more than 1 % of the
time. Ctrl-C, which otherwise ends the training alone, is saved and leaves `fit` as a
KeyboardInterrupt, so that it ends a search, too. What cannot be written or read (full disk, damage)
costs a warning and time, never the fit.

Processes that share the folder
-------------------------------
Files are replaced whole and carry a checksum. While one process is at a fit, others that want the
same wait for it; a lock ends with its process, killed or not.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self, TypeAlias

import joblib

from snn_estimators._files import read_json, replace_file, write_file
from snn_estimators._warnings import warn
from snn_estimators.persistence.cache_key import watch_global_generators
from snn_estimators.persistence.checkpointing import Position, Role, Saved, Store, versions
from snn_estimators.persistence.file_lock import hold_lock
from snn_estimators.persistence.model_files import check_keys
from snn_estimators.persistence.training_state import ResumeError, TrainingState
from snn_estimators.text import BaseTokenizer

__all__ = ["CachedFit", "FitCache", "MemoryLike"]

MemoryLike: TypeAlias = str | os.PathLike[str] | joblib.Memory | None

FORMAT = 2
_MARK, _FITS = "memory.json", "fits"
_SCORES = "scores"  # where a sweep keeps those of the fits
_METADATA = {"key": str, "step": int, "planned_steps": int, "vocab_size": int, "split": str}
_SHARE = 0.01  # of a fit's time that may go into saving it unasked
_FIRST = 0.01  # seconds that saving takes, before it is known


class FitCache:
    """The folder of a memory, which need not be there.

    If it holds other things, or is of a newer version, a ValueError is raised.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._fits = folder / _FITS
        self._check()

    @classmethod
    def of(cls, memory: Any) -> Self | None:
        """Return what a `memory` parameter means; None if that keeps nothing.

        Of a `joblib.Memory` it is a folder in its store, which ``clear()`` deletes. What cannot be
        a folder for fits raises a TypeError or ValueError.
        """
        is_joblib = hasattr(memory, "cache") and hasattr(memory, "store_backend")
        place = getattr(memory.store_backend, "location", None) if is_joblib else memory
        if place is None:
            return None
        if not isinstance(place, str | os.PathLike) or not os.fspath(place):
            raise TypeError(
                f"memory must be None, the path of a folder or a joblib.Memory, got {memory!r}."
            )
        if is_joblib and getattr(memory, "backend", "local") != "local":
            raise ValueError(
                f"memory={memory!r} keeps things elsewhere than in a folder: give the path of one."
            )
        folder = Path(place).expanduser()
        return cls(folder / "snn_estimators" if is_joblib else folder)

    def _check(self) -> None:
        store = self.folder / _MARK
        if store.is_file():
            try:
                content = read_json(store)
                check_keys(content, {"format": int}, store)
            except ValueError as error:
                raise ValueError(
                    f"{error} Delete it: the fits are checked each by itself."
                ) from error
            if content["format"] > FORMAT:
                raise ValueError(
                    f"memory={str(self.folder)!r} is from a newer version of "
                    f"snn_estimators (format {content['format']}, this one knows {FORMAT}): "
                    "upgrade, or choose another folder."
                )
        elif (self.folder / "store.json").is_file():
            raise ValueError(
                f"memory={str(self.folder)!r} is from an older version of snn_estimators (format "
                f"1, this one knows {FORMAT}): delete it, or choose another folder."
            )
        elif self.folder.is_dir():
            self._check_unmarked()
        elif self.folder.exists():
            raise ValueError(f"memory={str(self.folder)!r} is no folder: choose another path.")

    def _check_unmarked(self) -> None:
        """Raise ValueError if a folder without the file of its format is not for fits alone."""
        visible = {path.name for path in self.folder.iterdir() if path.name[0] != "."}
        others = sorted(visible - {_FITS, _SCORES, _MARK})  # the latter from a moment ago
        if not others:
            return
        if any((self.folder / _FITS).glob("*.safetensors")):
            some = ", ".join(others[:3]) + (", ..." if others[3:] else "")
            raise ValueError(
                f"memory={str(self.folder)!r} holds kept fits, but its {_MARK} is missing, and "
                f"other things are there ({some}): move those elsewhere, and {_MARK} is made anew, "
                "as each fit is checked by itself; or choose another folder."
            )
        raise ValueError(
            f"memory={str(self.folder)!r} holds other things: choose another folder, or "
            "one that is not there yet."
        )

    def open(self) -> None:
        """Make the folder, unless it is there."""
        store = self.folder / _MARK
        if store.is_file():
            return
        self._fits.mkdir(parents=True, exist_ok=True)
        content = {"format": FORMAT, "versions": versions()}
        with hold_lock(self.folder / ".memory.lock"):
            write_file(store, f"{json.dumps(content)}\n".encode())

    def finished(self, key: str) -> Path:
        """Return the file of a finished fit."""
        return self._fits / f"{key}.safetensors"

    def unfinished(self, key: str) -> Path:
        """Return the file of the newest state of an unfinished fit."""
        return self._fits / f"{key}.unfinished.safetensors"

    def forget(self, key: str) -> None:
        """Delete what there is of a fit."""
        for path in (self.finished(key), self.unfinished(key)):
            path.unlink(missing_ok=True)

    @contextmanager
    def held(self, key: str) -> Iterator[None]:
        """Wait for other processes at a fit, keep others away, and clean up what a kill left."""
        with hold_lock(self._fits / f".{key}.lock"):
            for temporary in self._fits.glob(f".{key}*.tmp"):
                temporary.unlink(missing_ok=True)
            yield


class CachedFit(Store):
    """Saves a fit in a cache, or finds it there, finished or not.

    Opening it waits for others at the same fit. Whatever is wrong with the cache's files costs a
    warning and time, never the fit. The tokenizer is not fitted, as the estimator would fit it.
    """

    def __init__(self, cache: FitCache, key: str, tokenizer: BaseTokenizer | None) -> None:
        self._cache = cache
        self._key = key
        self._tokenizer = tokenizer
        self._open = ExitStack()
        self._is_alone = False
        self._warned: set[str] = set()
        self._saved_at, self._cost = time.monotonic(), _FIRST
        self._was_drawn_from = watch_global_generators()

    def open(self, role: Role) -> Saved | None:
        """Read the finished fit, or wait for others at it and read what there is then."""
        self._cache.open()
        return self._read(self._cache.finished(self._key)) or self._read_alone()

    def _read_alone(self) -> Saved | None:
        """Wait for others at the same fit, and read what they leave."""
        try:
            self._open.enter_context(self._cache.held(self._key))
        except OSError as error:
            self._warn(f"others may do the same fit at the same time: {error}")
        self._is_alone = True
        finished = self._read(self._cache.finished(self._key))
        return finished or self._read(self._cache.unfinished(self._key))

    def close(self, *exception: Any) -> None:
        """Let others at the same fit in."""
        self._open.__exit__(*exception)

    def _read(self, path: Path) -> Saved | None:
        """Read a file; None if there is none, or with a warning if it is damaged."""
        try:
            state = TrainingState.read(path)
            metadata = state.metadata
            check_keys(metadata, _METADATA, path)
            if metadata["key"] != self._key:
                raise ValueError(f"{path} is damaged: it is of another fit.")
            tokenizer = self._restore_tokenizer(metadata.get("tokenizer"))
        except FileNotFoundError:
            return None
        except (OSError, TypeError, ValueError) as error:
            self._warn(f"a file cannot be used, and the fit is done without it: {error}")
            return None
        return Saved(
            metadata["step"],
            metadata["planned_steps"],
            path == self._cache.finished(self._key),
            state,
            tokenizer,
            metadata["vocab_size"],
        )

    def _restore_tokenizer(self, content: Mapping[str, Any] | None) -> BaseTokenizer | None:
        if self._tokenizer is None or content is None:
            return None
        # With its own class, as a worker may know it under no name; with its own parameters, as
        # JSON has no tuples.
        tokenizer = type(self._tokenizer).from_dict(content)
        return tokenizer.set_params(**self._tokenizer.get_params(deep=False))

    def check_begin(self, saved: Saved, metadata: dict[str, Any], role: Role) -> None:
        """Raise ResumeError if the fit was started with another split."""
        if saved.state.metadata["split"] != metadata["split"]:
            raise ResumeError("Its train_split gave other sides: give it a random_state.")

    def fallback(self, saved: Saved, error: ResumeError, role: Role) -> Saved | None:
        """Delete what cannot be resumed from, and have the fit start from scratch."""
        warn(
            f"memory={str(self._cache.folder)!r}: the fit starts from scratch, as it cannot resume "
            f"from its state there. {error}"
        )
        self._cache.forget(self._key)
        return None if self._is_alone else self._read_alone()

    def on_fit_begin(self, net: Any, position: Position) -> None:
        """Measure from now on how long ago the fit was saved."""
        self._saved_at = time.monotonic()

    def on_interrupt(self) -> None:
        """Raise KeyboardInterrupt: skorch swallows it, and a search would score half a fit."""
        raise KeyboardInterrupt(f"The fit was interrupted.{self.resume_hint()}")

    def resume_hint(self) -> str:
        """Return a sentence on how an interrupted fit can be resumed, after a blank."""
        return f" The same fit resumes from its newest state in {self._cache.folder}."

    def is_due(self, net: Any, position: Position, *, epoch_is_over: bool) -> bool:
        """Return whether it is time to save: unasked, as often as it costs no noticeable time."""
        if net.save_every_n_steps is not None:
            return super().is_due(net, position, epoch_is_over=epoch_is_over)
        return epoch_is_over and time.monotonic() - self._saved_at > self._cost / _SHARE

    def save(
        self, net: Any, position: Position, metadata: dict[str, Any], *, finished: bool
    ) -> None:
        """Write the state of the fit, or warn why that is impossible."""
        unsaved = net.unsaved_attributes()
        if unsaved:
            callback, attribute, kind = unsaved[0]
            self._warn(
                f"the fit is not kept, as no file can hold {attribute!r} of the callback "
                f"{callback!r}, a {kind}: if a loaded fit may do without, name it in a class "
                "attribute not_resumed."
            )
            return
        if self._was_drawn_from():
            self._warn(
                "the fit is not kept, as no other equals it: it draws random numbers from numpy's "
                "or Python's global generator. Give a random_state to what draws them."
            )
            return
        started = time.monotonic()
        try:
            own = {
                "key": self._key,
                "step": position.steps,
                "planned_steps": net.planned_steps_,
                "vocab_size": net.vocab_size_,
                "tokenizer": None if self._tokenizer is None else net.tokenizer_.to_dict(),
            }
            state = TrainingState.from_dict(net.training_state_dict(), {**metadata, **own})
            self._write(state.to_bytes(), finished)
        except Exception as error:  # of many kinds: modules hold what no file knows
            self._warn(f"the fit could not be saved, and continues without: {error}")
        self._saved_at = time.monotonic()
        self._cost = self._saved_at - started

    def _write(self, content: bytes, finished: bool) -> None:
        unfinished = self._cache.unfinished(self._key)
        if not finished:
            replace_file(unfinished, content)
            return
        write_file(self._cache.finished(self._key), content)
        unfinished.unlink(missing_ok=True)

    def _warn(self, message: str) -> None:
        """Warn of a problem once a fit."""
        if message not in self._warned:
            self._warned.add(message)
            warn(f"memory={str(self._cache.folder)!r}: {message}")

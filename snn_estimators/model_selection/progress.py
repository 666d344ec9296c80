"""One progress bar over all fits of a search, whatever runs them."""

from __future__ import annotations

import os
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

__all__ = ["CountedScorer", "fit_progress"]

_POLL_SECONDS = 0.2


class CountedScorer:
    """A scorer that leaves a byte in a file whenever it is done.

    Appending one byte is atomic, so any number of processes can count in one file; it is pickled
    by name and needs nothing of joblib's backends. A failing score becomes missing figures and a
    warning, as a failing fit does: scikit-learn would lose the whole search over it.

    Parameters
    ----------
    scoring : callable
        Takes ``(estimator, X, y=None)`` and returns a dict of figures.
    names : sequence of str
        The keys of that dict.
    counter : path
        The file.
    """

    def __init__(self, scoring: Callable[..., dict[str, float]], names: Any, counter: Path) -> None:
        self.scoring = scoring
        self.names = names
        self.counter = counter

    def __call__(self, estimator: Any, X: Any, y: Any = None) -> dict[str, float]:
        """Score, then count."""
        try:
            return self.scoring(estimator, X, y)
        except Exception as error:
            # Warnings of another process are not heard in this one; a file is.
            self._failure.write_text(str(error) or type(error).__name__, "utf-8")
            warnings.warn(f"a candidate could not be scored: {error}", stacklevel=2)
            return dict.fromkeys(self.names, np.nan)
        finally:
            with open(self.counter, "ab") as file:
                file.write(b".")

    @property
    def last_failure(self) -> str | None:
        """What the last failing score said; known until the progress ends."""
        return self._failure.read_text("utf-8") if self._failure.exists() else None

    @property
    def _failure(self) -> Path:
        return self.counter.with_name("failure")


@contextmanager
def fit_progress(
    scoring: Callable[..., dict[str, float]], names: Any, total: int, *, show: bool = True
) -> Iterator[CountedScorer]:
    """Show how many of a search's fits are done while the block runs.

    Parameters
    ----------
    scoring : callable
    names : sequence of str
        Both as in `CountedScorer`.
    total : int
        Number of fits: candidates times folds.
    show : bool, default=True
        Whether there is a bar at all.

    Yields
    ------
    CountedScorer
        To be given to the search in place of `scoring`.

    Examples
    --------
    >>> with fit_progress(lambda estimator, X, y: {"r": 1.0}, ["r"], 1, show=False) as scorer:
    ...     scorer(None, [])
    {'r': 1.0}
    """
    with tempfile.TemporaryDirectory(prefix="snn-estimators-") as folder:
        counter = Path(folder) / "done"
        counter.touch()
        bar = tqdm(total=total, unit="fit", desc="sweep", disable=not show)
        stop = threading.Event()

        def follow() -> None:
            while not stop.wait(_POLL_SECONDS):
                _advance(bar, os.path.getsize(counter))

        watcher = threading.Thread(target=follow, daemon=True)
        watcher.start()
        try:
            yield CountedScorer(scoring, names, counter)
        finally:
            stop.set()
            watcher.join()
            _advance(bar, os.path.getsize(counter))
            bar.close()


def _advance(bar: Any, done: int) -> None:
    if done > bar.n:
        bar.update(done - bar.n)

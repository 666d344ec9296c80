"""Warnings that point to the user's line, however deep in the package they arise."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

__all__ = ["warn", "warn_once"]

_PACKAGE = str(Path(__file__).parent)
_issued: set[str] = set()


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Issue a warning from the innermost frame outside of this package."""
    level, frame = 2, sys._getframe(1)
    while frame.f_code.co_filename.startswith(_PACKAGE) and frame.f_back is not None:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


def warn_once(message: str, category: type[Warning] = UserWarning) -> None:
    """Issue a warning as `warn` does, but once a process, however many fits there are."""
    if message not in _issued:
        _issued.add(message)
        warn(message, category)

"""How much a sweep may do before it stops, to be resumed later."""

from __future__ import annotations

import re
import time

from snn_estimators._validation import is_whole

__all__ = ["Budget"]

_UNITS = {"s": 1, "min": 60, "h": 3600, "d": 86400}
_TIME = re.compile(r"(\d+(?:\.\d+)?)\s*(s|min|h|d)")


class Budget:
    """A number of fits, or a time such as "90s", "30min", "2h" or "1d"; None is no limit.

    Examples
    --------
    >>> budget = Budget(1)
    >>> budget.take(), budget.take()
    (True, False)
    >>> Budget("1.5h").seconds
    5400.0
    >>> Budget("soon")
    Traceback (most recent call last):
    ...
    ValueError: budget must be a number of fits, or a time such as "30min" or "2h", got 'soon'
    """

    def __init__(self, limit: int | str | None) -> None:
        self.fits: int | None = None
        self.seconds: float | None = None
        match = _TIME.fullmatch(limit.strip()) if isinstance(limit, str) else None
        if isinstance(limit, str) and limit.strip().isdecimal():
            limit = int(limit)
        if match:
            self.seconds = float(match[1]) * _UNITS[match[2]]
        elif is_whole(limit, 1):
            self.fits = int(limit)
        elif limit is not None:
            raise ValueError(
                f'budget must be a number of fits, or a time such as "30min" or "2h", got {limit!r}'
            )
        self._taken = 0
        self._started = time.monotonic()
        self.spent = False

    def take(self) -> bool:
        """Return whether one more fit may start, and count it."""
        self.spent = (self.fits is not None and self._taken >= self.fits) or (
            self.seconds is not None and time.monotonic() - self._started >= self.seconds
        )
        self._taken += not self.spent
        return not self.spent

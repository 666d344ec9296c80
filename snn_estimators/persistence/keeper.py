"""Whoever follows a fit from outside of its callbacks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch.utils.data import Dataset

__all__ = ["Keeper"]


class Keeper:
    """Hears of each step and epoch of a fit once all callbacks have; this one does nothing.

    What it saves then includes what the callbacks know.
    """

    def __reduce__(self) -> Any:
        return Keeper, ()  # nobody follows the copy of a net in mid-fit

    def fit_begun(self, net: Any, split: Sequence[Dataset | None]) -> None:
        """Hear that the callbacks have begun, and which data go into training and validation.

        Here a `TrainingState` may be restored, for the fit to go on from there.
        """

    def step_ended(self, net: Any) -> None:
        """Hear that a step is over."""

    def epoch_ended(self, net: Any) -> None:
        """Hear that an epoch and its validation are over."""

    def fit_ended(self, net: Any) -> None:
        """Hear that the fit is over, complete or interrupted."""

    def fit_failed(self, net: Any, error: BaseException) -> None:
        """Hear that an exception is about to leave the fit."""

    def way_on(self) -> str:
        """Return a sentence on how an interrupted fit can go on, after a blank."""
        return ""

"""The roles of several processes in one fit: all stop at the same step, and one of them writes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from snn_estimators.distributed.process_group import ProcessGroup
from snn_estimators.persistence.checkpointing import Interrupt, Role

__all__ = ["GroupInterrupt", "GroupRole"]

_Result = TypeVar("_Result")


class GroupInterrupt(Interrupt):
    """Ctrl-C in any of the processes, for all of them at the end of the same step.

    Attributes
    ----------
    noted : bool
        Whether it came in this process; it is `pending` as soon as all know.
    """

    def __init__(self) -> None:
        super().__init__()
        self.noted = False

    def _note(self, *_: Any) -> None:
        self.noted = True  # however often: a launcher repeats what the terminal has sent already

    def raise_pending(self) -> None:
        """Raise the KeyboardInterrupt that was held back."""
        self.noted = False
        super().raise_pending()

    def __exit__(self, *exception: Any) -> None:
        self.pending |= self.noted
        super().__exit__(*exception)


class GroupRole(Role):
    """A process among others: the first one leads, reads and writes, and the others follow.

    Parameters
    ----------
    processes : ProcessGroup
    """

    is_alone = False

    def __init__(self, processes: ProcessGroup) -> None:
        self._processes = processes
        self.writes = processes.is_main

    def interrupt(self) -> Interrupt:
        """Return what holds back Ctrl-C until all processes are at the end of the same step."""
        return GroupInterrupt()

    def from_main(self, action: Callable[[], _Result]) -> _Result:
        """Call something in the process that leads, and return its result in all."""
        return self._processes.from_main(action)

    def any_failed(self, failed: bool) -> bool:
        """Return whether any of the processes failed."""
        return self._processes.any_true(failed)

    def describe(self) -> dict[str, Any]:
        """Return how many processes train."""
        return {"processes": self._processes.count}

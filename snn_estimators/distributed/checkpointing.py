"""A fit of several processes: all stop at the same step, one saves, all go on from there."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Self

from torch.utils.data import Dataset

from snn_estimators.distributed.process_group import ProcessGroup
from snn_estimators.persistence.checkpointing import Interrupt, Saved, SavedFit
from snn_estimators.persistence.named_run import RunCheckpointer
from snn_estimators.persistence.run_folder import RunFolder

__all__ = ["FollowingFit", "LeadingFit", "UnsavedFit"]


class _SharedInterrupt(Interrupt):
    """Ctrl-C in any of the processes, for all of them at the end of the same step."""

    def __init__(self) -> None:
        super().__init__()
        self.noted = False  # here; pending as soon as all know

    def _note(self, *_: Any) -> None:
        self.noted = True  # however often: a launcher repeats what the terminal has sent already

    def raise_pending(self) -> None:
        """Be the KeyboardInterrupt that was held back."""
        self.noted = False
        super().raise_pending()

    def __exit__(self, *exception: Any) -> None:
        self.pending |= self.noted
        super().__exit__(*exception)


class UnsavedFit(SavedFit):
    """Holds back Ctrl-C, and saves nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.interrupt = _SharedInterrupt()

    def __enter__(self) -> Self:
        return self

    def _save(self, net: Any, *, finished: bool = False) -> None:
        pass


class LeadingFit(RunCheckpointer):
    """The named fit of process 0, which tells the others what it has read.

    Parameters
    ----------
    estimator : LanguageModel
    run : RunFolder
    processes : ProcessGroup
    """

    def __init__(self, estimator: Any, run: RunFolder, processes: ProcessGroup) -> None:
        super().__init__(estimator, run)
        self.interrupt = _SharedInterrupt()
        self._processes = processes
        self._about["parameters"]["processes"] = processes.count

    def _newest(self) -> Saved | None:
        return self._processes.from_main(super()._newest)


class FollowingFit(LeadingFit):
    """The same named fit in another process: it goes on from where that one does, without files."""

    def _held(self) -> AbstractContextManager[None]:
        return nullcontext()

    def _go_on(self, net: Any, saved: Saved) -> None:
        self._about["device"] = saved.state.about["device"]  # it is another one by intention
        super()._go_on(net, saved)

    def fit_begun(self, net: Any, split: Sequence[Dataset | None]) -> None:
        """Put the net where the saved fit stood, and hold back Ctrl-C."""
        SavedFit.fit_begun(self, net, split)

    def step_ended(self, net: Any) -> None:
        """Stop if it is time to."""
        SavedFit.step_ended(self, net)

    def epoch_ended(self, net: Any) -> None:
        """Stop if it is time to."""
        SavedFit.epoch_ended(self, net)

    def fit_failed(self, net: Any, error: BaseException) -> None:
        """Leave it to process 0 to tell."""

    def _save(self, net: Any, *, finished: bool = False) -> None:
        pass

"""A fit that saves itself while it trains, wherever that may be, and goes on from what it saved."""

from __future__ import annotations

import signal
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple, Self

import torch
from torch.utils.data import Dataset

from snn_estimators._version import __version__
from snn_estimators.persistence.code_hash import installed
from snn_estimators.persistence.hashing import hash_split
from snn_estimators.persistence.keeper import Keeper
from snn_estimators.persistence.training_state import TrainingState
from snn_estimators.text import BaseTokenizer, Ids

__all__ = ["Interrupt", "Saved", "SavedFit", "versions"]


class Saved(NamedTuple):
    """What a fit saved last, read."""

    step: int
    planned_steps: int
    finished: bool
    """Whether there is nothing left to train."""
    state: TrainingState
    tokenizer: BaseTokenizer | None
    """Fitted."""
    vocab_size: int


def versions() -> dict[str, str]:
    """Return the versions of what computes a fit's numbers.

    PyTorch trains and draws; numba compiles the kernels on CPUs; skorch has the loop and the order
    of the batches; scikit-learn and numpy make seeds, splits and scores. pandas, joblib and the
    rest only carry things about. Python itself computes nothing.
    """
    others = {name: installed(name) for name in ("numba", "skorch", "scikit-learn", "numpy")}
    found = {name: version for name, version in others.items() if version is not None}
    return {"snn_estimators": __version__, "torch": torch.__version__, **found}


class SavedFit(Keeper):
    """Base of the keepers that save; a subclass knows where (`_save`) and whether it may go on.

    By default it saves after each epoch or every ``save_every_n_steps``, at the end, and at the
    first Ctrl-C, which therefore waits for the end of a step.

    Attributes
    ----------
    saved : Saved or None
        Where to go on from, until the fit has begun.
    """

    saved: Saved | None = None

    def __init__(self) -> None:
        self._about: dict[str, Any] = {}  # what a state tells of the fit that it belongs to
        self._open = ExitStack()
        self.interrupt = Interrupt()

    def __exit__(self, *exception: Any) -> None:
        self._open.__exit__(*exception)

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to train."""
        return self.saved is not None and self.saved.finished

    def tokens(self, documents: Any) -> Sequence[Ids]:
        """Return the ids of documents by the saved tokenizer."""
        assert self.saved is not None
        tokenizer = self.saved.tokenizer
        return documents if tokenizer is None else tokenizer.transform(documents)

    def check_data(self, tokens: Sequence[Ids]) -> None:
        """Note which data the fit is on, or refuse other data than before."""

    def restore_finished(self, net: Any) -> Any:
        """Make an initialized net what it was at the end of the fit, and return it."""
        assert self.saved is not None
        net.planned_steps_ = self.saved.planned_steps
        net.interrupted_ = False
        self.saved.state.restore(net, training=False)
        net._update_counters()
        return net

    # What the fit tells

    def fit_begun(self, net: Any, split: Sequence[Dataset | None]) -> None:
        """Put the net where the saved fit stood, and hold back Ctrl-C."""
        self._about |= {"split": hash_split(split), "device": _place(net._device)}
        if self.saved is not None:
            saved, self.saved = self.saved, None  # its tensors are not needed any more
            self._go_on(net, saved)
        self._open.enter_context(self.interrupt)

    def step_ended(self, net: Any) -> None:
        """Save if it is time to."""
        if self.interrupt.pending:
            self._save(net)
            self.interrupt.raise_pending()
        # At the end of an epoch its validation comes first, and saving once is enough.
        if net._position.batches < net._epoch_length and self._is_due(net, epoch_is_over=False):
            self._save(net)

    def epoch_ended(self, net: Any) -> None:
        """Save if it is time to, except after the last epoch: `fit_ended` will."""
        if self.interrupt.pending:
            self._save(net)
            self.interrupt.raise_pending()
        if net._position.steps < net.planned_steps_ and self._is_due(net, epoch_is_over=True):
            self._save(net)

    def fit_ended(self, net: Any) -> None:
        """Save what is finished; not if the fit was interrupted."""
        if net.interrupted_:
            self.interrupt.pending = False  # it has happened
        else:
            self._save(net, finished=True)

    # What a subclass may do in its own way

    def _go_on(self, net: Any, saved: Saved) -> None:
        saved.state.restore(net)

    def _is_due(self, net: Any, *, epoch_is_over: bool) -> bool:
        every = net.save_every_n_steps
        return epoch_is_over if every is None else net._position.steps % every == 0

    def _save(self, net: Any, *, finished: bool = False) -> None:
        raise NotImplementedError


class Interrupt:
    """Notes the first Ctrl-C for the end of a step; the second one is Python's own."""

    def __init__(self) -> None:
        self.pending = False

    def __enter__(self) -> Self:
        self._former: Any = None
        if threading.current_thread() is threading.main_thread():
            self._former = signal.getsignal(signal.SIGINT)
        # A program that has its own way with Ctrl-C keeps it.
        if self._former is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._note)
        return self

    def _note(self, *_: Any) -> None:
        self.pending = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def raise_pending(self) -> None:
        """Be the KeyboardInterrupt that was held back."""
        self.pending = False
        raise KeyboardInterrupt

    def __exit__(self, *exception: Any) -> None:
        if self._former is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if self.pending and exception[0] is None:
            self.raise_pending()  # too late for a step to hear of it


def _place(device: torch.device) -> str:
    """Describe what the last bits of a sum depend on."""
    if device.type != "cpu":
        return str(device)
    threads = torch.get_num_threads()
    return f"{device} ({threads} thread{'s' if threads > 1 else ''})"

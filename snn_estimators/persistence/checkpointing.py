"""When a fit is saved, what Ctrl-C does meanwhile, and how a fit resumes.

A `Checkpointer` observes the training loop of a net. It is made of two parts:

* a *store* knows where a fit is saved: `NamedRun` in the numbered checkpoints of a named fit,
  `CachedFit` in a cache of fits; without a store nothing is saved;
* a *role* knows what the process does: `Role` trains alone, others lead or follow (see
  `snn_estimators.distributed`).

The net has to offer ``training_state_dict()`` and ``load_training_state_dict(state)``.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, NamedTuple, Self, TypeVar

import torch
from torch.utils.data import Dataset

from snn_estimators._torch import GeneratorStates
from snn_estimators._version import __version__
from snn_estimators.persistence.code_hash import installed
from snn_estimators.persistence.hashing import hash_split
from snn_estimators.persistence.training_state import ResumeError, TrainingState
from snn_estimators.text import BaseTokenizer, Ids

__all__ = ["Checkpointer", "Interrupt", "Position", "Role", "Saved", "Store", "versions"]

_Result = TypeVar("_Result")


@dataclass
class Position:
    """How far a fit has come, and what its last step was."""

    epochs: int = 0  # that are over, their validation included
    batches: int = 0  # of the epoch that has begun; 0 between two epochs
    steps: int = 0  # of the whole fit
    # From which the batches of the epoch that has begun can be drawn again.
    epoch_start: GeneratorStates | None = None
    last_batch: str = ""  # hash of the epoch's latest batch, to check that they were
    epoch_length: int = 0  # in batches
    lr: float = 0.0  # of the last step
    n_tokens: int = 0  # targets of the last step

    @property
    def epoch_is_over(self) -> bool:
        """Whether the last step was the last one of its epoch."""
        return self.batches >= self.epoch_length


class Saved(NamedTuple):
    """What a fit saved last, read."""

    step: int
    planned_steps: int
    finished: bool  # nothing is left to train
    state: TrainingState
    tokenizer: BaseTokenizer | None  # fitted
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


class Interrupt:
    """Notes the first Ctrl-C for the end of a step; the second one is Python's own."""

    def __init__(self) -> None:
        self.pending = False

    def __enter__(self) -> Self:
        self._former: Any = None
        if threading.current_thread() is threading.main_thread():
            self._former = signal.getsignal(signal.SIGINT)
        # A program that handles Ctrl-C itself keeps its handler.
        if self._former is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._note)
        return self

    def _note(self, *_: Any) -> None:
        self.pending = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def raise_pending(self) -> None:
        """Raise the KeyboardInterrupt that was held back."""
        self.pending = False
        raise KeyboardInterrupt

    def __exit__(self, *exception: Any) -> None:
        if self._former is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if self.pending and exception[0] is None:
            self.raise_pending()  # too late for a step to notice it


class Role:
    """What a process does in a fit: this one trains alone, and writes what is saved."""

    writes = True
    is_alone = True

    def interrupt(self) -> Interrupt:
        """Return what holds back Ctrl-C until the end of a step."""
        return Interrupt()

    def from_main(self, action: Callable[[], _Result]) -> _Result:
        """Call something in the process that writes, and return its result in all."""
        return action()

    def any_failed(self, failed: bool) -> bool:
        """Return whether any of the processes failed."""
        return failed

    def describe(self) -> dict[str, Any]:
        """Return what a fit's parameters do not say: how many processes train it."""
        return {}


class Store:
    """Where a fit is saved: a base class that saves nothing and finds nothing.

    The methods are called in this order: `open`, `check_data`, `check_begin`, `on_fit_begin`, then
    for each step and epoch `on_step_end` or `on_epoch_end`, `is_due` and perhaps `save`; `close` at
    the end.
    """

    compares_data = False  # a cache need not: its key has the documents

    def open(self, role: Role) -> Saved | None:
        """Lock the place, and read what is there."""
        return None

    def close(self, *exception: Any) -> None:
        """Release what `open` and `on_fit_begin` have taken."""

    def check_data(self, saved: Saved | None, documents_hash: str) -> None:
        """Raise ValueError if the fit was started with other documents."""

    def check_begin(self, saved: Saved, metadata: dict[str, Any], role: Role) -> None:
        """Raise an error if the fit was started with another split."""

    def fallback(self, saved: Saved, error: ResumeError, role: Role) -> Saved | None:
        """Return what to resume from instead of a state that does not fit; None is from scratch."""
        raise error

    def on_fit_begin(self, net: Any, position: Position) -> None:
        """Prepare for the first step."""

    def on_step_end(self, net: Any, position: Position) -> None:
        """Log a step."""

    def on_epoch_end(self, net: Any, position: Position) -> None:
        """Log an epoch, whose validation is over."""

    def is_due(self, net: Any, position: Position, *, epoch_is_over: bool) -> bool:
        """Return whether it is time to save: after an epoch, or ``save_every_n_steps``."""
        every = net.save_every_n_steps
        return epoch_is_over if every is None else position.steps % every == 0

    def save(
        self, net: Any, position: Position, metadata: dict[str, Any], *, finished: bool
    ) -> None:
        """Write the state of the fit."""

    def on_interrupt(self) -> None:
        """Act on a fit that Ctrl-C has ended, when everything is closed."""

    def on_error(self, error: BaseException, position: Position) -> None:
        """Log an exception that ends the fit."""

    def resume_hint(self) -> str:
        """Return a sentence on how an interrupted fit can be resumed, after a blank."""
        return ""


class Checkpointer:
    """Saves a fit while it trains, and restores what an earlier one has saved.

    It is called after all callbacks, so what it saves includes their state. Enter it before the
    fit: that locks the store and reads what is there. It saves when the store says so, at the end,
    and at the first Ctrl-C, which therefore waits for the end of a step. By default it saves
    nowhere and trains alone.
    """

    def __init__(self, store: Store | None = None, role: Role | None = None) -> None:
        self._saves = store is not None
        self._store = store or Store()
        self._role = role or Role()
        self._metadata: dict[str, Any] = {}
        self._open = ExitStack()
        self._was_interrupted = False
        self.interrupt = self._role.interrupt()
        self.saved: Saved | None = None  # where to resume from, until the fit has begun

    def __reduce__(self) -> Any:
        return Checkpointer, ()  # the copy of a net in mid-fit is not saved

    def __enter__(self) -> Self:
        self._open.push(self._store.close)
        try:
            self.saved = self._store.open(self._role)
        except BaseException:
            self._open.close()
            raise
        return self

    def __exit__(self, *exception: Any) -> None:
        self._open.__exit__(*exception)
        if self._was_interrupted and exception[0] is None:
            self._store.on_interrupt()

    # Before the fit

    def tokenize(self, documents: Any) -> Sequence[Ids]:
        """Return the ids of documents by the saved tokenizer."""
        assert self.saved is not None
        tokenizer = self.saved.tokenizer
        try:
            return documents if tokenizer is None else tokenizer.encode(documents)
        except ValueError:
            self._store.check_data(self.saved, "")  # other documents, most likely
            raise

    def check_data(self, documents_hash: Callable[[], str]) -> None:
        """Note which documents the fit is on, or raise ValueError if it was started with others."""
        if self._store.compares_data:
            self._metadata["data"] = documents_hash()
            self._store.check_data(self.saved, self._metadata["data"])

    def check_fit(self, misfit: Callable[[int, Mapping[str, Sequence[int]]], str | None]) -> None:
        """Turn down what is saved if the module to be built does not fit the saved weights.

        `misfit` says in what it differs, of a size of the vocabulary and the weights' shapes.
        """

        def check(saved: Saved) -> None:
            shapes = {name: tensor.shape for name, tensor in saved.state.weights().items()}
            phrase = misfit(saved.vocab_size, shapes)
            if phrase is not None:
                raise ResumeError(f"The weights do not fit the module: {phrase}.")

        while self.saved is not None and not self._loads(self.saved, check):
            pass

    def restore_finished(self, net: Any) -> bool:
        """Make an initialized net what it was at the end of the fit, if that has been saved."""

        def load(saved: Saved) -> None:
            net.load_training_state_dict(saved.state.to_dict())
            net.planned_steps_, net.interrupted_ = saved.planned_steps, False

        while self.saved is not None and self.saved.finished:
            if self._loads(self.saved, load):
                return True
        return False

    def _loads(self, saved: Saved, load: Callable[[Saved], None]) -> bool:
        """Load a state; if it does not fit, turn to what the store has instead of it."""
        error: ResumeError | None = None
        try:
            load(saved)
        except ResumeError as failure:
            error = failure
        if not self._role.any_failed(error is not None):
            return True
        if error is None:
            error = ResumeError("The state does not fit in another process.")
        self.saved = self._store.fallback(saved, error, self._role)
        if self.saved is not None and "data" in self._metadata:
            self._store.check_data(self.saved, self._metadata["data"])
        return False

    # What the training loop calls

    def on_fit_begin(self, net: Any, position: Position, split: Sequence[Dataset | None]) -> None:
        """Put the net where the saved fit stood, and hold back Ctrl-C; the callbacks have begun."""
        if not self._saves and self._role.is_alone:
            return
        self._metadata |= {"split": hash_split(split), "device": _describe(net.device_)}

        def load(saved: Saved) -> None:
            self._store.check_begin(saved, self._metadata, self._role)
            net.load_training_state_dict(saved.state.to_dict(), split[0])

        while self.saved is not None:
            saved, self.saved = self.saved, None  # its tensors are not needed any more
            if self._loads(saved, load):
                break
        if self._role.writes:
            self._store.on_fit_begin(net, position)
        self._open.enter_context(self.interrupt)

    def on_step_end(self, net: Any, position: Position) -> None:
        """Save if it is time to."""
        if self._role.writes:
            self._store.on_step_end(net, position)
        self._raise_interrupt(net, position)
        # At the end of an epoch its validation comes first, and saving once is enough.
        if not position.epoch_is_over and self._store.is_due(net, position, epoch_is_over=False):
            self._save(net, position)

    def on_epoch_end(self, net: Any, position: Position) -> None:
        """Save if it is time to, except after the last epoch: `on_fit_end` will."""
        if self._role.writes:
            self._store.on_epoch_end(net, position)
        self._raise_interrupt(net, position)
        is_last = position.steps >= net.planned_steps_
        if not is_last and self._store.is_due(net, position, epoch_is_over=True):
            self._save(net, position)

    def on_fit_end(self, net: Any, position: Position) -> None:
        """Save what is finished; not if the fit was interrupted."""
        if net.interrupted_:
            self.interrupt.pending, self._was_interrupted = False, True  # it has been raised
        else:
            self._save(net, position, finished=True)

    def on_error(self, error: BaseException, position: Position) -> None:
        """Log an exception that ends the fit."""
        if self._role.writes:
            self._store.on_error(error, position)

    def resume_hint(self) -> str:
        """Return a sentence on how an interrupted fit can be resumed, after a blank."""
        return self._store.resume_hint()

    def _raise_interrupt(self, net: Any, position: Position) -> None:
        if self.interrupt.pending:
            self._save(net, position)
            self.interrupt.raise_pending()

    def _save(self, net: Any, position: Position, *, finished: bool = False) -> None:
        if self._role.writes:
            self._store.save(net, position, self._metadata, finished=finished)


def _describe(device: torch.device) -> str:
    """Describe what the last bits of a sum depend on."""
    if device.type != "cpu":
        return str(device)
    threads = torch.get_num_threads()
    return f"{device} ({threads} thread{'s' if threads > 1 else ''})"

"""A fit that saves itself under a name while it trains, and goes on where it was cut off."""

from __future__ import annotations

import signal
import threading
import time
import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
from torch.utils.data import Dataset

from snn_estimators._version import __version__
from snn_estimators.estimators.checkpoints import LOG, STATE, Run, Summary, check_name
from snn_estimators.estimators.data import IGNORED, Ids
from snn_estimators.estimators.fingerprints import (
    describe_parameters,
    differences,
    digest,
    digest_of_split,
)
from snn_estimators.estimators.folders import OtherKindError, models_home
from snn_estimators.estimators.keeper import Keeper
from snn_estimators.estimators.model_files import (
    check_keys,
    read_config,
    read_tokenizer,
    write_model,
)
from snn_estimators.estimators.resumption import TrainingState, unkept_attributes
from snn_estimators.estimators.steplog import StepLog
from snn_estimators.text import BaseTokenizer

__all__ = ["NamedFit", "refuse_taken_name"]

_ABOUT = {"parameters": dict, "versions": dict, "data": str, "split": str, "device": str}


class Saved(NamedTuple):
    """A checkpoint, read."""

    summary: Summary
    state: TrainingState
    tokenizer: BaseTokenizer | None
    vocab_size: int


def refuse_taken_name(name: str, resume: bool) -> Run:
    """Return the folder of a fit that may be started, or gone on with if `resume`.

    Raises
    ------
    ValueError
        If it is no name, or there is a saved model of that name, or a fit that is not to be
        resumed.
    """
    check_name(name)
    run = Run(models_home() / name)
    remedy = "choose another name"
    if run.folder.exists() and not run.checkpoints.is_dir():
        raise ValueError(f"The name {name!r} is taken by {run.folder}, no named fit: {remedy}.")
    if run.steps() and not resume:
        raise ValueError(
            f"The name {name!r} is taken: there is a fit in {run.folder}, at step "
            f"{run.steps()[-1]}. Go on with it by resume=True, or {remedy}."
        )
    return run


class NamedFit(Keeper):
    """Saves checkpoints and a log of a fit, and starts from the newest checkpoint if there is one.

    Enter it before the fit: that locks the folder, and reads what there is.

    Parameters
    ----------
    estimator : LanguageModel
    run : Run

    Attributes
    ----------
    saved : Saved or None
        Where to go on from.

    Raises
    ------
    ValueError
        On entering, if the folder is in use, all checkpoints are damaged, or they are of an
        estimator with other parameters.
    """

    saved: Saved | None = None

    def __init__(self, estimator: Any, run: Run) -> None:
        self.run = run
        self._estimator = estimator
        self._about: dict[str, Any] = {
            "parameters": describe_parameters(estimator),
            "versions": {"snn_estimators": __version__, "torch": torch.__version__},
        }
        self._open = ExitStack()
        self._log: StepLog | None = None
        self._interrupt = _Interrupt()
        self._told: set[tuple[str, str, str]] = set()
        self._validated_at = -1  # a step
        self._valid_loss: float | None = None

    def __enter__(self) -> Self:
        with ExitStack() as open_until_here:
            open_until_here.enter_context(self.run.held())
            self.saved = self._newest()
            if self.saved is not None:
                self._refuse_another_estimator(self.saved)
            self._open = open_until_here.pop_all()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._open.__exit__(*exception)

    # Going on

    def _newest(self) -> Saved | None:
        """Read the newest checkpoint that is whole, and warn of those that are not."""
        problems = []
        for step in reversed(self.run.steps()):
            try:
                saved = self._read(self.run.checkpoint(step))
            except OtherKindError as error:
                raise ValueError(
                    f"The fit {self.run.name!r} cannot go on here: {error} Choose another name."
                ) from error
            except (OSError, ValueError) as error:
                problems.append(f"{error}")
                continue
            if problems:
                warnings.warn(
                    f"The fit {self.run.name!r} goes on from step {step}, as what is newer cannot "
                    f"be read: {' '.join(problems)}",
                    UserWarning,
                    stacklevel=5,
                )
            return saved
        if problems:
            raise ValueError(
                f"No checkpoint of the fit {self.run.name!r} can be read; delete {self.run.folder} "
                f"to begin again. {' '.join(problems)}"
            )
        return None

    def _read(self, folder: Path) -> Saved:
        config = read_config(folder, type(self._estimator).__name__)
        size = config["vocab_size"]
        state = TrainingState.read(folder / STATE)
        check_keys(state.about, _ABOUT, folder / STATE)
        return Saved(
            Summary.read(folder),
            state,
            read_tokenizer(folder, size) if config["has_tokenizer"] else None,
            size,
        )

    def _refuse_another_estimator(self, saved: Saved) -> None:
        before = saved.state.about
        changed = differences(before["parameters"], self._about["parameters"])
        if changed:
            further = (
                f" To train further than was planned, use from_pretrained({self.run.name!r}) and "
                "partial_fit."
                if any(phrase.startswith(("max_epochs", "max_steps")) for phrase in changed)
                else ""
            )
            raise ValueError(
                f"The fit {self.run.name!r} cannot go on with other parameters: "
                f"{', '.join(changed)}. Set them as they were, or choose another name.{further}"
            )
        if before["versions"] != self._about["versions"]:
            warnings.warn(
                f"The fit {self.run.name!r} was begun with {before['versions']} and goes on with "
                f"{self._about['versions']}: it may not equal an uninterrupted one to the bit.",
                UserWarning,
                stacklevel=5,
            )

    def tokens(self, documents: Any) -> Sequence[Ids]:
        """Return the ids of documents by the saved tokenizer.

        Raises
        ------
        ValueError
            If these are not the documents of the fit so far.
        """
        assert self.saved is not None
        tokenizer = self.saved.tokenizer
        try:
            tokens = documents if tokenizer is None else tokenizer.transform(documents)
        except ValueError as error:
            raise ValueError(f"{self._other('X')} ({error})") from error
        self.see(tokens)
        return tokens

    def see(self, tokens: Sequence[Ids]) -> None:
        """Note which data the fit is on, or refuse other data than before; see `tokens`."""
        self._about["data"] = digest(list(tokens))
        if self.saved is not None and self.saved.state.about["data"] != self._about["data"]:
            raise ValueError(self._other("X"))

    def _other(self, what: str) -> str:
        return (
            f"The fit {self.run.name!r} was begun with another {what}, and cannot go on with this "
            f"one: give the same {what} as before, or choose another name."
        )

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to train."""
        return self.saved is not None and self.saved.summary.finished

    def restore_finished(self, net: Any) -> None:
        """Make an initialized net what it was at the end of the fit."""
        assert self.saved is not None
        net.planned_steps_ = self.saved.summary.planned_steps
        net.interrupted_ = False
        self.saved.state.restore(net, training=False)
        net._take_stock()

    # What the fit tells

    def fit_begun(self, net: Any, split: Sequence[Dataset | None]) -> None:
        """Put the net where the saved fit stood, open the log, and hold back Ctrl-C."""
        self._about |= {"split": digest_of_split(split), "device": str(net._device)}
        step = 0
        if self.saved is not None:
            step, state = self.saved.summary.step, self.saved.state
            if state.about["split"] != self._about["split"]:
                raise ValueError(
                    f"{self._other('train_split')} Give it a random_state if it has none."
                )
            if state.about["device"] != self._about["device"]:
                warnings.warn(
                    f"The fit {self.run.name!r} was begun on {state.about['device']} and goes on "
                    f"on {self._about['device']}: it will not equal an uninterrupted one.",
                    UserWarning,
                    stacklevel=7,
                )
            try:
                state.restore(net)
            except ValueError as error:
                checkpoint = self.run.checkpoint(step)
                raise ValueError(f"{error} Delete {checkpoint} to go on without it.") from error
            self.saved = None  # its tensors are not needed any more
        best = self.run.best(step)
        self._best = best[0] if best else float("inf")
        self._warn_of_unkept(net)
        self._log = self._open.enter_context(StepLog(self.run.folder / LOG, step))
        self._open.enter_context(self._interrupt)
        self._clock = time.perf_counter()

    def step_ended(self, net: Any) -> None:
        """Write the step's row of the log, and a checkpoint if one is due."""
        assert self._log is not None
        row, step = net.history[-1]["batches"][-1], net._position.steps
        n_tokens = int((net._last_batch[1] != IGNORED).sum())
        speed = n_tokens / max(time.perf_counter() - self._clock, 1e-9)
        self._log.add(step, row["train_loss"], net._step_lr, speed)
        improved = self._validated(step, row.get("step_valid_loss"))
        every = net.save_every_n_steps
        if self._interrupt.pending:
            self._save(net)
            self._interrupt.happen()
        # At the end of an epoch its validation comes first, and one checkpoint is enough.
        if net._position.batches < net._epoch_length:
            self._log.complete(row.get("step_valid_loss"))
            if improved or (every is not None and step % every == 0):
                self._save(net)
        self._improved = improved
        self._clock = time.perf_counter()

    def epoch_ended(self, net: Any) -> None:
        """Write a checkpoint if one is due, except after the last epoch: `fit_ended` will."""
        assert self._log is not None
        step, every = net._position.steps, net.save_every_n_steps
        improved = self._validated(step, net.history[-1].get("valid_loss")) or self._improved
        self._log.complete(self._valid_loss if self._validated_at == step else None)
        if self._interrupt.pending:
            self._save(net)
            self._interrupt.happen()
        if step < net.planned_steps_ and (improved or every is None or step % every == 0):
            self._save(net)
        self._clock = time.perf_counter()

    def fit_ended(self, net: Any) -> None:
        """Write the last checkpoint, marked as finished; not if the fit was interrupted."""
        if net.interrupted_:
            self._interrupt.pending = False  # it has happened
        else:
            self._save(net, finished=True)

    def fit_failed(self, net: Any, error: BaseException) -> None:
        """Leave the exception's traceback in error.log."""
        if isinstance(error, Exception):
            self.run.log_error(error, net._position.steps)

    def way_on(self) -> str:
        """Return how an interrupted fit goes on."""
        steps = self.run.steps()
        where = f"from step {steps[-1]}" if steps else "from its beginning"
        return f" fit(X, resume=True) goes on with {self.run.name!r} {where}."

    # Saving

    def _validated(self, step: int, loss: float | None) -> bool:
        """Note a validation loss, if there was one; tell whether it is the best so far."""
        if loss is None:
            return False
        self._validated_at, self._valid_loss = step, loss
        improved = loss < self._best
        self._best = min(loss, self._best)
        return improved

    def _save(self, net: Any, *, finished: bool = False) -> None:
        step = net._position.steps
        net._take_stock()
        batches = [row for row in net.history[-1]["batches"] if "train_loss" in row]
        summary = Summary(
            step=step,
            planned_steps=net.planned_steps_,
            finished=finished,
            train_loss=batches[-1]["train_loss"] if batches else None,
            valid_loss=self._valid_loss if self._validated_at == step else None,
        )
        state = TrainingState.capture(net, self._about)
        self._warn_of_unkept(net)

        def write(draft: Path) -> None:
            argument = f'"{self.run.name}", checkpoint={step}'
            write_model(net, draft, f"{self.run.name}, step {step}", argument)
            state.write(draft / STATE)
            summary.write(draft)

        self.run.save(step, write, net.keep_checkpoints)

    def _warn_of_unkept(self, net: Any) -> None:
        """Say once of each attribute of a callback that no checkpoint can hold it."""
        for found in unkept_attributes(net):
            if found not in self._told:
                self._told.add(found)
                callback, attribute, kind = found
                warnings.warn(
                    f"The callback {callback!r} has {attribute!r}, a {kind}, which no checkpoint "
                    "can hold: a resumed fit equals an uninterrupted one only if the callback's "
                    "own on_train_begin sets it. If so, name it in a class attribute not_resumed.",
                    UserWarning,
                    stacklevel=7,
                )


class _Interrupt:
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

    def happen(self) -> None:
        """Be the KeyboardInterrupt that was held back."""
        self.pending = False
        raise KeyboardInterrupt

    def __exit__(self, *exception: Any) -> None:
        if self._former is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if self.pending and exception[0] is None:
            self.happen()  # too late for a step to hear of it

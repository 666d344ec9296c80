"""A fit that saves itself under a name while it trains, and goes on where it was cut off."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

from torch.utils.data import Dataset

from snn_estimators._files import OtherKindError
from snn_estimators.persistence.atomic_folder import recover_folder
from snn_estimators.persistence.checkpointing import Saved, SavedFit, versions
from snn_estimators.persistence.description import describe_parameters, differences
from snn_estimators.persistence.hashing import hash_arrays
from snn_estimators.persistence.model_files import (
    check_keys,
    read_config,
    read_tokenizer,
    write_model,
)
from snn_estimators.persistence.names import models_home
from snn_estimators.persistence.run_folder import (
    LOG,
    STATE,
    RunFolder,
    Summary,
    check_name,
    read_state,
    write_state,
)
from snn_estimators.persistence.step_log import StepLog
from snn_estimators.persistence.training_state import (
    ResumeError,
    TrainingState,
    unkept_attributes,
)
from snn_estimators.text import IGNORED, Ids

__all__ = ["RunCheckpointer", "refuse_taken_name"]

_ABOUT = {"parameters": dict, "versions": dict, "data": str, "split": str, "device": str}


def refuse_taken_name(name: str, resume: bool) -> RunFolder:
    """Return the folder of a fit that may be started, or gone on with if `resume`.

    Raises
    ------
    ValueError
        If it is no name, or there is a saved model of that name, or a fit that is not to be
        resumed.
    """
    check_name(name)
    run = RunFolder(models_home() / name)
    recover_folder(run.folder)
    remedy = "choose another name; in a search or a cross-validation leave name=None"
    if run.folder.exists() and not run.checkpoints.is_dir():
        raise ValueError(f"The name {name!r} is taken by {run.folder}, no named fit: {remedy}.")
    if run.steps() and not resume:
        raise ValueError(
            f"The name {name!r} is taken: there is a fit in {run.folder}, at step "
            f"{run.steps()[-1]}. Go on with it by resume=True, or {remedy}."
        )
    return run


class _OtherFitError(ValueError):
    """What is given now is not what the fit was begun with: no failure of the fit."""


class _UnfitStateError(ResumeError):
    """A checkpoint is whole, but not of such a net."""


class RunCheckpointer(SavedFit):
    """Saves checkpoints and a log of a fit, and starts from the newest checkpoint if there is one.

    Enter it before the fit: that locks the folder, and reads what there is.

    Parameters
    ----------
    estimator : LanguageModel
    run : RunFolder

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

    def __init__(self, estimator: Any, run: RunFolder) -> None:
        super().__init__()
        self.run = run
        self._estimator = estimator
        self._about |= {"parameters": describe_parameters(estimator), "versions": versions()}
        self._log: StepLog | None = None
        self._told: set[tuple[str, str, str]] = set()
        self._problems: dict[int, str] = {}  # of checkpoints that cannot be used
        self._improved = False
        self._validated_at = -1  # a step
        self._valid_loss: float | None = None

    def __enter__(self) -> Self:
        with ExitStack() as open_until_here:
            open_until_here.enter_context(self._held())
            self.saved = self._newest()
            if self.saved is not None:
                self._refuse_another_estimator(self.saved)
            self._open = open_until_here.pop_all()
        return self

    def _held(self) -> AbstractContextManager[None]:
        return self.run.held()

    # Going on

    def carry_out(self, fit: Callable[[Self], Any]) -> Any:
        """Call `fit` with this keeper; again with an older checkpoint if one fits no such net."""
        while True:
            try:
                return fit(self)
            except _UnfitStateError:
                self.saved = self._newest()

    def _newest(self) -> Saved | None:
        """Read the newest checkpoint that can be used, and warn of those that cannot."""
        problems = self._problems
        for step in reversed(self.run.steps()):
            if step in problems:
                continue
            try:
                saved = self._read(self.run.checkpoint(step))
            except OtherKindError as error:
                raise ValueError(
                    f"The fit {self.run.name!r} cannot go on here: {error} Choose another name."
                ) from error
            except (OSError, ValueError) as error:
                problems[step] = str(error)
                continue
            if problems:
                warnings.warn(
                    f"The fit {self.run.name!r} goes on from step {step}, as what is newer cannot "
                    f"be used: {' '.join(problems.values())}",
                    UserWarning,
                    stacklevel=5,
                )
            return saved
        if problems:
            raise ValueError(
                f"No checkpoint of the fit {self.run.name!r} can be used; delete {self.run.folder} "
                f"to begin again. {' '.join(problems.values())}"
            )
        return None

    def _read(self, folder: Path) -> Saved:
        config = read_config(folder, type(self._estimator).__name__)
        size = config["vocab_size"]
        state = read_state(folder)
        check_keys(state.about, _ABOUT, folder / STATE)
        summary = Summary.read(folder)
        return Saved(
            summary.step,
            summary.planned_steps,
            summary.finished,
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
        """Return the ids of documents by the saved tokenizer, or refuse other data than before."""
        try:
            return super().tokens(documents)
        except ValueError as error:
            raise ValueError(f"{self._other('X')} ({error})") from error

    def check_data(self, tokens: Sequence[Ids]) -> None:
        """Note which data the fit is on, or refuse other data than before.

        Raises
        ------
        ValueError
            If these are not the documents of the fit so far.
        """
        self._about["data"] = hash_arrays(list(tokens))
        if self.saved is not None and self.saved.state.about["data"] != self._about["data"]:
            raise ValueError(self._other("X"))

    def _other(self, what: str) -> str:
        return (
            f"The fit {self.run.name!r} was begun with another {what}, and cannot go on with this "
            f"one: give the same {what} as before, or choose another name."
        )

    def _go_on(self, net: Any, saved: Saved) -> None:
        before = saved.state.about
        if before["split"] != self._about["split"]:
            told = f"{self._other('train_split')} Give it a random_state if it has none."
            raise _OtherFitError(told)
        if before["device"] != self._about["device"]:
            warnings.warn(
                f"The fit {self.run.name!r} was begun on {before['device']} and goes on on "
                f"{self._about['device']}: it will not equal an uninterrupted one.",
                UserWarning,
                stacklevel=8,
            )
        with self._telling_of_unfit(saved.step):
            saved.state.restore(net)

    def restore_finished(self, net: Any) -> Any:
        """Make an initialized net what it was at the end of the fit, and return it."""
        assert self.saved is not None
        with self._telling_of_unfit(self.saved.step):
            return super().restore_finished(net)

    @contextmanager
    def _telling_of_unfit(self, step: int) -> Iterator[None]:
        try:
            yield
        except ResumeError as error:
            self._problems[step] = f"{self.run.checkpoint(step) / STATE}: {error}"
            raise _UnfitStateError(str(error)) from error

    # What the fit tells

    def fit_begun(self, net: Any, split: Sequence[Dataset | None]) -> None:
        """Put the net where the saved fit stood, hold back Ctrl-C, and open the log."""
        step = 0 if self.saved is None else self.saved.step
        super().fit_begun(net, split)
        best = self.run.best(step)
        self._best = best[0] if best else float("inf")
        self._warn_of_unkept(net)
        self._log = self._open.enter_context(
            StepLog(self.run.folder / LOG, step, is_complete=net._position.batches == 0)
        )
        self._clock = time.perf_counter()

    def step_ended(self, net: Any) -> None:
        """Write the step's row of the log, and a checkpoint if one is due."""
        assert self._log is not None
        row, step = net.history[-1]["batches"][-1], net._position.steps
        n_tokens = int((net._last_batch[1] != IGNORED).sum())
        speed = n_tokens / max(time.perf_counter() - self._clock, 1e-9)
        self._log.add(step, row["train_loss"], net._step_lr, speed)
        self._improved = self._validated(step, row.get("step_valid_loss"))
        if net._position.batches < net._epoch_length:  # otherwise the epoch's loss comes first
            self._log.complete(row.get("step_valid_loss"))
        super().step_ended(net)
        self._clock = time.perf_counter()

    def epoch_ended(self, net: Any) -> None:
        """Write the epoch's loss into the log, and a checkpoint if one is due."""
        assert self._log is not None
        step = net._position.steps
        self._improved |= self._validated(step, net.history[-1].get("valid_loss"))
        self._log.complete(self._valid_loss if self._validated_at == step else None)
        super().epoch_ended(net)
        self._clock = time.perf_counter()

    def _is_due(self, net: Any, *, epoch_is_over: bool) -> bool:
        return self._improved or super()._is_due(net, epoch_is_over=epoch_is_over)

    def fit_failed(self, net: Any, error: BaseException) -> None:
        """Leave the exception's traceback in error.log."""
        refused = isinstance(error, _OtherFitError | _UnfitStateError)
        if isinstance(error, Exception) and not refused:
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
        net._update_counters()
        losses = (
            row["train_loss"] for row in reversed(net.history[-1]["batches"]) if "train_loss" in row
        )
        summary = Summary(
            step=step,
            planned_steps=net.planned_steps_,
            finished=finished,
            train_loss=next(losses, None),
            valid_loss=self._valid_loss if self._validated_at == step else None,
        )
        state = TrainingState.capture(net, self._about)
        self._warn_of_unkept(net)

        def write(draft: Path) -> None:
            argument = f'"{self.run.name}", checkpoint={step}'
            write_model(net, draft, f"{self.run.name}, step {step}", argument)
            write_state(state, draft)
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

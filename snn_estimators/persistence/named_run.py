"""The fit of a name: numbered checkpoints, of which the newest that fits is resumed from.

A resumed fit equals an uninterrupted one to the bit on the same machine, device and number of
threads. Parameters and data must be those that it was started with, except `verbose`, `device`,
`save_every_n_steps`, `keep_checkpoints` and the iterators' ``num_workers``.

There is a checkpoint every `save_every_n_steps` or epoch, one at the end, and one whenever the
validation loss is the lowest so far. The first Ctrl-C waits for the end of a step and saves it.

Callbacks keep their fitted attributes: numbers, strings, tensors, containers of them, and what has
a ``state_dict``. A warning names others, unless the callback does in a class attribute
``not_resumed``.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from snn_estimators._files import OtherKindError
from snn_estimators._warnings import warn
from snn_estimators.persistence.atomic_folder import recover_folder
from snn_estimators.persistence.checkpointing import Position, Role, Saved, Store, versions
from snn_estimators.persistence.description import describe_parameters, differences
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
from snn_estimators.persistence.training_state import BatchOrderError, ResumeError, TrainingState

__all__ = ["NamedRun", "check_name_is_free"]

_METADATA = {"parameters": dict, "versions": dict, "data": str, "split": str, "device": str}


def check_name_is_free(name: str, resume: bool) -> RunFolder:
    """Return the folder of a fit that may be started, or resumed if `resume`.

    It raises ValueError if it is no name, or if there is a saved model of that name, or a fit that
    is not to be resumed.
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
            f"{run.steps()[-1]}. Resume it by resume=True, or {remedy}."
        )
    return run


class _OtherFitError(ValueError):
    """What is given now is not what the fit was started with: no failure of the fit."""


class NamedRun(Store):
    """Saves checkpoints and a log of a fit, and finds the newest checkpoint that can be used.

    Opening it locks the folder. It raises ValueError if the folder is in use, all checkpoints are
    damaged, or they are of an estimator with other parameters.
    """

    compares_data = True

    def __init__(self, estimator: Any, run: RunFolder) -> None:
        self.run = run
        self._estimator = estimator
        self._own = {"parameters": describe_parameters(estimator), "versions": versions()}
        self._open = ExitStack()
        self._log: StepLog | None = None
        self._warned: set[tuple[str, str, str]] = set()
        self._problems: dict[int, str] = {}  # of checkpoints that cannot be used
        self._clock = 0.0
        self._best = float("inf")
        self._improved = False
        self._validated_at = -1  # a step
        self._valid_loss: float | None = None

    def open(self, role: Role) -> Saved | None:
        """Lock the folder, and read the newest checkpoint.

        Warns of those that cannot be used, and of other versions.
        """
        self._own["parameters"] |= role.describe()
        if role.writes:
            self._open.enter_context(self.run.held())
        saved = role.from_main(self._newest)
        if saved is not None:
            self._check_estimator(saved)
        return saved

    def close(self, *exception: Any) -> None:
        """Close the log, and release the folder."""
        self._open.__exit__(*exception)

    # Resuming

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
                    f"The fit {self.run.name!r} cannot be resumed here: {error} Choose another "
                    "name."
                ) from error
            except (FileNotFoundError, ValueError) as error:  # damaged; others may pass
                problems[step] = str(error)
                continue
            if problems:
                warn(
                    f"The fit {self.run.name!r} resumes from step {step}, as what is newer cannot "
                    f"be used: {' '.join(problems.values())}"
                )
            return saved
        if problems:
            raise _OtherFitError(
                f"No checkpoint of the fit {self.run.name!r} can be used; delete {self.run.folder} "
                f"to start from scratch. {' '.join(problems.values())}"
            )
        return None

    def _read(self, folder: Path) -> Saved:
        config = read_config(folder, type(self._estimator).__name__)
        size = config["vocab_size"]
        state = read_state(folder)
        check_keys(state.metadata, _METADATA, folder / STATE)
        summary = Summary.read(folder)
        return Saved(
            summary.step,
            summary.planned_steps,
            summary.finished,
            state,
            read_tokenizer(folder, size) if config["has_tokenizer"] else None,
            size,
        )

    def _check_estimator(self, saved: Saved) -> None:
        before = saved.state.metadata
        changed = differences(before["parameters"], self._own["parameters"])
        if changed:
            further = (
                f" To train further than was planned, use from_pretrained({self.run.name!r}) and "
                "partial_fit."
                if any(phrase.startswith(("max_epochs", "max_steps")) for phrase in changed)
                else ""
            )
            raise ValueError(
                f"The fit {self.run.name!r} cannot be resumed with other parameters: "
                f"{', '.join(changed)}. Set them as they were, or choose another name.{further}"
            )
        if before["versions"] != self._own["versions"]:
            warn(
                f"The fit {self.run.name!r} was started with {before['versions']} and resumes with "
                f"{self._own['versions']}: it may not equal an uninterrupted one to the bit."
            )

    def check_data(self, saved: Saved | None, documents_hash: str) -> None:
        """Raise ValueError if the fit was started with other documents."""
        if saved is not None and saved.state.metadata["data"] != documents_hash:
            raise _OtherFitError(self._other("X"))

    def check_begin(self, saved: Saved, metadata: dict[str, Any], role: Role) -> None:
        """Raise ValueError if the fit was started with another split; warn of another device."""
        before = saved.state.metadata
        if before["split"] != metadata["split"]:
            raise _OtherFitError(
                f"{self._other('train_split')} Give it a random_state if it has none."
            )
        if role.writes and before["device"] != metadata["device"]:
            warn(
                f"The fit {self.run.name!r} was started on {before['device']} and resumes on "
                f"{metadata['device']}: it will not equal an uninterrupted one."
            )

    def _other(self, what: str) -> str:
        return (
            f"The fit {self.run.name!r} was started with another {what}, and cannot be resumed "
            f"with this one: give the same {what} as before, or choose another name."
        )

    def fallback(self, saved: Saved, error: ResumeError, role: Role) -> Saved | None:
        """Return an older checkpoint, or raise ValueError if there is none."""
        if isinstance(error, BatchOrderError):
            raise _OtherFitError(str(error)) from error
        self._problems[saved.step] = f"{self.run.checkpoint(saved.step) / STATE}: {error}"
        return role.from_main(self._newest)

    # Logging

    def on_fit_begin(self, net: Any, position: Position) -> None:
        """Open the log behind the step that the fit resumes from."""
        best = self.run.best(position.steps)
        self._best = best[0] if best else float("inf")
        self._warn_of_unsaved(net)
        self._log = self._open.enter_context(
            StepLog(self.run.folder / LOG, position.steps, is_complete=position.batches == 0)
        )
        self._clock = time.perf_counter()

    def on_step_end(self, net: Any, position: Position) -> None:
        """Add the step's row to the log."""
        assert self._log is not None
        now = time.perf_counter()
        speed = position.n_tokens / max(now - self._clock, 1e-9)
        row = net.history[-1]["batches"][-1]
        self._log.add(position.steps, row["train_loss"], position.lr, speed)
        self._improved = self._validated(position.steps, row.get("step_valid_loss"))
        if not position.epoch_is_over:  # otherwise the epoch's loss comes first
            self._log.complete(row.get("step_valid_loss"))
        self._clock = time.perf_counter()

    def on_epoch_end(self, net: Any, position: Position) -> None:
        """Complete the last row with the epoch's validation loss."""
        assert self._log is not None
        step = position.steps
        self._improved |= self._validated(step, net.history[-1].get("valid_loss"))
        self._log.complete(self._valid_loss if self._validated_at == step else None)
        self._clock = time.perf_counter()

    def _validated(self, step: int, loss: float | None) -> bool:
        """Note a validation loss, if there was one; return whether it is the best so far."""
        if loss is None:
            return False
        self._validated_at, self._valid_loss = step, loss
        improved = loss < self._best
        self._best = min(loss, self._best)
        return improved

    def on_error(self, error: BaseException, position: Position) -> None:
        """Add the exception's traceback to error.log."""
        if isinstance(error, Exception) and not isinstance(error, _OtherFitError):
            self.run.log_error(error, position.steps)

    def resume_hint(self) -> str:
        """Return a sentence on how an interrupted fit can be resumed, after a blank."""
        steps = self.run.steps()
        where = f"from step {steps[-1]}" if steps else "from its beginning"
        return f" fit(X, resume=True) resumes {self.run.name!r} {where}."

    # Saving

    def is_due(self, net: Any, position: Position, *, epoch_is_over: bool) -> bool:
        """Return whether it is time to save: also when the validation loss is the best so far."""
        return self._improved or super().is_due(net, position, epoch_is_over=epoch_is_over)

    def save(
        self, net: Any, position: Position, metadata: dict[str, Any], *, finished: bool
    ) -> None:
        """Write a checkpoint."""
        step = position.steps
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
        state = TrainingState.from_dict(net.training_state_dict(), {**self._own, **metadata})
        self._warn_of_unsaved(net)

        def write(folder: Path) -> None:
            argument = f'"{self.run.name}", checkpoint={step}'
            write_model(net, folder, f"{self.run.name}, step {step}", argument)
            write_state(state, folder)
            summary.write(folder)

        self.run.save(step, write, net.keep_checkpoints)
        self._clock = time.perf_counter()

    def _warn_of_unsaved(self, net: Any) -> None:
        """Warn once of each attribute of a callback that no checkpoint can hold."""
        for found in net.unsaved_attributes():
            if found not in self._warned:
                self._warned.add(found)
                callback, attribute, kind = found
                warn(
                    f"The callback {callback!r} has {attribute!r}, a {kind}, which no checkpoint "
                    "can hold: a resumed fit equals an uninterrupted one only if the callback's "
                    "on_train_begin sets it. If so, name it in a class attribute not_resumed."
                )

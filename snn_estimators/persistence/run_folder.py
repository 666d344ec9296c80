"""The folder of a named fit: its checkpoints, which of them to keep, and which to read.

::

    models/GPT-1/
        checkpoints/step-00000100/    a model's files, the state of the training, a summary
        checkpoints/step-00000200/
        log.csv                       a row a step
        error.log                     if an exception ended the fit

Weights and history are in the model's files alone; the state has those files' checksums.
"""

from __future__ import annotations

import math
import re
import shutil
import time
import traceback
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from numbers import Integral
from pathlib import Path

from snn_estimators._files import is_no_file, read_json, require, write_json
from snn_estimators._validation import is_float, is_whole
from snn_estimators.persistence.atomic_folder import make_folder, recover_folders, write_folder
from snn_estimators.persistence.file_lock import is_locked, try_lock
from snn_estimators.persistence.hashing import hash_file
from snn_estimators.persistence.model_files import CARD, HISTORY, WEIGHTS, check_keys
from snn_estimators.persistence.names import is_name, models_home
from snn_estimators.persistence.training_state import MODULE, TrainingState
from snn_estimators.persistence.weights import read_tensors

__all__ = [
    "ERRORS",
    "LOG",
    "STATE",
    "RunFolder",
    "Summary",
    "check_name",
    "is_run",
    "other_steps",
    "read_state",
    "write_state",
]

STATE, SUMMARY, LOG, ERRORS = "training.safetensors", "checkpoint.json", "log.csv", "error.log"
_LOCK = ".lock"
_PATIENCE = 1.0  # seconds; `is_held` has the lock for a moment


@dataclass(frozen=True)
class Summary:
    """What is known of a checkpoint without reading its tensors."""

    step: int
    planned_steps: int  # in all
    finished: bool  # all steps are done, or it stopped early
    train_loss: float | None  # of the last step
    valid_loss: float | None  # if there was a validation at this very step

    def write(self, folder: Path) -> None:
        """Write a file of the checkpoint."""
        write_json(folder / SUMMARY, asdict(self))

    @classmethod
    def read(cls, folder: Path) -> Summary:
        """Read what `write` wrote; raise ValueError if it is damaged."""
        path = folder / SUMMARY
        content = read_json(path)
        numbers, losses = ("step", "planned_steps"), ("train_loss", "valid_loss")
        is_sound = (
            isinstance(content, dict)
            and content.keys() == cls.__dataclass_fields__.keys()
            and all(is_whole(content[name], 0) for name in numbers)
            and all(content[name] is None or is_float(content[name]) for name in losses)
            and type(content["finished"]) is bool
        )
        if not is_sound:
            raise ValueError(f"{path} is damaged: it is no summary of a checkpoint.")
        return cls(**content)


def write_state(state: TrainingState, folder: Path) -> None:
    """Write the state of a training into the folder of its model's files, for `read_state`."""
    files = {path.name: hash_file(path) for path in folder.iterdir() if path.name != CARD}
    content = {**state.content, "history": [], "files": files}
    others = {name: t for name, t in state.tensors.items() if not name.startswith(MODULE)}
    TrainingState(content, others).write(folder / STATE)


def read_state(folder: Path) -> TrainingState:
    """Read what `write_state` wrote, with weights and history from the model's files.

    A file that is missing raises FileNotFoundError, a damaged one ValueError.
    """
    state = TrainingState.read(folder / STATE)
    check_keys(state.content, {"files": dict}, folder / STATE)
    for name, expected in {HISTORY: "", WEIGHTS: "", **state.content["files"]}.items():
        require(folder / name)
        if hash_file(folder / name) != expected:
            raise ValueError(f"{folder / name} is damaged: it is not what was saved.")
    state.content["history"] = read_json(folder / HISTORY)
    weights = read_tensors(folder / WEIGHTS)
    state.tensors.update({f"{MODULE}{name}": tensor for name, tensor in weights.items()})
    return state


def check_name(name: object) -> None:
    """Raise ValueError for what is no name, before anything is done under it."""
    if not isinstance(name, str) or not is_name(name):
        raise ValueError(
            f"name must be None or up to 100 letters, digits, '.', '_' and '-', the first of them "
            f"no '.' or '-', got {name!r}: it is a folder under {models_home()}."
        )


def is_run(folder: Path) -> bool:
    """Return whether this is the folder of a named fit."""
    return (folder / "checkpoints").is_dir()


def other_steps(checkpoint: Path) -> list[int]:
    """Return the steps of a checkpoint's siblings; none if it is no checkpoint."""
    run = RunFolder(checkpoint.resolve().parent.parent)
    return [step for step in run.steps() if run.checkpoint(step).name != checkpoint.name]


class RunFolder:
    """The folder of a named fit; it need not be there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.checkpoints = folder / "checkpoints"

    @property
    def name(self) -> str:
        """The name of the fit."""
        return self.folder.resolve().name

    # What there is

    def steps(self) -> list[int]:
        """Return the steps of which there are checkpoints, damaged or not, in order."""
        if not self.checkpoints.is_dir():
            return []
        found = (re.fullmatch(r"step-(\d{8,})", p.name) for p in self.checkpoints.iterdir())
        return sorted(int(match[1]) for match in found if match)

    def checkpoint(self, step: int) -> Path:
        """Return the folder of a checkpoint."""
        return self.checkpoints / f"step-{step:08d}"

    def best(self, last: int | None = None) -> tuple[float, int] | None:
        """Return the lowest validation loss of all checkpoints (up to a step), and its step."""
        losses = []
        for step in self.steps():
            try:
                loss = Summary.read(self.checkpoint(step)).valid_loss
            except (OSError, ValueError):
                continue  # damaged
            if loss is not None and math.isfinite(loss) and (last is None or step <= last):
                losses.append((float(loss), step))
        return min(losses, default=None)

    def choose(self, checkpoint: str | int) -> Path:
        """Return the folder of a checkpoint, "latest", "best" or that of a step.

        One that is not there raises FileNotFoundError, anything else ValueError.
        """
        steps = self.steps()
        if not steps:
            raise FileNotFoundError(f"The fit {self.folder} has no checkpoint (yet).")
        if checkpoint == "latest":
            return self.checkpoint(steps[-1])
        if checkpoint == "best":
            best = self.best()
            if best is None:
                raise FileNotFoundError(
                    f"No checkpoint of {self.folder} has a validation loss, so none is the best: "
                    f"choose 'latest' or a step, of which there are {steps}."
                )
            return self.checkpoint(best[1])
        if isinstance(checkpoint, bool) or not isinstance(checkpoint, Integral):
            raise ValueError(
                f"checkpoint must be 'latest', 'best' or a step, got {checkpoint!r}: there are the "
                f"steps {steps}."
            )
        if checkpoint not in steps:
            raise FileNotFoundError(
                f"There is no checkpoint of step {checkpoint} in {self.folder}: there are the "
                f"steps {steps}."
            )
        return self.checkpoint(checkpoint)

    # What is written

    def save(self, step: int, write: Callable[[Path], None], keep: int) -> None:
        """Let `write` fill the folder of a checkpoint; then delete those not to be kept.

        If it cannot be written, the others stay, and an OSError names the remedy.
        """
        try:
            write_folder(self.checkpoint(step), write)
        except OSError as error:
            raise self._not_saved(step, error) from error
        self._prune(step, keep)

    def _not_saved(self, step: int, error: OSError) -> OSError:
        """Return an error that names what there is, and the remedy."""
        whole = [other for other in self.steps() if other < step]
        remedy = (
            f"step {whole[-1]} is whole: free space, and resume by fit(X, resume=True)."
            if whole
            else "nothing is: free space, and start again."
        )
        message = (
            f"Step {step} could not be saved in {self.folder} ({error.strerror or error}); {remedy}"
        )
        return OSError(message) if error.errno is None else OSError(error.errno, message)

    def _prune(self, newest: int, keep: int) -> None:
        """Keep so many newest checkpoints, and the best; those beyond `newest` were damaged."""
        steps = [step for step in self.steps() if step <= newest]
        best = self.best(newest)
        kept = {*steps[-keep:], *(best[1:] if best else ())}
        for step in self.steps():
            if step not in kept:
                # Renamed first: a kill must not leave half a checkpoint.
                folder = self.checkpoint(step)
                removed = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.gone")
                folder.rename(removed)
                shutil.rmtree(removed, ignore_errors=True)

    def log_error(self, error: BaseException, step: int) -> None:
        """Add an exception to error.log; if that fails too, the exception says so."""
        try:
            trace = "".join(traceback.format_exception(error))
            path = self.folder / ERRORS
            if is_no_file(path):
                raise OSError(f"{path} is no file")
            with path.open("a", encoding="utf-8") as file:
                file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}, after step {step}\n{trace}\n")
        except Exception as another:
            error.add_note(f"error.log could not be written: {another}")

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep others out of the folder, and clean it up; a lock ends with its process.

        If another fit is at work there, it raises ValueError.
        """
        with ExitStack() as stack:
            acquired = None
            while acquired is None:
                make_folder(self.checkpoints)
                with suppress(FileNotFoundError):  # removed by a fit that never began
                    lock = try_lock(self.folder / _LOCK, timeout=_PATIENCE)
                    acquired = stack.enter_context(lock)
            make_folder(self.checkpoints)
            if not acquired:
                raise ValueError(
                    f"Another fit named {self.name!r} is at work in {self.folder}: wait for its "
                    "end, or choose another name."
                )
            recover_folders(self.checkpoints)
            for kind in ("new", "old", "gone"):  # what a kill left
                for rest in self.checkpoints.glob(f".*.{kind}"):
                    shutil.rmtree(rest, ignore_errors=True)
            for half in self.folder.glob(".*.tmp"):
                half.unlink(missing_ok=True)
            try:
                yield
            finally:
                left = {path.name for path in self.folder.iterdir()}
                if left <= {_LOCK, "checkpoints"} and not any(self.checkpoints.iterdir()):
                    shutil.rmtree(self.folder, ignore_errors=True)  # the fit never began

    def is_held(self) -> bool:
        """Return whether a fit is at work in the folder."""
        return is_locked(self.folder / _LOCK)

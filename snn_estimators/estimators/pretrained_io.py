"""Models as folders of plain files: nothing is pickled, nothing runs on load."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack, suppress
from itertools import count
from pathlib import Path
from typing import Any, Self

from sklearn.base import clone
from skorch.history import History

from snn_estimators._files import OtherKindError, read_json
from snn_estimators._torch import check_device, check_device_name, has_device
from snn_estimators.estimators.net.training import TrainedNet
from snn_estimators.persistence.atomic_folder import (
    check_readable,
    folder_version,
    locked_folder,
    recover_folder,
    write_folder,
)
from snn_estimators.persistence.cache_key import module_defaults
from snn_estimators.persistence.catalog import not_there
from snn_estimators.persistence.model_files import (
    CONFIG,
    HISTORY,
    WEIGHTS,
    check_keys,
    check_replaceable,
    plain,
    read_classes,
    read_config,
    read_history,
    read_tokenizer,
    untuple,
    write_model,
)
from snn_estimators.persistence.names import load_argument, resolve_name
from snn_estimators.persistence.run_folder import RunFolder, is_run, other_steps
from snn_estimators.persistence.weights import check_fit, load_weights

__all__ = ["PretrainedIO", "build", "load_pretrained", "model_folder"]

_OF_A_FIT = frozenset(
    {"compile", "memory", "name", "pretrained", "resume", "save_every_n_steps", "teacher"}
)
"""Parameters of how a fit is done and kept, no part of the model."""

_UNLOCKED_TRIES = 2

_NO_MODEL = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What parameters raise that make no model."""


class PretrainedIO(TrainedNet):
    """The saving and loading methods of a language model."""

    def save_pretrained(self, name_or_path: str | os.PathLike[str]) -> Path:
        """Write the fitted model into a folder, whole or not at all.

        Parameters
        ----------
        name_or_path : str or path
            A name, which resolves under ``$SNN_ESTIMATORS_HOME/models`` (without that variable
            ``~/.snn_estimators/models``), or a path (``./models/tolstoy``, an absolute one, or a
            `pathlib.Path`). An older model there is replaced: a reader meanwhile gets the one
            or the other, two writers take turns (where the file system knows locks), and if one is
            killed the next reader or writer of that name puts the older model back.

        Returns
        -------
        Path
            The folder, with ``config.json``, ``model.safetensors``, ``tokenizer.json`` (unless
            ``tokenizer=None``), ``history.json`` and a model card, ``README.md``. The optimizer's
            state is not saved.

        Raises
        ------
        NotFittedError
            If the estimator was not fitted.
        ValueError
            If the string is no name, or the folder holds anything but a model, such as the
            checkpoints of a named fit.
        OSError
            If the folder cannot be written.
        """
        self.check_is_fitted()
        folder = resolve_name(name_or_path)
        if is_run(folder):
            raise ValueError(
                f"{folder} is the folder of a named fit and its checkpoints: choose another name "
                "or path."
            )
        title, argument = folder.resolve().name, load_argument(name_or_path)
        with locked_folder(folder):
            check_replaceable(folder)
            write_folder(folder, lambda temporary: write_model(self, temporary, title, argument))
        return folder

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | os.PathLike[str],
        *,
        checkpoint: str | int | None = None,
        **overrides: Any,
    ) -> Self:
        """Read a fitted model that `save_pretrained` or a named fit wrote.

        Parameters
        ----------
        name_or_path : str or path
            See `save_pretrained`.
        checkpoint : {"latest", "best"} or int, optional
            Which checkpoint of a named fit: the newest (also by default), the one with the lowest
            validation loss, or that of a step. A model of `save_pretrained` has none to choose.
        **overrides
            Parameters that differ from the saved ones, such as ``device``. Parameters that JSON
            cannot hold (callbacks, classes other than the defaults) are not saved, and are given
            here if need be; config.json lists them under ``left_out``. A user-defined `module` has
            to be given.

        Returns
        -------
        estimator
            Fitted; its scores are those of the one that was saved. `partial_fit` continues with a
            fresh optimizer. `interrupted_` is False, as no fit was interrupted here; the model
            card says so. `name`, `resume`, `save_every_n_steps`, `memory`, `compile`
            and ``num_workers`` are the defaults again unless they are given: a new `fit` is another
            fit, and a file decides about no folder, compiler or process. A saved device that is not
            there becomes the CPU, with a warning.

        Raises
        ------
        FileNotFoundError
            If there is no such model or checkpoint, or a file of it is missing.
        ValueError
            If a file is damaged, or the files do not fit each other, this class, or the overrides.
        """
        check_device(overrides.get("device"))
        return _read(name_or_path, checkpoint, lambda folder: cls._from_folder(folder, overrides))

    @classmethod
    def _from_folder(cls, folder: Path, overrides: dict[str, Any]) -> Self:
        config = read_config(folder, cls.__name__)
        if "module" in config["left_out"] and "module" not in overrides:
            raise OtherKindError(
                f"The model in {folder} was made with a module of its own, which is not saved: "
                "pass module=..., the same class, or an instance built the same way."
            )
        saved = config["parameters"].items()
        parameters = {k: untuple(v) for k, v in saved if not _is_of_a_fit(k)}
        tokenizer = None
        if config["has_tokenizer"]:
            tokenizer = read_tokenizer(folder, config["vocab_size"])
            parameters.setdefault("tokenizer", clone(tokenizer))
        history = read_history(folder / HISTORY)
        classes = read_classes(config, folder / CONFIG)
        kind: Any = cls
        today = module_defaults(kind()).items()
        changed = {k: v for k, v in config["module_defaults"].items() if (k, v) not in today}
        parameters = changed | parameters
        try:
            estimator = cls(**{**parameters, **overrides})
            if "device" not in overrides and not has_device(check_device_name(estimator.device)):
                estimator._fall_back_to_cpu()
            if classes is not None:
                estimator.classes_ = classes
            build(estimator, config["vocab_size"], folder / WEIGHTS)
        except OtherKindError:
            raise
        except _NO_MODEL as error:
            given = f" with the given {', '.join(overrides)}" if overrides else ""
            raise (OtherKindError if overrides else ValueError)(
                f"The parameters in {folder / CONFIG}{given} make no {cls.__name__}: {error}"
            ) from error
        load_weights(plain(estimator.module_), folder / WEIGHTS, config["weights_sha256"])
        estimator.history_ = History(history)
        if tokenizer is not None:
            estimator.tokenizer_ = tokenizer
        # An old Ctrl-C does not stop those who score the model now.
        for name, value in {**config["fitted"], "interrupted_": False}.items():
            setattr(estimator, name, value)
        return estimator


def load_pretrained(
    name_or_path: str | os.PathLike[str], *, checkpoint: str | int | None = None, **overrides: Any
) -> Any:
    """Read a fitted model of whatever class it is.

    Parameters
    ----------
    name_or_path, checkpoint, **overrides
        As in `PretrainedIO.from_pretrained`.

    Returns
    -------
    estimator
        Of the class that ``config.json`` names: any subclass of `PretrainedIO` that was imported.

    Raises
    ------
    FileNotFoundError, ValueError
        As `PretrainedIO.from_pretrained`, and if there is no such class.
    """
    check_device(overrides.get("device"))

    def read(folder: Path) -> Any:
        config = read_json(folder / CONFIG)
        check_keys(config, {"format": object, "estimator": str}, folder / CONFIG)
        classes = _subclasses(PretrainedIO)
        if config["estimator"] not in classes:
            raise OtherKindError(
                f"{folder} holds a {config['estimator']!r}, and there are only {sorted(classes)}: "
                "import the module that defines it."
            )
        return classes[config["estimator"]]._from_folder(folder, overrides)

    return _read(name_or_path, checkpoint, read)


def _read(
    name_or_path: str | os.PathLike[str],
    checkpoint: str | int | None,
    read: Callable[[Path], Any],
) -> Any:
    """Let `read` read the folder of a model; again if it was replaced or deleted meanwhile.

    Writers that replace it faster than it is read have to wait in the end.
    """
    for tries in count():
        folder = model_folder(name_or_path, checkpoint)
        with ExitStack() as stack:
            if tries >= _UNLOCKED_TRIES:
                with suppress(OSError):  # where another user's folder cannot be locked
                    stack.enter_context(locked_folder(folder))
            before = folder_version(folder)
            if before is None:
                check_readable(folder)
                continue
            try:
                model = read(folder)
            except (FileNotFoundError, ValueError) as error:
                if folder_version(folder) != before:
                    continue
                better = _with_alternatives(error, folder)
                if better is None:
                    raise
                raise better from error
            if not recover_folder(folder) or folder_version(folder) == before:
                return model


def _with_alternatives(error: Exception, folder: Path) -> Exception | None:
    """Return an error that names other checkpoints of the same fit, None if there are none."""
    others = other_steps(folder)
    if not others or isinstance(error, OtherKindError):
        return None
    kind = FileNotFoundError if isinstance(error, FileNotFoundError) else ValueError
    return kind(f"{error} Other checkpoints of this fit are at steps {others}.")


def _subclasses(base: Any) -> dict[str, Any]:
    """Return all subclasses by name; of two with one name, the one that was there first."""
    found: dict[str, Any] = {}
    for subclass in base.__subclasses__():
        found = {**_subclasses(subclass), subclass.__name__: subclass, **found}
    return found


def model_folder(name_or_path: str | os.PathLike[str], checkpoint: str | int | None) -> Path:
    """Return the folder with the files of a saved model, or of a checkpoint of a named fit.

    Raises
    ------
    FileNotFoundError
        If there is no such model or checkpoint.
    ValueError
        If a checkpoint is asked for where there are none.
    """
    folder = resolve_name(name_or_path)
    if is_run(folder):
        return RunFolder(folder).choose("latest" if checkpoint is None else checkpoint)
    if not recover_folder(folder):
        raise FileNotFoundError(not_there(name_or_path, folder))
    if checkpoint is not None:
        raise ValueError(
            f"{folder} is a single saved model, without checkpoints to choose from: leave out "
            f"checkpoint={checkpoint!r}."
        )
    return folder


def build(estimator: Any, vocab_size: int, weights: Path | None = None) -> None:
    """Build the module of a new estimator, for weights to come.

    If these are in a file that the module does not fit, it raises `OtherKindError` at once.
    """
    estimator._check_parameters({})
    estimator._new_vocab_size = vocab_size
    with estimator._private_generators(0):
        if weights is not None:
            kind = getattr(estimator._component_type("module"), "__name__", "module")
            check_fit(estimator._new_module, weights, kind)
        estimator.initialize()


def _is_of_a_fit(name: str) -> bool:
    return name.partition("__")[0] in _OF_A_FIT or name.endswith("__num_workers")

"""Models as folders of plain files: nothing is pickled, nothing runs on load."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import safetensors.torch
import torch
from safetensors import SafetensorError
from sklearn.base import clone
from skorch.history import History
from torch import nn

from snn_estimators._version import __version__
from snn_estimators.estimators.folders import (
    CARD,
    CONFIG,
    HISTORY,
    TOKENIZER,
    WEIGHTS,
    load_argument,
    not_there,
    read_json,
    refuse_other_content,
    require,
    resolve_name,
    to_plain,
    write_folder,
    write_json,
)
from snn_estimators.estimators.training import TrainedNet
from snn_estimators.text import BaseTokenizer, tokenizer_from_dict

__all__ = ["Persistence", "build"]

FORMAT = 1

_FITTED = {"n_iter_": int, "n_steps_": int, "interrupted_": bool, "n_features_in_": int}
_CONFIG = {
    "module": str,
    "vocab_size": int,
    "has_tokenizer": bool,
    "parameters": dict,
    "left_out": list,
    "fitted": dict,
}


class Persistence(TrainedNet):
    """The saving and loading methods of a language model."""

    def save_pretrained(self, name_or_path: str | os.PathLike[str]) -> Path:
        """Write the fitted model into a folder, whole or not at all.

        Parameters
        ----------
        name_or_path : str or path
            A name, which resolves under ``$SNN_ESTIMATORS_HOME`` (``~/.snn_estimators`` without
            it), or a path (``./models/tolstoy``, an absolute one, or a `pathlib.Path`). An older
            model there is replaced.

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
            If the string is no name, or the folder holds anything but a model.
        OSError
            If the folder cannot be written.
        """
        self.check_is_fitted()
        folder = resolve_name(name_or_path)
        refuse_other_content(folder)
        config = _config_of(self)
        weights = {
            k: v.detach().cpu().clone() for k, v in _plain(self.module_).state_dict().items()
        }

        def write(draft: Path) -> None:
            write_json(draft / CONFIG, config)
            write_json(draft / HISTORY, self.history.to_list())
            (draft / WEIGHTS).write_bytes(safetensors.torch.save(weights))
            if self.tokenizer is not None:
                self.tokenizer_.save(draft / TOKENIZER)
            card = _model_card(self, config, folder.resolve().name, load_argument(name_or_path))
            (draft / CARD).write_text(card, encoding="utf-8")

        write_folder(folder, write)
        return folder

    @classmethod
    def from_pretrained(cls, name_or_path: str | os.PathLike[str], **overrides: Any) -> Self:
        """Read a fitted model that `save_pretrained` wrote.

        Parameters
        ----------
        name_or_path : str or path
            See `save_pretrained`.
        **overrides
            Parameters that differ from the saved ones, such as ``device``. Parameters that JSON
            cannot hold (callbacks, classes other than the defaults) are not saved, and are given
            here if need be; config.json lists them under ``left_out``.

        Returns
        -------
        estimator
            Fitted; its scores are those of the one that was saved. `partial_fit` goes on with a
            fresh optimizer. `interrupted_` is False, as no fit was interrupted here; the model
            card tells of one that was.

        Raises
        ------
        FileNotFoundError
            If there is no such model, or a file of it is missing.
        ValueError
            If a file is damaged, or the files do not fit each other, this class, or the overrides.
        """
        folder = resolve_name(name_or_path)
        if not folder.is_dir():
            raise FileNotFoundError(not_there(name_or_path, folder))
        config = _read_config(folder, cls.__name__)
        parameters = {k: _untuple(v) for k, v in config["parameters"].items()}
        tokenizer = None
        if config["has_tokenizer"]:
            tokenizer = _read_tokenizer(folder / TOKENIZER, config["vocab_size"])
            parameters.setdefault("tokenizer", clone(tokenizer))
        history = _read_history(folder / HISTORY)
        try:
            estimator = cls(**{**parameters, **overrides})
            build(estimator, config["vocab_size"])
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            given = f" with {overrides}" if overrides else ""
            raise ValueError(
                f"The parameters in {folder / CONFIG}{given} make no {cls.__name__}: {error}"
            ) from error
        _load_weights(_plain(estimator.module_), folder / WEIGHTS)
        estimator.history_ = history
        if tokenizer is not None:
            estimator.tokenizer_ = tokenizer
        # An old Ctrl-C is no reason to stop whoever scores the model now.
        for name, value in {**config["fitted"], "interrupted_": False}.items():
            setattr(estimator, name, value)
        return estimator


# Writing


def _config_of(estimator: Any) -> dict[str, Any]:
    parameters, left_out = {}, []
    defaults = type(estimator)().get_params(deep=False)
    for name, value in estimator.get_params(deep=False).items():
        try:
            parameters[name] = json.loads(json.dumps(value, default=to_plain, allow_nan=False))
        except (TypeError, ValueError):
            if value is not defaults.get(name, value is None):
                left_out.append(name)
    return {
        "format": FORMAT,
        "estimator": type(estimator).__name__,
        "module": type(_plain(estimator.module_)).__name__,
        "vocab_size": int(estimator.module_.vocab_size),
        "has_tokenizer": estimator.tokenizer is not None,
        "parameters": parameters,
        "left_out": left_out,
        "fitted": {n: getattr(estimator, n) for n in _FITTED if hasattr(estimator, n)},
        "versions": {"snn_estimators": __version__, "torch": torch.__version__},
    }


def _model_card(estimator: Any, config: Mapping[str, Any], name: str, argument: str) -> str:
    n_parameters = sum(p.numel() for p in estimator.module_.parameters())
    losses = [row["train_loss"] for row in estimator.history if "train_loss" in row]
    loss = f"{losses[-1]:.4f} nats a token" if losses else "not recorded"
    changed = {k: v for k, v in config["parameters"].items() if k.startswith("module__")}
    rows = "\n".join(f"| {k.removeprefix('module__')} | {v} |" for k, v in changed.items())
    fitted = config["fitted"]
    cut = " Training was interrupted before its end." if fitted.get("interrupted_") else ""
    imports = "" if argument.startswith('"') else "from pathlib import Path\n\n"
    return f"""---
library_name: snn_estimators
pipeline_tag: text-generation
tags: [spiking-neural-network, language-model]
---

# {name}

A `{config["estimator"]}` (module `{config["module"]}`): {n_parameters:,} parameters, a vocabulary
of {config["vocab_size"]} tokens, trained for {fitted.get("n_steps_", 0)} steps in
{fitted.get("n_iter_", 0)} epochs.{cut} Training loss of the last epoch: {loss}.

```python
{imports}from snn_estimators import {config["estimator"]}

model = {config["estimator"]}.from_pretrained({argument})
```

Parameters of the module that were set:

| parameter | value |
|---|---|
{rows}

Written by snn_estimators {config["versions"]["snn_estimators"]} with torch
{config["versions"]["torch"]}. `config.json` has all parameters, `history.json` the losses.
"""


# Reading


def _read_config(folder: Path, estimator: str) -> dict[str, Any]:
    """Read config.json, with a ValueError unless it holds all that loading relies on."""
    path = folder / CONFIG
    config = read_json(path)
    _check_keys(config, {"format": object, "estimator": object}, path)
    if (config["estimator"], config["format"]) != (estimator, FORMAT):
        raise ValueError(
            f"{folder} holds a {config['estimator']} in format {config['format']}, "
            f"not a {estimator} in format {FORMAT}."
        )
    _check_keys(config, _CONFIG, path)
    fitted = config["fitted"]
    if not fitted.keys() <= _FITTED.keys():
        odd = min(fitted.keys() - _FITTED.keys())
        raise ValueError(f"{path} is damaged: 'fitted' knows no {odd!r}, only {list(_FITTED)}.")
    _check_keys(fitted, {name: _FITTED[name] for name in fitted}, path)
    counts = {"vocab_size": config["vocab_size"], **fitted}
    for name, value in counts.items():
        if value < 0:
            raise ValueError(f"{path} is damaged: {name!r} is negative, {value}.")
    takes_text = config["parameters"].get("tokenizer", "an instance") is not None
    if takes_text != config["has_tokenizer"]:
        raise ValueError(f"{path} is damaged: 'has_tokenizer' contradicts the parameters.")
    return config


def _check_keys(content: Any, types: Mapping[str, type], path: Path) -> None:
    """Raise ValueError unless content is a dictionary with these keys, each of its type."""
    if not isinstance(content, dict):
        raise ValueError(f"{path} is damaged: it holds a {type(content).__name__}, not a mapping.")
    for name, wanted in types.items():
        if name not in content:
            raise ValueError(f"{path} is damaged: {name!r} is missing.")
        # To Python a bool is an int, to us it is a mistake.
        if wanted is not object and type(content[name]) is not wanted:
            raise ValueError(
                f"{path} is damaged: {name!r} must be of type {wanted.__name__}, got "
                f"{content[name]!r}."
            )


def _read_history(path: Path) -> History:
    """Read history.json: a list of epochs, each a dictionary with a list of batches."""
    epochs = read_json(path)
    if not isinstance(epochs, list):
        raise ValueError(f"{path} is damaged: it holds no list of epochs.")
    for epoch in epochs:
        _check_keys(epoch, {"batches": list}, path)
        for batch in epoch["batches"]:
            _check_keys(batch, {}, path)
    return History(epochs)


def _read_tokenizer(path: Path, vocab_size: int) -> BaseTokenizer:
    content = read_json(path)
    try:
        tokenizer = tokenizer_from_dict(content)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    if tokenizer.n_tokens_ > vocab_size:
        raise ValueError(
            f"The tokenizer in {path} has {tokenizer.n_tokens_} tokens, but the checkpoint's "
            f"vocabulary holds {vocab_size}: they do not belong together."
        )
    return tokenizer


def build(estimator: Any, vocab_size: int) -> None:
    """Build the module of a new estimator, for weights to come."""
    estimator._check_parameters({})
    estimator._new_vocab_size = vocab_size
    with estimator._private_generators(0):
        estimator.initialize()


def _load_weights(module: nn.Module, path: Path) -> None:
    require(path)
    try:
        weights = safetensors.torch.load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged or no safetensors file: {error}.") from error
    own = module.state_dict()
    if own.keys() != weights.keys():
        odd = sorted(own.keys() ^ weights.keys())
        raise ValueError(
            f"{path} does not fit a {type(module).__name__} with these parameters: {len(odd)} "
            f"tensors are in one of them only, such as {odd[0]}."
        )
    for name, tensor in weights.items():
        if own[name].shape != tensor.shape:
            raise ValueError(
                f"{path} does not fit a {type(module).__name__} with these parameters: {name} has "
                f"shape {tuple(tensor.shape)} there and {tuple(own[name].shape)} here."
            )
    module.load_state_dict(weights)


def _untuple(value: Any) -> Any:
    """Sequences among the parameters are tuples; JSON has lists only."""
    return tuple(map(_untuple, value)) if isinstance(value, list) else value


def _plain(module: nn.Module) -> nn.Module:
    """Return the module without torch.compile's wrapper, whose names differ."""
    return getattr(module, "_orig_mod", module)

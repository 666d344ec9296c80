"""The files of a saved model: write, check and read them; none of them is executed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.torch
import torch
from torch import nn

from snn_estimators._files import OtherKindError, read_json, to_plain, write_json
from snn_estimators._version import __version__
from snn_estimators.persistence.cache_key import module_defaults
from snn_estimators.persistence.hashing import hash_bytes
from snn_estimators.persistence.training_state import check_epochs
from snn_estimators.text import BaseTokenizer, tokenizer_from_dict

__all__ = [
    "CARD",
    "CONFIG",
    "HISTORY",
    "TOKENIZER",
    "WEIGHTS",
    "check_keys",
    "check_replaceable",
    "plain",
    "read_classes",
    "read_config",
    "read_history",
    "read_tokenizer",
    "untuple",
    "write_model",
]

CONFIG, WEIGHTS, TOKENIZER = "config.json", "model.safetensors", "tokenizer.json"
HISTORY, CARD = "history.json", "README.md"
_FILES = frozenset({CONFIG, WEIGHTS, TOKENIZER, HISTORY, CARD})

FORMAT = 3

_FITTED = {"n_iter_": int, "n_steps_": int, "interrupted_": bool, "n_features_in_": int}
_CONFIG = {
    "module": str,
    "vocab_size": int,
    "n_parameters": int,
    "weights_sha256": str,
    "has_tokenizer": bool,
    "parameters": dict,
    "module_defaults": dict,
    "left_out": list,
    "fitted": dict,
}


# Writing


def write_model(estimator: Any, folder: Path, title: str, argument: str) -> None:
    """Write the files of a fitted model into an empty folder.

    The argument is a Python expression, which the model card passes to ``from_pretrained``.
    """
    module = plain(estimator.module_)
    tensors = {k: v.detach().cpu().clone() for k, v in module.state_dict().items()}
    weights = safetensors.torch.save(tensors)
    config = _config_of(estimator) | {"weights_sha256": hash_bytes(weights)}
    write_json(folder / CONFIG, config)
    write_json(folder / HISTORY, estimator.history.to_list(), indent=None)  # it is long
    (folder / WEIGHTS).write_bytes(weights)
    if estimator.tokenizer is not None:
        estimator.tokenizer_.save(folder / TOKENIZER)
    card = _model_card(estimator, config, title, argument)
    (folder / CARD).write_text(card, encoding="utf-8")


def _config_of(estimator: Any) -> dict[str, Any]:
    parameters, left_out = {}, []
    defaults = type(estimator)().get_params(deep=False)
    for name, value in estimator.get_params(deep=False).items():
        if name == "memory":  # a folder of this machine, no part of a model
            continue
        try:
            parameters[name] = json.loads(json.dumps(value, default=to_plain, allow_nan=False))
        except (TypeError, ValueError):
            if value is not defaults.get(name, value is None):
                left_out.append(name)
    names = {*parameters, *left_out}
    for owner, prefix in (("callbacks", "callbacks__"), ("train_split", "evaluate_every_n_steps")):
        for name in [name for name in parameters if name.startswith(prefix)]:
            if owner in left_out and parameters.pop(name) is not None:
                left_out.append(name)  # without the other it has no meaning
    return {
        "format": FORMAT,
        "estimator": type(estimator).__name__,
        "module": type(plain(estimator.module_)).__name__,
        "vocab_size": int(estimator.module_.vocab_size),
        "n_parameters": sum(weights.numel() for weights in estimator.module_.parameters()),
        "has_tokenizer": estimator.tokenizer is not None,
        "parameters": parameters,
        # So that a model stays what it is if one of them changes.
        "module_defaults": {k: v for k, v in module_defaults(estimator).items() if k not in names},
        "left_out": left_out,
        "fitted": {n: getattr(estimator, n) for n in _FITTED if hasattr(estimator, n)},
        "versions": {"snn_estimators": __version__, "torch": torch.__version__},
        **_classes_of(estimator),
    }


def _classes_of(estimator: Any) -> dict[str, Any]:
    """Describe the classes of a classifier, so that they are read as the same labels."""
    if not hasattr(estimator, "classes_"):
        return {}
    classes = estimator.classes_
    dtype = "object" if classes.dtype == object else classes.dtype.str
    return {"classes": {"dtype": dtype, "labels": classes.tolist()}}


def read_classes(config: Mapping[str, Any], path: Path) -> npt.NDArray[Any] | None:
    """Return the classes in a config, None if it is no classifier's; ValueError if damaged."""
    if "classes" not in config:
        return None
    described = config["classes"]
    check_keys(described, {"dtype": str, "labels": list}, path)
    try:
        classes = _labels(described["labels"], described["dtype"])
    except (ArithmeticError, SyntaxError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged: its classes make no labels: {error}.") from error
    if classes.ndim != 1 or classes.tolist() != described["labels"]:
        raise ValueError(
            f"{path} is damaged: {described['labels']} are no {described['dtype']} labels."
        )
    return classes


def _labels(labels: list[Any], name: str) -> npt.NDArray[Any]:
    """Return labels as an array of a data type, strings no wider than the longest needs."""
    dtype = np.dtype(name)
    if dtype.kind not in "biufUO" or dtype.hasobject != (name == "object"):
        raise ValueError(f"{name!r} is no type of labels")
    return np.array(labels, dtype=str if dtype.kind == "U" else dtype)


def _model_card(estimator: Any, config: Mapping[str, Any], name: str, argument: str) -> str:
    losses = [row["train_loss"] for row in estimator.history if "train_loss" in row]
    is_classifier = "classes" in config
    unit = "document" if is_classifier else "token"
    loss = f"{losses[-1]:.4f} nats a {unit}" if losses else "not recorded"
    task = "text-classification" if is_classifier else "text-generation"
    kind = "text-classifier" if is_classifier else "language-model"
    parameters = config["parameters"] | config["module_defaults"]
    options = {k: v for k, v in parameters.items() if k.startswith("module__")}
    rows = "\n".join(f"| {k.removeprefix('module__')} | {v} |" for k, v in options.items())
    fitted = config["fitted"]
    cut = " Training was interrupted before its end." if fitted.get("interrupted_") else ""
    imports = "" if argument.startswith('"') else "from pathlib import Path\n\n"
    return f"""---
library_name: snn_estimators
pipeline_tag: {task}
tags: [spiking-neural-network, {kind}]
---

# {name}

A `{config["estimator"]}` (module `{config["module"]}`): {config["n_parameters"]:,} parameters, a
vocabulary of {config["vocab_size"]} tokens, trained for {fitted.get("n_steps_", 0)} steps in
{fitted.get("n_iter_", 0)} epochs.{cut} Training loss of the last epoch: {loss}.

```python
{imports}from snn_estimators import {config["estimator"]}

model = {config["estimator"]}.from_pretrained({argument})
```

Parameters of the module:

| parameter | value |
|---|---|
{rows}

Written by snn_estimators {config["versions"]["snn_estimators"]} with torch
{config["versions"]["torch"]}. `config.json` has all parameters, `history.json` the losses.
"""


# Reading


def read_config(folder: Path, estimator: str | None = None) -> dict[str, Any]:
    """Read config.json, with a ValueError unless it holds all that loading needs.

    With the name of an estimator, it must be of that class.
    """
    path = folder / CONFIG
    config = read_json(path)
    check_keys(config, {"format": object, "estimator": str}, path)
    if config["format"] != FORMAT:
        raise OtherKindError(
            f"{path} is in format {config['format']}, this version of snn_estimators reads "
            f"{FORMAT}: use the version that wrote it."
        )
    found = config["estimator"]
    if estimator not in (None, found):
        raise OtherKindError(f"{folder} holds a {found}, no {estimator}: use the class {found}.")
    check_keys(config, _CONFIG, path)
    fitted = config["fitted"]
    if not fitted.keys() <= _FITTED.keys():
        odd = min(fitted.keys() - _FITTED.keys())
        raise ValueError(f"{path} is damaged: 'fitted' knows no {odd!r}, only {list(_FITTED)}.")
    check_keys(fitted, {name: _FITTED[name] for name in fitted}, path)
    counts = {"vocab_size": config["vocab_size"], **fitted}
    for name, value in counts.items():
        if value < 0:
            raise ValueError(f"{path} is damaged: {name!r} is negative, {value}.")
    takes_text = config["parameters"].get("tokenizer", "an instance") is not None
    if takes_text != config["has_tokenizer"]:
        raise ValueError(f"{path} is damaged: 'has_tokenizer' contradicts the parameters.")
    return config


def check_keys(content: Any, types: Mapping[str, type], path: Path) -> None:
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


def read_history(path: Path) -> list[dict[str, Any]]:
    """Read history.json: a list of epochs, each a dictionary with a list of batches."""
    epochs = read_json(path)
    try:
        check_epochs(epochs)
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}.") from error
    return epochs


def read_tokenizer(folder: Path, vocab_size: int) -> BaseTokenizer:
    """Read tokenizer.json, with a ValueError unless it suits the size of the vocabulary."""
    path = folder / TOKENIZER
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


def untuple(value: Any) -> Any:
    """Sequences among the parameters are tuples; JSON has lists only."""
    return tuple(map(untuple, value)) if isinstance(value, list) else value


def plain(module: nn.Module) -> nn.Module:
    """Return the module without torch.compile's wrapper, whose names differ."""
    return getattr(module, "_orig_mod", module)


def check_replaceable(folder: Path) -> None:
    """Raise ValueError unless a folder holds a model's files alone, or nothing, or is not there."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not _holds_model(folder):
        raise ValueError(f"{folder} exists and holds no model: choose another name or path.")
    others = sorted(p.name for p in folder.iterdir() if p.name not in _FILES or not p.is_file())
    if others:
        raise ValueError(
            f"{folder} holds a model, but also {others[0]!r}, which saving would delete: move it "
            "away, or choose another name or path."
        )


def _holds_model(folder: Path) -> bool:
    try:
        config = read_json(folder / CONFIG)
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and {"format", "estimator"} <= config.keys()

"""Published checkpoints as estimators: what both reference systems have in common."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

from sklearn.base import clone
from torch import nn

from snn_estimators.convert import read_checkpoint
from snn_estimators.estimators.language_model import LanguageModel, module_parameters
from snn_estimators.estimators.pretrained_io import build
from snn_estimators.text import BaseTokenizer

__all__ = ["adopt_checkpoint"]

Model = TypeVar("Model", bound=LanguageModel)
Path = str | os.PathLike[str]


def adopt_checkpoint(
    kind: type[Model],
    preset: str,
    path: Path,
    tokenizer: Any,
    parameters: Mapping[str, Any],
    *,
    system: str,
    free: Collection[str],
    options_of: Callable[[Mapping[str, Any]], dict[str, Any]],
    convert: Callable[[Mapping[str, Any]], nn.Module],
) -> Model:
    """Return a fitted estimator with a checkpoint's weights.

    Parameters
    ----------
    kind, preset
        The class of the estimator, and the recipe to train on with.
    path : str or path
    tokenizer : fitted tokenizer or None
    parameters : mapping
        Of the estimator; of its module's those in `free` alone.
    system : str
        Name of the reference system, for errors.
    options_of, convert : callable
        From what the file holds to the module's options, and to the module.

    Raises
    ------
    FileNotFoundError, NotFittedError, TypeError, ValueError
        See `SpikeGPTLM.from_reference`.
    """
    fixed = sorted(k for k in parameters if k.startswith("module") and k not in free)
    if fixed:
        raise ValueError(f"{fixed[0]} is the checkpoint's: leave it out.")
    if tokenizer is not None:
        if not isinstance(tokenizer, BaseTokenizer):
            raise TypeError(
                f"tokenizer must be a fitted tokenizer, or None for ids, got {tokenizer!r}."
            )
        tokenizer.check_is_fitted()
    content = read_checkpoint(path)
    try:
        options = options_of(content)
        module = convert(content)
    except ValueError as error:
        raise ValueError(f"{path} holds no {system}: {error}") from error
    vocab_size = options.pop("vocab_size")
    _check_size(tokenizer, vocab_size, path)
    made = {"tokenizer": None if tokenizer is None else clone(tokenizer)}
    estimator = kind.from_preset(preset, **{**made, **module_parameters(options), **parameters})
    build(estimator, vocab_size)
    estimator.module_.load_state_dict(module.state_dict())
    if tokenizer is not None:
        estimator.tokenizer_ = tokenizer
    estimator.n_iter_, estimator.n_steps_, estimator.interrupted_ = 0, 0, False
    return estimator


def _check_size(tokenizer: BaseTokenizer | None, vocab_size: int, path: Path) -> None:
    if tokenizer is not None and tokenizer.n_tokens_ > vocab_size:
        raise ValueError(
            f"The tokenizer has {tokenizer.n_tokens_} tokens, but the vocabulary of {path} holds "
            f"{vocab_size}: it is not the one that the model was trained with."
        )

"""What a classifier takes over from a pretrained language model, and what may not contradict it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from torch import nn

from snn_estimators.estimators.language_model import LanguageModel
from snn_estimators.persistence.cache_key import signature_defaults
from snn_estimators.text import BaseTokenizer

__all__ = ["adopt_backbone", "adopt_tokenizer"]


def adopt_tokenizer(
    pretrained: LanguageModel, given: Any, parameters: Mapping[str, Any]
) -> BaseTokenizer | None:
    """Return a copy of the pretrained model's tokenizer, None if it knows token ids alone.

    Raises ValueError if the classifier's `tokenizer` or ``tokenizer__*`` contradict it.
    """
    if pretrained.tokenizer is None:
        if given is not None:
            raise ValueError(
                "The pretrained model has no tokenizer: set tokenizer=None and pass token ids."
            )
        return None
    own = pretrained.tokenizer_
    same = given in ("auto", own.type_name) or (
        type(given) is type(own) and given.get_params() == own.get_params()
    )
    if not same:
        raise ValueError(
            f"tokenizer={given!r} contradicts the pretrained model's, {own!r}: leave it out."
        )
    _check_no_contradictions("tokenizer", parameters, own.get_params())
    return copy.deepcopy(own)


def adopt_backbone(
    pretrained: LanguageModel, module: Any, parameters: Mapping[str, Any]
) -> nn.Module:
    """Return a copy of the pretrained model's module; its dropout alone may be another.

    Raises ValueError if the classifier's `module` or ``module__*`` contradict it otherwise.
    """
    own: nn.Module = getattr(pretrained.module_, "_orig_mod", pretrained.module_)
    kind: Any = type(own)
    if module is not kind:
        raise ValueError(
            f"module={module!r} contradicts the pretrained model's, {kind.__name__}: leave it out."
        )
    if isinstance(pretrained.module, nn.Module):  # nobody knows how it was built
        if parameters:
            raise ValueError(
                f"module__{min(parameters)} cannot be set: the pretrained model was made from a "
                "ready module."
            )
        return copy.deepcopy(own)
    built_with = {
        **signature_defaults(kind),
        **pretrained.get_params_for("module"),
        "vocab_size": pretrained.vocab_size_,
    }
    dropouts = {name: p for name, p in parameters.items() if name.endswith("dropout")}
    _check_no_contradictions(
        "module", {k: p for k, p in parameters.items() if k not in dropouts}, built_with
    )
    if not dropouts:
        return copy.deepcopy(own)
    backbone: nn.Module = kind(**{**built_with, **dropouts})
    backbone.load_state_dict(own.state_dict())
    return backbone


def _check_no_contradictions(
    component: str, given: Mapping[str, Any], own: Mapping[str, Any]
) -> None:
    for name, value in given.items():
        if value != own.get(name):
            raise ValueError(
                f"{component}__{name}={value!r} contradicts the pretrained model's "
                f"{own.get(name)!r}: leave it out."
            )

r"""Learning from a teacher: another language model of the same vocabulary.

With a weight :math:`w` the loss of a token is

.. math:: (1 - w)\,\bigl(-\log p(x)\bigr)
          + w \sum_v q(v) \log\frac{q(v)}{p(v)},

where :math:`p` is the student's and :math:`q` the teacher's distribution of the next token: Hinton
et al., "Distilling the knowledge in a neural network", 2015, at temperature 1.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from snn_estimators._validation import is_number
from snn_estimators.estimators.fitted_parameters import fitted_model, identity_of_model
from snn_estimators.estimators.pretrained_io import PretrainedIO, load_pretrained
from snn_estimators.estimators.text_net import TextNet
from snn_estimators.text import IGNORED, BaseTokenizer

__all__ = ["Distillation"]


class Distillation(TextNet):
    """A net whose parameter `teacher` is another language model that it learns from."""

    FITTED_PARAMETERS = ("teacher",)

    teacher: Any
    teacher_weight: float
    _ask_teacher: Callable[[Tensor], Tensor] | None = None  # while it trains

    def _check_recipe(self) -> None:
        super()._check_recipe()
        if not is_number(self.teacher_weight) or not 0 <= self.teacher_weight <= 1:
            raise ValueError(
                f"teacher_weight must be a number from 0 to 1, got {self.teacher_weight!r}."
            )

    def _resolve_teacher(self) -> Any:
        """Return the fitted teacher, or None."""
        return fitted_model("teacher", self.teacher, PretrainedIO, load_pretrained)

    def _data_key(self, data: Any) -> dict[str, Any]:
        teacher = identity_of_model(self._resolve_teacher())
        return {} if teacher is None else {"teacher": teacher}

    def _check_teacher(self, teacher: Any, tokenizer: BaseTokenizer | None, n_tokens: int) -> None:
        """Raise ValueError unless a teacher speaks of the same tokens."""
        if teacher is None:
            return
        if hasattr(teacher, "classes_"):
            raise ValueError("teacher is a classifier: give a language model.")
        theirs = None if teacher.tokenizer is None else teacher.tokenizer_
        if type(theirs) is not type(tokenizer) or _words(theirs) != _words(tokenizer):
            raise ValueError(
                f"teacher has another vocabulary ({_shown(theirs)}, where this model has "
                f"{_shown(tokenizer)}): fit both on the same documents with the same tokenizer."
            )
        if teacher.vocab_size_ != n_tokens:
            raise ValueError(
                f"teacher knows {teacher.vocab_size_} tokens, this model {n_tokens}: set "
                "module__vocab_size of both."
            )

    def _check_windows(self, teacher: Any) -> None:
        """Raise ValueError if a teacher sees less than the windows of the initialized module."""
        limit = None if teacher is None else teacher.module_.position_limit
        length = self.module_.max_len
        if limit is not None and limit < length:
            raise ValueError(
                f"teacher sees at most {limit} tokens, this model's windows have {length}: "
                "give a teacher of longer sequences."
            )

    @contextmanager
    def _learning_from(self, teacher: Any) -> Iterator[None]:
        """Have `get_loss` see what the teacher says, while the context lasts."""
        self._check_windows(teacher)
        if teacher is not None:
            module = getattr(teacher.module_, "_orig_mod", teacher.module_)
            module = copy.deepcopy(module).to(self.device_).eval()
            self._ask_teacher = lambda tokens: module(tokens.to(self.device_))
        try:
            yield
        finally:
            self._ask_teacher = None

    def _taught(self, loss: Tensor, y_pred: Tensor, y_true: Tensor, X: Tensor) -> Tensor:
        """Return the module's formula for a batch; the loss as it is without a teacher."""
        if self._ask_teacher is None:
            return loss
        with torch.no_grad():
            wanted = self._ask_teacher(X).log_softmax(-1)
        log_p = y_pred.log_softmax(-1)
        divergence = nn.functional.kl_div(log_p, wanted, reduction="none", log_target=True)
        counts = (y_true != IGNORED).to(y_pred.device)
        mean = divergence.sum(-1).where(counts, 0.0).sum() / counts.sum().clamp_min(1)
        return (1 - self.teacher_weight) * loss + self.teacher_weight * mean


def _words(tokenizer: BaseTokenizer | None) -> Any:
    return None if tokenizer is None else list(tokenizer.vocabulary_)


def _shown(tokenizer: BaseTokenizer | None) -> str:
    if tokenizer is None:
        return "token ids"
    return f"{tokenizer.n_tokens_} of {type(tokenizer).__name__}"

"""A language model as scikit-learn's density estimators: fit, score, perplexity, generate."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence, Sized
from typing import Any, ClassVar, Self, cast

import numpy as np
from sklearn.base import clone
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, RandomSampler

from snn_estimators._validation import check_whole, suggest
from snn_estimators._warnings import warn
from snn_estimators.estimators.distillation import Distillation
from snn_estimators.estimators.exporting import Exporting
from snn_estimators.estimators.generation import Generation, Sampler, stream_ids
from snn_estimators.estimators.lm_scoring import LanguageModelScoring
from snn_estimators.estimators.net.loader_workers import loader_parameters
from snn_estimators.estimators.pretrained_io import PretrainedIO
from snn_estimators.estimators.text_net import check_two_tokens
from snn_estimators.estimators.token_windows import (
    ShuffledWindows,
    TokenWindows,
    collate,
    equal_length_batches,
    window_lengths,
)
from snn_estimators.persistence.cache_key import fit_key, why_not_cacheable
from snn_estimators.persistence.checkpointing import Checkpointer
from snn_estimators.persistence.hashing import hash_documents
from snn_estimators.persistence.named_run import NamedRun, check_name_is_free
from snn_estimators.persistence.names import models_home
from snn_estimators.persistence.run_folder import RunFolder, check_name
from snn_estimators.text import BaseTokenizer, Ids

__all__ = ["LanguageModel", "module_parameters"]

_ENOUGH = "No document is long enough for a window: at least one must"


def module_parameters(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return a module's options as parameters of its estimator."""
    return {f"module__{name}": value for name, value in options.items()}


class LanguageModel(Distillation, LanguageModelScoring, Generation, Exporting, PretrainedIO):
    """Base of the language models; a subclass brings a module and a recipe.

    The module maps ids [batch, sequence] to logits [batch, sequence, vocabulary], with -1 as
    padding on the right; it has the attributes ``vocab_size``, ``max_len`` (the length of its
    windows) and ``position_limit`` (of a stream, or None), and
    ``stream(ids, state) -> (logits, state)`` for generation.
    """

    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Named recipes for `from_preset`: parameters that differ from the defaults."""

    WINDOW: ClassVar[str] = "module__max_len"
    """The parameter that is the length of windows."""

    def __init__(
        self,
        module: Any,
        *,
        tokenizer: str | BaseTokenizer | None,
        weight_decay: float,
        betas: tuple[float, float],
        clip: float | None,
        schedule: str,
        warmup_steps: int,
        warmup_tokens: int | None,
        lr_final: float | None,
        max_steps: int | None,
        steps_per_epoch: int | None,
        stride: int | None,
        spike_penalty: float,
        random_state: Any,
        name: str | None = None,
        resume: bool = False,
        save_every_n_steps: int | None = None,
        keep_checkpoints: int = 3,
        teacher: Any = None,
        teacher_weight: float = 0.5,
        evaluate_every_n_steps: int | None = None,
        memory: str | os.PathLike[str] | None = None,
        **kwargs: Any,
    ) -> None:
        self.tokenizer = tokenizer
        self.weight_decay = weight_decay
        self.betas = betas
        self.clip = clip
        self.schedule = schedule
        self.warmup_steps = warmup_steps
        self.warmup_tokens = warmup_tokens
        self.lr_final = lr_final
        self.max_steps = max_steps
        self.steps_per_epoch = steps_per_epoch
        self.stride = stride
        self.spike_penalty = spike_penalty
        self.teacher = teacher
        self.teacher_weight = teacher_weight
        self.random_state = random_state
        self.name = name
        self.resume = resume
        self.save_every_n_steps = save_every_n_steps
        self.keep_checkpoints = keep_checkpoints
        self.evaluate_every_n_steps = evaluate_every_n_steps
        self.memory = memory
        super().__init__(module, **kwargs)

    @classmethod
    def from_preset(cls, name: str, **overrides: Any) -> Self:
        """Return an unfitted estimator with a named recipe.

        Parameters
        ----------
        name : str
            A key of `PRESETS`.
        **overrides
            Parameters that differ from the preset's.

        Raises
        ------
        ValueError
            If there is no such preset.
        """
        if name not in cls.PRESETS:
            raise ValueError(f"There is no preset {name!r}: {suggest(name, sorted(cls.PRESETS))}")
        return cls(**{**cls.PRESETS[name], **overrides})

    def twin(self, **overrides: Any) -> Self:
        """Return the non-spiking twin, not fitted: the same recipe and module without spikes.

        Parameters
        ----------
        **overrides
            Parameters that differ from this model's.

        Raises
        ------
        ValueError
            If the module is none that has a twin.

        Examples
        --------
        >>> from snn_estimators import SpikeGPTLM
        >>> SpikeGPTLM(module__n_layer=2).twin()
        SpikeGPTLM(spike_penalty=0.0, module__n_layer=2, module__spikes='none')
        """
        options = getattr(self.module, "TWIN", None)
        if options is None:
            raise ValueError(
                f"module={self.module!r} has no non-spiking twin: it has no attribute TWIN with "
                "the options that make it one."
            )
        changed = {"spike_penalty": 0.0, "name": None, "resume": False, "teacher": None}
        changed |= module_parameters(options)
        return clone(self).set_params(**{**changed, **overrides})

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.estimator_type = "density_estimator"
        return tags

    # Fitting

    def fit(self, X: Any, y: Any = None, *, resume: bool | None = None, **fit_params: Any) -> Self:
        """Learn the tokenizer and the model from documents.

        Parameters
        ----------
        X : iterable of str, or token ids
            Documents: a list, array or Series of strings. With ``tokenizer=None``, token ids: an
            integer array of shape (n_documents, n_tokens), or a list of 1-D arrays.
        y : None
            Ignored: the targets are the next tokens.
        resume : bool, optional
            Overrides the parameter `resume` for this call.
        **fit_params
            For `train_split` alone, such as its ``groups``.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            If X is not such a collection, no document has two tokens, or a parameter makes no
            sense; if the teacher has another vocabulary, or its windows are shorter; if `name` is
            taken and the fit not to be resumed, or cannot be resumed with these parameters and
            data.
        FloatingPointError
            If the loss or a gradient is no longer finite. The weights before that step and the
            history are kept.
        OSError
            If a checkpoint cannot be written. The ones before stay.
        """
        if self.warm_start and self.initialized_:
            return self._fit_further(X, "fit", fit_params)
        documents = self._validate(X, y, fit_params, resume)
        teacher = self._resolve_teacher()
        with (
            self._open_checkpointer(documents, fit_params) as checkpointer,
            self._private_generators(self._draw_seed()),
        ):
            tokenizer, tokens = self._fit_tokenizer(documents, checkpointer)
            del documents  # which nobody else may hold
            check_two_tokens(tokens, _ENOUGH)
            self._check_teacher(teacher, tokenizer, self._new_vocab_size)
            self.initialize()
            if tokenizer is not None:
                self.tokenizer_ = tokenizer
            if not checkpointer.restore_finished(self):
                with self._learning_from(teacher):
                    self._train(self.get_dataset(tokens), "fit", checkpointer, **fit_params)
        return self

    def _validate(
        self, X: Any, y: Any, fit_params: Mapping[str, Any], resume: bool | None = None
    ) -> Sequence[str] | Ids | list[Ids]:
        """Check parameters, name and documents, and return the documents."""
        self._check_parameters(fit_params)
        if resume and self.name is None:
            raise ValueError("resume=True needs a name to resume: set the parameter name.")
        if self.name is not None:
            name, may_resume = self.name, self.resume if resume is None else resume
            self._role().from_main(lambda: check_name_is_free(name, may_resume))
        return self._check_X(X, reset=True)

    def _open_checkpointer(self, data: Any, fit_params: Mapping[str, Any]) -> Checkpointer:
        """Return what saves a fit: under its `name`, in the `memory`, or nowhere."""
        if self.name is None:
            return super()._open_checkpointer(data, fit_params)
        return Checkpointer(NamedRun(self, RunFolder(models_home() / self.name)), self._role())

    def _data_key(self, data: Any) -> dict[str, Any]:
        return {"X": hash_documents(data), **super()._data_key(data)}

    def partial_fit(self, X: Any, y: Any = None, classes: None = None, **fit_params: Any) -> Self:
        """Train for another `max_epochs` (or `max_steps`), from where the last training stopped.

        The vocabulary, the optimizer's state and the random numbers continue; the learning-rate
        schedule starts again. On an unfitted estimator the same as `fit`; see there. On a fitted
        one nothing is saved, and a warning says so if it has a `name`. `classes` is part of
        skorch's signature and ignored.
        """
        if not self.initialized_:
            return self.fit(X, y, **fit_params)
        if self.name is not None:
            warn(
                f"partial_fit saves nothing under name={self.name!r}, and cannot be resumed: use "
                "save_pretrained when it is done.",
                UserWarning,
            )
        return self._fit_further(X, "partial_fit", fit_params)

    def _fit_further(self, X: Any, method: str, fit_params: dict[str, Any]) -> Self:
        self._check_parameters(fit_params)
        tokens = self._tokenize(self._check_X(X))
        check_two_tokens(tokens, _ENOUGH)
        teacher = self._resolve_teacher()
        tokenizer = None if self.tokenizer is None else self.tokenizer_
        self._check_teacher(teacher, tokenizer, self.vocab_size_)
        states = getattr(self, "_states_after_training", None)
        with (
            Checkpointer(role=self._role()) as checkpointer,
            self._private_generators(self._draw_seed() if states is None else states),
            self._learning_from(teacher),
        ):
            return self._train(self.get_dataset(tokens), method, checkpointer, **fit_params)

    def check(self, X: Any) -> None:
        """Raise the errors of `fit` without fitting: a second's work before hours of it.

        The estimator stays as it is, fitted or not, and so do the global random generators.

        Parameters
        ----------
        X : iterable of str, or token ids
            As in `fit`. An iterator is consumed.

        Raises
        ------
        TypeError, ValueError
            If X, a parameter, or the two together make no model; what `fit` would raise.

        Examples
        --------
        >>> from snn_estimators.estimators import SpikeDecoderLM
        >>> SpikeDecoderLM(module__heads=3).check(["to be or not to be"])
        Traceback (most recent call last):
            ...
        ValueError: heads=3 must divide ...
        """
        trial = clone(self)
        documents = trial._validate(X, None, {})
        if trial.memory is not None and not why_not_cacheable(trial):
            fit_key(trial, {}, {})  # raises if a parameter has no hash
        tokenizer, tokens = trial._learn_tokens(documents)
        check_two_tokens(tokens, _ENOUGH)
        teacher = trial._resolve_teacher()
        trial._check_teacher(teacher, tokenizer, trial._new_vocab_size)
        with trial._private_generators(0):
            trial.initialize()
        trial._check_windows(teacher)

    def _check_parameters(self, fit_params: Mapping[str, Any]) -> None:
        super()._check_parameters(fit_params)
        for name in ("steps_per_epoch", "stride"):
            check_whole(name, getattr(self, name), 1, optional=True)

    def _check_saving(self) -> None:
        """Raise an error for a name that is none, or parameters that need one."""
        super()._check_saving()
        check_whole("keep_checkpoints", self.keep_checkpoints, 1)
        if self.name is None and self.resume:
            raise ValueError("resume=True needs a name to save under: set name.")
        if self.name is not None:
            check_name(self.name)
            if self.warm_start:
                raise ValueError(
                    f"warm_start=True trains a fitted model on, of which nothing would be saved "
                    f"under name={self.name!r}: leave out either."
                )
            self._check_no_generator()
            if self.memory is not None:
                raise ValueError(
                    "A fit with a name is saved under it: leave out either "
                    f"memory={str(self.memory)!r} or name={self.name!r}."
                )

    def _stream(
        self,
        prompts: Sequence[Ids],
        n_tokens: int,
        sampler: Sampler,
        seeds: Sequence[np.random.SeedSequence],
    ) -> Iterator[Ids]:
        self._set_training(False)
        return stream_ids(self.module_, prompts, n_tokens, sampler, seeds)

    # skorch's hooks

    def get_dataset(self, X: Any, y: Any = None) -> Dataset:
        """Cut token ids into training windows; a skorch hook."""
        if isinstance(X, Dataset):
            return X
        anywhere = self.steps_per_epoch is not None and not self.train_split
        return TokenWindows(X, self.module_.max_len, 1 if anywhere else self.stride)

    def get_iterator(self, dataset: Dataset, training: bool = False) -> DataLoader:
        """Batch windows: shuffled or drawn at random to train, of equal lengths to score."""
        name = "iterator_train" if training else "iterator_valid"
        parameters = loader_parameters(getattr(self, name), self.get_params_for(name))
        parameters.setdefault("collate_fn", collate)
        size = parameters.pop("batch_size", self.batch_size)
        if not training:
            batches = equal_length_batches(window_lengths(dataset), size)
            return self.iterator_valid(dataset, batch_sampler=batches, **parameters)
        is_plain = self.iterator_train is DataLoader and not (
            parameters.keys() & {"sampler", "shuffle", "generator"}
        )
        if self.steps_per_epoch is None and is_plain:
            parameters["sampler"] = ShuffledWindows(cast(Sized, dataset))
        elif self.steps_per_epoch is None:
            parameters.setdefault("shuffle", "sampler" not in parameters)
        else:
            n_windows = self.steps_per_epoch * size
            parameters["sampler"] = RandomSampler(
                cast(Sized, dataset), replacement=True, num_samples=n_windows
            )
        return self.iterator_train(dataset, batch_size=size, **parameters)

    def get_loss(
        self, y_pred: Tensor, y_true: Tensor, X: Any = None, training: bool = False
    ) -> Tensor:
        """Return the mean loss of the batch's tokens; skorch's.

        In training it is the teacher's, too, if there is one, and the penalty is added.
        """
        loss = self.criterion_(y_pred.flatten(0, 1), y_true.to(y_pred.device).flatten())
        if training:
            loss = self._taught(loss, y_pred, y_true, X)
        return loss + self._penalty(training)

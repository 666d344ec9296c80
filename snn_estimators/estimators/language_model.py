"""A language model as scikit-learn's density estimators: fit, score, perplexity, generate."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence, Sized
from typing import Any, ClassVar, Self, cast

import numpy as np
from sklearn.base import clone
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, RandomSampler

from snn_estimators.estimators.checkpoints import check_name
from snn_estimators.estimators.data import (
    Ids,
    TokenWindows,
    check_token_ids,
    collate,
    equal_length_batches,
    window_lengths,
)
from snn_estimators.estimators.evaluation import Evaluation
from snn_estimators.estimators.generation import Generation
from snn_estimators.estimators.named_fit import NamedFit, refuse_taken_name
from snn_estimators.estimators.persistence import Persistence
from snn_estimators.estimators.training import TrainedNet, is_whole
from snn_estimators.text import BaseTokenizer, check_documents, make_tokenizer

__all__ = ["LanguageModel"]


class LanguageModel(Evaluation, Generation, Persistence):
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

    _components = (*TrainedNet._components, "tokenizer")

    tokenizer_: BaseTokenizer
    _new_vocab_size: int  # of the module that `initialize` is about to build

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
        random_state: Any,
        name: str | None = None,
        resume: bool = False,
        save_every_n_steps: int | None = None,
        keep_checkpoints: int = 3,
        evaluate_every_n_steps: int | None = None,
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
        self.random_state = random_state
        self.name = name
        self.resume = resume
        self.save_every_n_steps = save_every_n_steps
        self.keep_checkpoints = keep_checkpoints
        self.evaluate_every_n_steps = evaluate_every_n_steps
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
            raise ValueError(f"There is no preset {name!r}: choose one of {sorted(cls.PRESETS)}.")
        return cls(**{**cls.PRESETS[name], **overrides})

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.estimator_type = "density_estimator"
        takes_text = self.tokenizer is not None
        tags.input_tags.string = takes_text
        tags.input_tags.two_d_array = not takes_text
        tags.input_tags.categorical = not takes_text
        tags.input_tags.positive_only = not takes_text
        return tags

    def _component_type(self, component: str) -> Any:
        if component == "tokenizer" and isinstance(self.tokenizer, str):
            return type(make_tokenizer(self.tokenizer))
        return super()._component_type(component)

    @property
    def vocab_size_(self) -> int:
        """Number of different tokens that the fitted module knows."""
        return self.module_.vocab_size

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
            sense; if `name` is taken and the fit not to be resumed, or cannot be resumed with
            these parameters and data.
        FloatingPointError
            If the loss or a gradient is no longer finite. The weights before that step and the
            history are kept.
        OSError
            If a checkpoint cannot be written. The ones before stay.
        """
        if self.warm_start and self.initialized_:
            return self._fit_further(X, "fit", fit_params)
        self._check_parameters(fit_params)
        if self.name is None:
            if resume:
                raise ValueError("resume=True needs a name to resume: set the parameter name.")
            return self._fit_anew(self._check_X(X, reset=True), None, fit_params)
        run = refuse_taken_name(self.name, self.resume if resume is None else resume)
        documents = self._check_X(X, reset=True)
        with NamedFit(self, run) as keeper:
            return self._fit_anew(documents, keeper, fit_params)

    def _fit_anew(
        self, documents: Any, keeper: NamedFit | None, fit_params: dict[str, Any]
    ) -> Self:
        tokenizer, tokens = self._learn_or_recall_tokens(documents, keeper)
        self._check_enough(tokens)
        with self._private_generators(self._draw_seed()):
            self.initialize()
            if tokenizer is not None:
                self.tokenizer_ = tokenizer
            if keeper is not None and keeper.finished:
                keeper.restore_finished(self)
                return self
            return self._train(self.get_dataset(tokens), "fit", keeper, **fit_params)

    def _learn_or_recall_tokens(
        self, documents: Any, keeper: NamedFit | None
    ) -> tuple[BaseTokenizer | None, Sequence[Ids]]:
        if keeper is not None and keeper.saved is not None:
            self._new_vocab_size = keeper.saved.vocab_size
            return keeper.saved.tokenizer, keeper.tokens(documents)
        tokenizer, tokens = self._learn_tokens(documents)
        if keeper is not None:
            keeper.see(tokens)
        return tokenizer, tokens

    def partial_fit(self, X: Any, y: Any = None, classes: None = None, **fit_params: Any) -> Self:
        """Train for another `max_epochs` (or `max_steps`), from where the last training stopped.

        The vocabulary, the optimizer's state and the random numbers carry on; the learning-rate
        schedule starts again. On an unfitted estimator the same as `fit`; see there. On a fitted
        one nothing is saved, whatever its `name`. `classes` is part of skorch's signature and
        ignored.
        """
        if not self.initialized_:
            return self.fit(X, y, **fit_params)
        return self._fit_further(X, "partial_fit", fit_params)

    def _fit_further(self, X: Any, method: str, fit_params: dict[str, Any]) -> Self:
        self._check_parameters(fit_params)
        tokens = self._tokenize(self._check_X(X))
        self._check_enough(tokens)
        states = getattr(self, "_states_after_training", None)
        with self._private_generators(self._draw_seed() if states is None else states):
            return self._train(self.get_dataset(tokens), method, **fit_params)

    def check(self, X: Any) -> None:
        """Refuse what cannot be fitted, without fitting: a second's work before hours of it.

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
        trial._check_parameters({})
        if trial.name is not None:
            refuse_taken_name(trial.name, trial.resume)
        _, tokens = trial._learn_tokens(trial._check_X(X, reset=True))
        trial._check_enough(tokens)
        with trial._private_generators(0):
            trial.initialize()

    def _check_parameters(self, fit_params: Mapping[str, Any]) -> None:
        self._check_recipe()
        for name in ("steps_per_epoch", "stride", "save_every_n_steps"):
            value = getattr(self, name)
            if value is not None and not is_whole(value, 1):
                raise ValueError(f"{name} must be None or a whole number from 1 on, got {value!r}.")
        self._check_naming()
        size = self.get_params_for("module").get("vocab_size", 1)
        if not is_whole(size, 1):
            raise ValueError(
                f"module__vocab_size must be a whole number from 1 on, got {size!r}: leave it out "
                "to have it found."
            )
        if not isinstance(self.tokenizer, str | BaseTokenizer | None):
            raise TypeError(
                'tokenizer must be a name such as "char", a tokenizer, or None for token ids, '
                f"got {self.tokenizer!r}."
            )
        if fit_params and not self.train_split:
            raise TypeError(
                f"fit() got unexpected parameters {sorted(fit_params)}: only a train_split takes "
                "any, and there is none."
            )

    def _check_naming(self) -> None:
        """Refuse names that are none, and parameters that mean nothing without a name."""
        if not is_whole(self.keep_checkpoints, 1):
            raise ValueError(
                f"keep_checkpoints must be a whole number from 1 on, got {self.keep_checkpoints!r}."
            )
        if self.name is not None:
            check_name(self.name)
            sampling = self.get_params_for("iterator_train")
            sources = (
                sampling.get("generator"),
                getattr(sampling.get("sampler"), "generator", None),
            )
            if any(source is not None for source in sources):
                raise ValueError(
                    "A named fit cannot be resumed with a generator of iterator_train's own: leave "
                    "it out, random_state seeds the batches."
                )
            return
        for name in ("resume", "save_every_n_steps"):
            if getattr(self, name):
                raise ValueError(
                    f"{name}={getattr(self, name)!r} needs a name to save under: set name."
                )

    def _check_X(self, X: Any, *, reset: bool = False) -> list[str] | Ids | list[Ids]:
        """Return documents as strings, or token ids as a table or a list of arrays."""
        if self.tokenizer is None:
            return check_token_ids(self, X, reset=reset)
        return check_documents(X, allow_empty=not reset)

    def _learn_tokens(self, documents: Any) -> tuple[BaseTokenizer | None, Sequence[Ids]]:
        """Fit a tokenizer, settle the size of the vocabulary, and return the ids."""
        if self.tokenizer is None:
            tokenizer, tokens = None, documents
            n_tokens = 1 + max((int(ids.max()) for ids in tokens if len(ids)), default=-1)
        else:
            name = self.tokenizer
            tokenizer = make_tokenizer(name) if isinstance(name, str) else clone(name)
            tokenizer.set_params(**self.get_params_for("tokenizer"))
            tokens = tokenizer.fit(documents).transform(documents)
            n_tokens = tokenizer.n_tokens_
        size = self.get_params_for("module").get("vocab_size", n_tokens)
        if size < n_tokens:
            raise ValueError(
                f"module__vocab_size={size} is too small: the training data has {n_tokens} "
                "different tokens. Leave it out to have it found."
            )
        self._new_vocab_size = int(size)
        return tokenizer, tokens

    def _check_enough(self, tokens: Sequence[Ids]) -> None:
        if all(len(ids) < 2 for ids in tokens):
            hint = " (n_features=1)" if isinstance(tokens, np.ndarray) else ""
            raise ValueError(
                "No document is long enough for a window: at least one must have two tokens, one "
                f"to see and one to predict{hint}."
            )

    def _tokenize(self, documents: Any) -> Sequence[Ids]:
        """Return the ids of checked documents, all within the vocabulary."""
        self.check_is_fitted()
        if self.tokenizer is not None:
            return self.tokenizer_.transform(documents)
        largest = max((int(ids.max()) for ids in documents if len(ids)), default=-1)
        if largest >= self.module_.vocab_size:
            raise ValueError(
                f"X holds the token id {largest}, but the model knows ids 0 to "
                f"{self.module_.vocab_size - 1} only: fit it on data with all ids, or set "
                "module__vocab_size."
            )
        return documents

    # skorch's hooks

    def initialize_module(self) -> Self:
        """Build the module for the vocabulary that was found; a skorch hook."""
        parameters = self.get_params_for("module")
        takes_size = "vocab_size" in inspect.signature(self._component_type("module")).parameters
        if takes_size and not isinstance(self.module, nn.Module):
            size = vars(self).get("_new_vocab_size", parameters.get("vocab_size"))
            if size is None:
                raise ValueError("The vocabulary is not known before fit: set module__vocab_size.")
            parameters["vocab_size"] = size
        self.module_ = self.initialized_instance(self.module, parameters)
        return self

    def get_dataset(self, X: Any, y: Any = None) -> Dataset:
        """Cut token ids into training windows; a skorch hook."""
        if isinstance(X, Dataset):
            return X
        anywhere = self.steps_per_epoch is not None and not self.train_split
        return TokenWindows(X, self.module_.max_len, 1 if anywhere else self.stride)

    def get_iterator(self, dataset: Dataset, training: bool = False) -> DataLoader:
        """Batch windows: shuffled or drawn at random to train, of equal lengths to score."""
        parameters = self.get_params_for("iterator_train" if training else "iterator_valid")
        parameters.setdefault("collate_fn", collate)
        size = parameters.pop("batch_size", self.batch_size)
        if not training:
            batches = equal_length_batches(window_lengths(dataset), size)
            return self.iterator_valid(dataset, batch_sampler=batches, **parameters)
        if self.steps_per_epoch is None:
            parameters.setdefault("shuffle", "sampler" not in parameters)
        else:
            n_windows = self.steps_per_epoch * size
            parameters["sampler"] = RandomSampler(
                cast(Sized, dataset), replacement=True, num_samples=n_windows
            )
        return self.iterator_train(dataset, batch_size=size, **parameters)

    def infer(self, x: Tensor, **fit_params: Any) -> Tensor:
        """Run the module; `fit_params` belong to the split, not to the module."""
        return self.module_(x.to(self._device))

    def get_loss(
        self, y_pred: Tensor, y_true: Tensor, X: Any = None, training: bool = False
    ) -> Tensor:
        """Return the mean loss of the batch's tokens; a skorch hook."""
        return self.criterion_(y_pred.flatten(0, 1), y_true.to(y_pred.device).flatten())

"""What every net over documents shares: its tokenizer, its vocabulary, and their checks."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import torch
from sklearn.base import clone
from torch import Tensor, nn

from snn_estimators._validation import check_whole, is_float
from snn_estimators._warnings import warn
from snn_estimators.estimators.fitted_parameters import FittedParameters
from snn_estimators.estimators.net.training import TrainedNet
from snn_estimators.estimators.token_windows import check_token_ids
from snn_estimators.nn.outline import misfit
from snn_estimators.nn.reads import ReadsPenalty
from snn_estimators.persistence.cache_key import fit_key, module_defaults, why_not_cacheable
from snn_estimators.persistence.checkpointing import Checkpointer, Role
from snn_estimators.persistence.fit_cache import CachedFit, FitCache, MemoryLike
from snn_estimators.persistence.hashing import hash_ids
from snn_estimators.text import BaseTokenizer, Ids, check_documents, make_tokenizer

__all__ = [
    "TextNet",
    "check_known_ids",
    "check_tokenizer",
    "check_two_tokens",
    "choose_vocab_size",
    "largest_id",
    "options_of",
]


class TextNet(TrainedNet, FittedParameters):
    """A net over documents: it fits a tokenizer, and the module has the tokenizer's size."""

    _components = (*TrainedNet._components, "tokenizer")

    MODULE_DEFAULTS: ClassVar[Mapping[str, Any]] = {}
    """Defaults of the module, if it is of this package, that differ from its own."""

    tokenizer: str | BaseTokenizer | None
    tokenizer_: BaseTokenizer
    module_: Any
    memory: MemoryLike
    save_every_n_steps: int | None
    spike_penalty: float
    _new_vocab_size: int  # of the module that `initialize` is about to build

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        takes_text = self.tokenizer is not None
        tags.input_tags.string = takes_text
        tags.input_tags.two_d_array = not takes_text
        tags.input_tags.categorical = not takes_text
        tags.input_tags.positive_only = not takes_text
        return tags

    def _component_type(self, component: str) -> Any:
        if component == "tokenizer" and isinstance(self.tokenizer, str):
            return type(self._new_tokenizer())
        return super()._component_type(component)

    @property
    def vocab_size_(self) -> int:
        """Number of different tokens that the fitted module knows."""
        return self.module_.vocab_size

    def _check_parameters(self, fit_params: Mapping[str, Any]) -> None:
        self._check_recipe()
        if not is_float(self.spike_penalty) or not 0 <= self.spike_penalty < math.inf:
            raise ValueError(
                f"spike_penalty must be a finite number from 0 on, got {self.spike_penalty!r}."
            )
        size = self.get_params_for("module").get("vocab_size", 1)
        check_whole("module__vocab_size", size, 1, hint="leave it out to have it found")
        check_tokenizer(self.tokenizer)
        if fit_params and not self.train_split:
            raise TypeError(
                f"fit() got unexpected parameters {sorted(fit_params)}: only a train_split takes "
                "any, and there is none."
            )
        self._check_saving()

    def _check_saving(self) -> None:
        """Raise an error for a memory that cannot be used, or parameters that need one."""
        every = self.save_every_n_steps
        check_whole("save_every_n_steps", every, 1, optional=True)
        memory = FitCache.of(self.memory)
        if every is not None and memory is None and getattr(self, "name", None) is None:
            places = "a name or a memory" if "name" in self._own_names() else "a memory"
            raise ValueError(f"save_every_n_steps={every!r} needs {places} to save in: set one.")
        if memory is not None:
            self._check_no_generator()

    def _check_no_generator(self) -> None:
        sampling = self.get_params_for("iterator_train")
        sources = sampling.get("generator"), getattr(sampling.get("sampler"), "generator", None)
        if any(source is not None for source in sources):
            raise ValueError(
                "A fit that saves itself cannot be resumed with a generator of iterator_train's "
                "own: leave it out, random_state seeds the batches."
            )

    def _check_X(self, X: Any, *, reset: bool = False) -> Sequence[str] | Ids | list[Ids]:
        """Return documents as strings, or token ids as a table or a list of arrays."""
        if self.tokenizer is None:
            return check_token_ids(self, X, reset=reset)
        return check_documents(X, allow_empty=not reset)

    def _learn_tokens(self, documents: Any) -> tuple[BaseTokenizer | None, Sequence[Ids]]:
        """Fit a tokenizer, settle the size of the vocabulary, and return the ids."""
        tokenizer = self._tokenizer_to_fit()
        if tokenizer is None:
            tokens = documents
            n_tokens = 1 + largest_id(tokens)
        else:
            tokens = tokenizer.fit(documents).encode(documents)
            n_tokens = tokenizer.n_tokens_
        given = self.get_params_for("module").get("vocab_size")
        self._new_vocab_size = choose_vocab_size("module__vocab_size", given, n_tokens)
        return tokenizer, tokens

    def _fit_tokenizer(
        self, documents: Any, checkpointer: Checkpointer
    ) -> tuple[BaseTokenizer | None, Sequence[Ids]]:
        """Return a tokenizer, newly fitted or the saved one, and the ids of the documents."""
        checkpointer.check_fit(self._misfit)
        saved = checkpointer.saved
        if saved is None:
            tokenizer, tokens = self._learn_tokens(documents)
        else:
            tokenizer, tokens = saved.tokenizer, checkpointer.tokenize(documents)
        checkpointer.check_data(lambda: hash_ids(tokens))
        return tokenizer, tokens

    def _misfit(self, vocab_size: int, weights: Mapping[str, Sequence[int]]) -> str | None:
        """Return in what the module differs from saved weights of given shapes, if it does."""
        self._new_vocab_size = vocab_size
        try:
            with self._private_generators(0):
                return misfit(self._new_module, weights)
        except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
            return str(error)  # if it is not the file's fault, building the module raises it again

    # Saving

    def _role(self) -> Role:
        """Return what this process does in a fit."""
        return Role()

    def _open_checkpointer(self, data: Any, fit_params: Mapping[str, Any]) -> Checkpointer:
        """Return what saves a fit in the `memory`, or nowhere.

        Warns if there is a memory, and the fit cannot be repeated.
        """
        cache = FitCache.of(self.memory)
        if cache is None:
            return Checkpointer(role=self._role())
        reason = why_not_cacheable(self)
        if reason:
            warn(reason)
            return Checkpointer(role=self._role())
        key = fit_key(self, self._data_key(data), fit_params)
        return Checkpointer(CachedFit(cache, key, self._tokenizer_to_fit()), self._role())

    def _key_of_fit(self, X: Any, y: Any, fit_params: Mapping[str, Any]) -> str | None:
        """Return the key of a fit in the memory, None if that would not keep it."""
        data = self._validate(X, y, fit_params)
        if FitCache.of(self.memory) is None or why_not_cacheable(self):
            return None
        return fit_key(self, self._data_key(data), fit_params)

    def _validate(self, X: Any, y: Any, fit_params: Mapping[str, Any]) -> Any:
        """Check parameters and data of a fit, and return the data."""
        raise NotImplementedError

    def _data_key(self, data: Any) -> dict[str, Any]:
        """Return what distinguishes checked data from others, as JSON has it."""
        raise NotImplementedError

    def _tokenizer_to_fit(self) -> BaseTokenizer | None:
        """Return a new tokenizer as the parameters want it, None if there is none to fit."""
        if self.tokenizer is None:
            return None
        return self._new_tokenizer().set_params(**self.get_params_for("tokenizer"))

    def _new_tokenizer(self) -> BaseTokenizer:
        name = self.tokenizer
        return make_tokenizer(name) if isinstance(name, str) else clone(name)

    def _tokenize(self, documents: Any) -> Sequence[Ids]:
        """Return the ids of checked documents, all within the vocabulary."""
        self.check_is_fitted()
        if self.tokenizer is not None:
            return self.tokenizer_.encode(documents)
        return check_known_ids(documents, self.module_.vocab_size)

    def initialize_module(self) -> Self:
        """Build the module for the vocabulary that was found; a skorch hook."""
        self.module_ = self._new_module()
        return self

    def _new_module(self) -> nn.Module:
        """Return the module for the vocabulary that was found."""
        return self._build_module()

    def _build_module(self) -> nn.Module:
        parameters = options_of(self)
        takes_size = "vocab_size" in inspect.signature(self._component_type("module")).parameters
        if takes_size and not isinstance(self.module, nn.Module):
            size = vars(self).get("_new_vocab_size", parameters.get("vocab_size"))
            if size is None:
                raise ValueError("The vocabulary is not known before fit: set module__vocab_size.")
            parameters["vocab_size"] = size
        return self.initialized_instance(self.module, parameters)

    def infer(self, x: Tensor, **fit_params: Any) -> Tensor:
        """Run the module; with a `spike_penalty`, watch in training what its maps read.

        `fit_params` belong to the split, not to the module.
        """
        if not (self.spike_penalty and torch.is_grad_enabled()):
            return self._module_to_call()(x.to(self.device_))
        x = x.to(self.device_)
        with ReadsPenalty(self.module_, x >= 0) as penalty:
            output = self._module_to_call()(x)
        self._reads = penalty.reads
        return output

    def _penalty(self, training: bool) -> Tensor | float:
        """Return what the reads of the last `infer` add to the loss."""
        reads = self.__dict__.pop("_reads", None)  # with the graph that it belongs to
        return self.spike_penalty / 100_000 * reads if training and reads is not None else 0.0

    def _module_to_call(self) -> nn.Module:
        """Return the module, or what is wrapped around it for a step of training."""
        module: nn.Module = self.module_
        return module


def options_of(net: TextNet) -> dict[str, Any]:
    """Return the options that a net's module is built with, defaults included if it is of ours."""
    defaults = {k.removeprefix("module__"): v for k, v in module_defaults(net).items()}
    return {**defaults, **net.get_params_for("module")}


def check_tokenizer(tokenizer: Any) -> None:
    """Raise TypeError for what is neither a tokenizer, nor the name of one, nor None."""
    if not isinstance(tokenizer, str | BaseTokenizer | None):
        raise TypeError(
            'tokenizer must be a name such as "char", a tokenizer, or None for token ids, '
            f"got {tokenizer!r}."
        )


def check_two_tokens(tokens: Sequence[Ids], demand: str) -> None:
    """Raise ValueError, which begins as `demand` does, unless a document has two tokens."""
    if all(len(ids) < 2 for ids in tokens):
        hint = " (n_features=1)" if isinstance(tokens, np.ndarray) else ""
        raise ValueError(f"{demand} have two tokens, one to see and one to predict{hint}.")


def choose_vocab_size(name: str, given: int | None, n_tokens: int) -> int:
    """Return the size of a vocabulary: as many tokens as were found, or the larger given one."""
    if given is None:
        return n_tokens
    if given < n_tokens:
        raise ValueError(
            f"{name}={given} is too small: the training data has {n_tokens} different tokens. "
            "Leave it out to have it found."
        )
    return int(given)


def check_known_ids(documents: Sequence[Ids], vocab_size: int) -> Sequence[Ids]:
    """Return token ids as they are, or raise ValueError if one is beyond the vocabulary."""
    largest = largest_id(documents)
    if largest >= vocab_size:
        raise ValueError(
            f"X holds the token id {largest}, but the model knows ids 0 to {vocab_size - 1} only: "
            "fit it on data with all ids, or set module__vocab_size."
        )
    return documents


def largest_id(documents: Sequence[Ids]) -> int:
    """Return the largest token id; -1 if there is none."""
    return max((int(ids.max()) for ids in documents if len(ids)), default=-1)

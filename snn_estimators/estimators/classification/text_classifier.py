"""Classifiers of documents, from scratch or from a pretrained language model."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from sklearn.base import ClassifierMixin, clone
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from snn_estimators._validation import check_choices
from snn_estimators.estimators.classification.classifier_scoring import ClassifierScoring
from snn_estimators.estimators.classification.document_weights import (
    document_weights,
    weighted_mean,
)
from snn_estimators.estimators.classification.fine_tuning import (
    adopt_backbone,
    adopt_tokenizer,
)
from snn_estimators.estimators.classification.labelled_documents import (
    LabelledDocuments,
    Labels,
    SimilarLengths,
    check_classes_left,
    check_labels,
    collate_labelled,
    labelled_part,
    warn_of_singles,
)
from snn_estimators.estimators.fitted_parameters import fitted_model, identity_of_model
from snn_estimators.estimators.language_model import LanguageModel
from snn_estimators.estimators.net.loader_workers import loader_parameters
from snn_estimators.estimators.net.training import Split
from snn_estimators.estimators.pretrained_io import PretrainedIO
from snn_estimators.estimators.text_net import check_known_ids, options_of
from snn_estimators.estimators.token_windows import equal_length_batches
from snn_estimators.nn.classifier import DECISIONS, SequenceClassifier
from snn_estimators.persistence.checkpointing import Checkpointer
from snn_estimators.persistence.fit_cache import MemoryLike
from snn_estimators.persistence.hashing import hash_documents
from snn_estimators.persistence.stable_hash import canonical
from snn_estimators.text import BaseTokenizer, Ids, make_tokenizer

__all__ = ["TextClassifier"]


class _Start(NamedTuple):
    """What only `fit` knows of the module to build."""

    n_classes: int
    pretrained: LanguageModel | None


class _Given(NamedTuple):
    """What a classifier is fitted to, checked."""

    documents: Any
    labels: Labels
    pretrained: LanguageModel | None


class TextClassifier(ClassifierMixin, ClassifierScoring, PretrainedIO):
    """Base of the classifiers; a subclass brings a module, its language model and a recipe.

    The module is the backbone of a `SequenceClassifier`; see there what it has to offer.
    """

    language_model: ClassVar[type[LanguageModel]]
    """The estimator that `pretrained` may be."""

    FITTED_PARAMETERS = ("pretrained",)
    warmup_tokens = None  # documents have no usual length
    _start: _Start | None = None
    _built_with: dict[str, Any] | None = None  # of a module that was taken over
    _was_ready = False  # that module had been given as an instance: nobody knows how it was built

    def __init__(
        self,
        module: Any,
        *,
        pretrained: Any,
        decision: str,
        tokenizer: str | BaseTokenizer | None,
        class_weight: Any,
        spike_penalty: float,
        weight_decay: float,
        betas: tuple[float, float],
        clip: float | None,
        schedule: str,
        warmup_steps: int,
        lr_final: float | None,
        max_steps: int | None,
        random_state: Any,
        save_every_n_steps: int | None = None,
        memory: MemoryLike = None,
        **kwargs: Any,
    ) -> None:
        self.pretrained = pretrained
        self.decision = decision
        self.tokenizer = tokenizer
        self.class_weight = class_weight
        self.spike_penalty = spike_penalty
        self.weight_decay = weight_decay
        self.betas = betas
        self.clip = clip
        self.schedule = schedule
        self.warmup_steps = warmup_steps
        self.lr_final = lr_final
        self.max_steps = max_steps
        self.random_state = random_state
        self.save_every_n_steps = save_every_n_steps
        self.memory = memory
        super().__init__(module, **kwargs)

    def _new_tokenizer(self) -> BaseTokenizer:
        return make_tokenizer("word") if self.tokenizer == "auto" else super()._new_tokenizer()

    def _tokenizer_to_fit(self) -> BaseTokenizer | None:
        return None if self.pretrained is not None else super()._tokenizer_to_fit()

    def _check_parameters(self, fit_params: Mapping[str, Any]) -> None:
        super()._check_parameters(fit_params)
        check_choices({"decision": DECISIONS}, decision=self.decision)

    # Fitting

    def fit(self, X: Any, y: Any, sample_weight: Any = None, **fit_params: Any) -> Self:
        """Learn the tokenizer (unless it is pretrained) and the classes of documents.

        Parameters
        ----------
        X : iterable of str, or token ids
            Documents: a list, array or Series of strings. With ``tokenizer=None``, token ids: an
            integer array of shape (n_documents, n_tokens), or a list of 1-D arrays.
        y : array-like of shape (n_documents,)
            Labels: strings, whole numbers or truth values.
        sample_weight : array-like of shape (n_documents,), optional
            How much each document counts in the loss, beside the weight of its class.
        **fit_params
            For `train_split` alone, such as its ``groups``.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            If X is not such a collection, y does not label it or names fewer than two classes, a
            weight is no finite number from 0 on, or one of a class that is not there, a
            `train_split` leaves a class nothing to train on, or a parameter makes no sense or
            contradicts the pretrained model.
        NotFittedError
            If the pretrained model is not fitted.
        FloatingPointError
            If the loss or a gradient is no longer finite. The weights before that step and the
            history are kept.

        Warns
        -----
        UserWarning
            If a class has one document alone.
        """
        if self.warm_start and self.initialized_:
            return self._fit_further(X, y, sample_weight, "fit", fit_params)
        return self._fit_from_scratch(X, y, sample_weight, None, "fit", fit_params)

    def partial_fit(
        self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None, **fit_params: Any
    ) -> Self:
        """Train for another `max_epochs` (or `max_steps`), from where the last training stopped.

        On an unfitted estimator the same as `fit`, except that `classes` may name more classes
        than y holds. The vocabulary is the first call's.

        Parameters
        ----------
        X : iterable of str, or token ids
        y : array-like of shape (n_documents,)
        classes : array-like of shape (n_classes,), optional
            All classes that there will be; those of the first `y` by default.
        sample_weight : array-like of shape (n_documents,), optional
            See `fit`. ``class_weight="balanced"`` counts the classes of this call's y.
        **fit_params
            See `fit`.

        Returns
        -------
        self
        """
        if not self.initialized_:
            return self._fit_from_scratch(X, y, sample_weight, classes, "partial_fit", fit_params)
        if classes is not None and not np.array_equal(np.unique(classes), self.classes_):
            raise ValueError(
                f"classes={list(classes)} are not those of the first call, "
                f"{self.classes_.tolist()}: leave them out."
            )
        return self._fit_further(X, y, sample_weight, "partial_fit", fit_params)

    def _fit_from_scratch(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        classes: Any,
        method: str,
        fit_params: dict[str, Any],
    ) -> Self:
        given = self._validate(X, y, fit_params, classes, sample_weight)
        if method == "fit":  # otherwise more may come
            warn_of_singles(given.labels)
        with self._open_checkpointer(given, fit_params) as checkpointer:
            start = _Start(len(given.labels.classes), given.pretrained)
            with self._starting_from(start):
                tokenizer, tokens = self._fit_or_adopt_tokenizer(given, checkpointer)
            dataset = LabelledDocuments(tokens, given.labels)
            split: Any = self.get_split_datasets(dataset, **fit_params)  # before anything is lost
            with self._private_generators(self._draw_seed()):
                with self._starting_from(start):
                    self.initialize()
                self.classes_ = given.labels.classes
                if tokenizer is not None:
                    self.tokenizer_ = tokenizer
                if not checkpointer.restore_finished(self):
                    self._train(split, method, checkpointer)
        return self

    def _validate(
        self,
        X: Any,
        y: Any,
        fit_params: Mapping[str, Any],
        classes: Any = None,
        sample_weight: Any = None,
    ) -> _Given:
        """Check parameters and data, and return the data."""
        self._check_parameters(fit_params)
        documents = self._check_X(X, reset=True)
        labels = self._labels(y, len(documents), classes, sample_weight)
        kind = self.language_model
        pretrained = fitted_model("pretrained", self.pretrained, kind, kind.from_pretrained)
        return _Given(documents, labels, pretrained)

    def _labels(self, y: Any, n_documents: int, classes: Any, sample_weight: Any) -> Labels:
        labels = check_labels(y, n_documents, type(self).__name__, classes)
        weights = document_weights(labels, self.class_weight, sample_weight)
        return labels._replace(weights=weights)

    def _data_key(self, data: _Given) -> dict[str, Any]:
        return {
            "X": hash_documents(data.documents),
            "y": hash_documents(data.labels.codes),
            "classes": canonical(data.labels.classes.tolist()),
            "weights": canonical(data.labels.weights),
            "pretrained": identity_of_model(data.pretrained),
        }

    def _fit_further(
        self, X: Any, y: Any, sample_weight: Any, method: str, fit_params: dict[str, Any]
    ) -> Self:
        self._check_parameters(fit_params)
        documents = self._check_X(X)
        labels = self._labels(y, len(documents), self.classes_, sample_weight)
        dataset = LabelledDocuments(self._tokenize(documents), labels)
        states = getattr(self, "_states_after_training", None)
        with (
            Checkpointer(role=self._role()) as checkpointer,
            self._private_generators(self._draw_seed() if states is None else states),
        ):
            return self._train(dataset, method, checkpointer, **fit_params)

    def _fit_or_adopt_tokenizer(
        self, given: _Given, checkpointer: Checkpointer
    ) -> tuple[BaseTokenizer | None, Sequence[Ids]]:
        documents, pretrained = given.documents, given.pretrained
        if pretrained is None:
            tokenizer, tokens = self._fit_tokenizer(documents, checkpointer)
        else:
            tokenizer = adopt_tokenizer(
                pretrained, self.tokenizer, self.get_params_for("tokenizer")
            )
            if tokenizer is None:
                tokens = check_known_ids(documents, pretrained.vocab_size_)
            else:
                tokens = tokenizer.encode(documents)
        if not any(map(len, tokens)):
            raise ValueError("No document of X holds a token: there is nothing to learn from.")
        return tokenizer, tokens

    @contextmanager
    def _starting_from(self, start: _Start) -> Iterator[None]:
        """Set what `initialize_module` needs, while the context lasts."""
        self._start = start
        try:
            yield
        finally:
            del self._start

    # Saving

    def save_pretrained(self, name_or_path: str | os.PathLike[str]) -> Path:
        """Write the fitted classifier into a folder, whole or not at all.

        What comes back from `from_pretrained` needs no pretrained model any more: its own
        ``pretrained`` is None, and ``module__*`` and `tokenizer` are what was taken over. Fitted
        again it would therefore start from scratch; `partial_fit` continues.

        Parameters
        ----------
        name_or_path : str or path
            As in `SpikeDecoderLM.save_pretrained`, and so are the files and the errors.

        Returns
        -------
        Path
            The folder.
        """
        self.check_is_fitted()
        return PretrainedIO.save_pretrained(self._on_its_own(), name_or_path)

    def _on_its_own(self) -> Self:
        """Return a classifier that was not made from a pretrained model, the same otherwise."""
        if self._built_with is None:
            return self
        other = copy.copy(self)
        other.pretrained = None
        other._nested = {k: v for k, v in self._nested.items() if not k.startswith("tokenizer__")}
        other._nested |= {f"module__{name}": value for name, value in self._built_with.items()}
        if self._was_ready:
            other.module = self.module_.backbone
        if self.tokenizer is not None:
            other.tokenizer = clone(self.tokenizer_)
        return other

    # skorch's hooks

    def _new_module(self) -> nn.Module:
        """Return a classifier on a new or a pretrained backbone."""
        if self._start is not None:
            n_classes, pretrained = self._start
        elif hasattr(self, "classes_"):  # of a saved classifier, whose weights are to come
            n_classes, pretrained = len(self.classes_), None
        else:
            raise ValueError("The classes are not known before fit: call fit instead.")
        if pretrained is None:
            backbone = self._build_module()
            if backbone is self.module:  # an instance, to be kept as it is
                backbone = copy.deepcopy(backbone)
            self._built_with = None
        else:
            own = self.get_params_for("module")
            backbone = adopt_backbone(pretrained, self.module, own)
            self._built_with = {**options_of(pretrained), **own}
            self._was_ready = isinstance(pretrained.module, nn.Module)
        tuned = pretrained is not None
        return SequenceClassifier(backbone, n_classes, self.decision, tuned)

    def get_dataset(self, X: Any, y: Any = None) -> Dataset:
        """Return X, the labelled documents, as they are; a skorch hook."""
        return X

    def get_split_datasets(self, X: Any, y: Any = None, **fit_params: Any) -> Split:
        """Split into training and validation data, once a fit; a skorch hook."""
        if isinstance(X, Split):
            return X
        _, codes = labelled_part(X)
        split = super().get_split_datasets(X, codes, **fit_params)
        check_classes_left(X, split.train)
        return split

    def get_iterator(self, dataset: Dataset, training: bool = False) -> DataLoader:
        """Batch documents: of similar lengths to train, of equal lengths to predict."""
        name = "iterator_train" if training else "iterator_valid"
        parameters = loader_parameters(getattr(self, name), self.get_params_for(name))
        parameters.setdefault("collate_fn", collate_labelled)
        size = parameters.pop("batch_size", self.batch_size)
        if not training:
            batches = equal_length_batches(labelled_part(dataset)[0], size)
            return self.iterator_valid(dataset, batch_sampler=batches, **parameters)
        if not parameters.keys() & {"sampler", "shuffle", "batch_sampler"}:
            sampler = SimilarLengths(labelled_part(dataset)[0], size)
            return self.iterator_train(dataset, batch_sampler=sampler, **parameters)
        return self.iterator_train(dataset, batch_size=size, **parameters)

    def get_loss(
        self, y_pred: Tensor, y_true: Tensor, X: Any = None, training: bool = False
    ) -> Tensor:
        """Return the mean loss of the batch's documents, by their weights; a skorch hook."""
        targets, loss = y_true.to(y_pred.device), self.criterion_
        if targets.dim() == 2:
            loss = partial(weighted_mean, self.criterion_)
        return loss(y_pred, targets) + self._penalty(training)

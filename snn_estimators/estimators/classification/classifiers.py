"""SpikeDecoder and SpikeGPT as classifiers of text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch.nn import CrossEntropyLoss
from torch.optim import AdamW

from snn_estimators.estimators.classification.text_classifier import TextClassifier
from snn_estimators.estimators.language_model import LanguageModel
from snn_estimators.estimators.spike_decoder import SpikeDecoderLM
from snn_estimators.estimators.spike_gpt import SpikeGPTLM
from snn_estimators.nn import SpikeGPT, SpikingDecoder
from snn_estimators.persistence.fit_cache import MemoryLike
from snn_estimators.text import BaseTokenizer

__all__ = ["SpikeDecoderClassifier", "SpikeGPTClassifier"]


class SpikeDecoderClassifier(TextClassifier):
    """A spiking GPT-style decoder as a classifier of text.

    Parameters
    ----------
    module : type or Module, default=SpikingDecoder
        Its parameters are set as ``module__blocks``, ``module__timesteps``, ...; the size of the
        vocabulary is found in `fit`. Its map to the next token gives way to one to the classes. By
        default it has layer norm: batches of similar documents have statistics of their own.
    pretrained : None, SpikeDecoderLM, str or path, default=None
        What to start from: a fitted language model, or the name or path of a saved one. Its
        tokenizer is taken as it is, its module is copied and fine-tuned; it stays as it was
        itself. Parameters ``module__*`` and ``tokenizer__*`` are then the model's: left out here,
        or the same (a dropout may differ). A search clones its candidates, which makes a fitted
        model among them unfitted: give names there, or ``FrozenEstimator(model)``.
    decision : {"mean", "last"}, default="mean"
        Classify by the mean of the states after each token, or by the state after the last one.
    tokenizer : "auto", {"word", "char", ...}, tokenizer or None, default="auto"
        Fitted within `fit`, on the training fold alone; parameters are set as
        ``tokenizer__min_frequency``, ... "auto" is the pretrained model's, or "word" without one.
        With words, a ``tokenizer__min_frequency`` of 2 teaches the model what an unknown one is
        like. With None, X holds token ids.
    class_weight : None, "balanced" or dict, default=None
        How much the documents of a class count in the loss, as in scikit-learn: "balanced" by one
        over the class's frequency, a dictionary by the numbers under its labels, 1 by default.
    spike_penalty : float, default=0.0
        Price in nats of 100,000 weights read a token, as in `SpikeDecoderLM`.
    criterion : type, default=torch.nn.CrossEntropyLoss
        Of logits [batch, n_classes] and class indices [batch]; with weights of documents it needs
        a parameter `reduction`, as PyTorch's have.
    optimizer : type, default=torch.optim.AdamW
    lr : float, default=1e-2
        The peak of the learning rate.
    max_epochs : int, default=5
    batch_size : int, default=16
        Documents a batch: of similar length in training, of equal length in prediction.
    train_split : None or callable, default=None
        As in skorch: ``ValidSplit(5, stratified=True)`` records a ``valid_loss`` every epoch.
    weight_decay, betas, clip, schedule, lr_final, warmup_steps, max_steps, callbacks, device, \
random_state, verbose
        As in `SpikeDecoderLM`.
    save_every_n_steps : int, optional
        Steps between two states in the memory; about one an epoch by default.
    memory : str, path or joblib.Memory, optional
        Folder of finished fits; see `SpikeDecoderLM`. A pretrained model counts by its content,
        wherever it comes from.
    **kwargs
        Parameters of components and further ones of `skorch.NeuralNet`.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Sorted, of the type of y.
    module_ : SequenceClassifier
        The trained module; its ``backbone`` is of type `module`.
    tokenizer_, vocab_size_, history_, n_iter_, n_steps_, planned_steps_, interrupted_, \
n_features_in_
        As in `SpikeDecoderLM`; losses are in nats per document.

    See Also
    --------
    SpikeDecoderLM : The language model, which learns from text without labels.

    Notes
    -----
    A document may be longer than ``module__max_len``. With "mean" it is then cut into windows of
    that length, none of which sees the others, and the mean is that over all its tokens; with
    "last" the last window alone is read. An empty document gets the bias's answer, about how
    frequent the classes are.

    What a document gets does not depend on its neighbours in X, beyond the rounding of sums, which
    now and then tips a neuron over its threshold.

    Examples
    --------
    >>> from snn_estimators.estimators import SpikeDecoderClassifier
    >>> classifier = SpikeDecoderClassifier(
    ...     module__max_len=8, module__blocks=1, module__heads=1, module__token_dim=6,
    ...     module__position_dim=2, module__timesteps=2, module__float_embedding=True,
    ...     module__embedding_std=1.0, lr=3e-2, batch_size=4, random_state=0,
    ... )
    >>> X = ["a great film", "an awful film", "great", "so awful"] * 8
    >>> classifier.fit(X, ["good", "bad", "good", "bad"] * 8)
    SpikeDecoderClassifier(...)
    >>> classifier.predict(["great film", "awful film"])
    array(['good', 'bad'], dtype='<U4')
    """

    language_model: ClassVar[type[LanguageModel]] = SpikeDecoderLM
    MODULE_DEFAULTS: ClassVar[Mapping[str, Any]] = {"normalization": "layer"}

    def __init__(
        self,
        module: Any = SpikingDecoder,
        *,
        pretrained: Any = None,
        decision: str = "mean",
        tokenizer: str | BaseTokenizer | None = "auto",
        class_weight: Any = None,
        spike_penalty: float = 0.0,
        criterion: Any = CrossEntropyLoss,
        optimizer: Any = AdamW,
        lr: float = 1e-2,
        lr_final: float | None = None,
        weight_decay: float = 0.1,
        betas: tuple[float, float] = (0.9, 0.95),
        clip: float | None = 1.0,
        schedule: str = "cosine",
        warmup_steps: int = 0,
        max_epochs: int = 5,
        max_steps: int | None = None,
        batch_size: int = 16,
        train_split: Any = None,
        callbacks: Any = None,
        device: str = "auto",
        random_state: Any = None,
        verbose: int = 0,
        save_every_n_steps: int | None = None,
        memory: MemoryLike = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            module,
            pretrained=pretrained,
            decision=decision,
            tokenizer=tokenizer,
            class_weight=class_weight,
            spike_penalty=spike_penalty,
            criterion=criterion,
            optimizer=optimizer,
            lr=lr,
            lr_final=lr_final,
            weight_decay=weight_decay,
            betas=betas,
            clip=clip,
            schedule=schedule,
            warmup_steps=warmup_steps,
            max_epochs=max_epochs,
            max_steps=max_steps,
            batch_size=batch_size,
            train_split=train_split,
            callbacks=callbacks,
            device=device,
            random_state=random_state,
            verbose=verbose,
            save_every_n_steps=save_every_n_steps,
            memory=memory,
            **kwargs,
        )


class SpikeGPTClassifier(TextClassifier):
    """A spiking RWKV as a classifier of text.

    Parameters
    ----------
    module : type or Module, default=SpikeGPT
        Its parameters are set as ``module__n_layer``, ``module__n_embd``, ``module__dropout``, ...
    pretrained : None, SpikeGPTLM, str or path, default=None
        What to start from; see `SpikeDecoderClassifier`.
    decision, tokenizer, class_weight, spike_penalty, criterion, optimizer, lr, lr_final, \
weight_decay, betas, clip, schedule, warmup_steps, max_epochs, max_steps, batch_size, train_split, \
callbacks, device, random_state, verbose, save_every_n_steps, memory
        As in `SpikeDecoderClassifier`, and so are the attributes.
    **kwargs
        Parameters of components and further ones of `skorch.NeuralNet`.

    See Also
    --------
    SpikeGPTLM : The language model, which learns from text without labels.

    Notes
    -----
    There are no positions, so a document of any length is read as a whole, whatever
    ``module__ctx_len``; memory grows with the longest document of a batch.

    ``module__initialization="rwkv"`` learns fastest from scratch: on movie reviews it was worth
    four points of accuracy (experiments/movie_reviews.py uses it).

    Examples
    --------
    >>> from snn_estimators.estimators import SpikeGPTClassifier, SpikeGPTLM
    >>> X = ["a great film", "an awful film", "great", "so awful"] * 8
    >>> y = ["good", "bad", "good", "bad"] * 8
    >>> model = SpikeGPTLM(
    ...     tokenizer="word", module__n_layer=2, module__n_embd=16, lr=1e-2, random_state=0
    ... )
    >>> classifier = SpikeGPTClassifier(
    ...     pretrained=model.fit(X), lr=1e-2, max_epochs=10, random_state=0
    ... )
    >>> classifier.fit(X, y).predict(["great film", "awful film"])
    array(['good', 'bad'], dtype='<U4')
    """

    language_model: ClassVar[type[LanguageModel]] = SpikeGPTLM

    def __init__(
        self,
        module: Any = SpikeGPT,
        *,
        pretrained: Any = None,
        decision: str = "mean",
        tokenizer: str | BaseTokenizer | None = "auto",
        class_weight: Any = None,
        spike_penalty: float = 0.0,
        criterion: Any = CrossEntropyLoss,
        optimizer: Any = AdamW,
        lr: float = 1e-2,
        lr_final: float | None = None,
        weight_decay: float = 0.1,
        betas: tuple[float, float] = (0.9, 0.95),
        clip: float | None = 1.0,
        schedule: str = "cosine",
        warmup_steps: int = 0,
        max_epochs: int = 5,
        max_steps: int | None = None,
        batch_size: int = 16,
        train_split: Any = None,
        callbacks: Any = None,
        device: str = "auto",
        random_state: Any = None,
        verbose: int = 0,
        save_every_n_steps: int | None = None,
        memory: MemoryLike = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            module,
            pretrained=pretrained,
            decision=decision,
            tokenizer=tokenizer,
            class_weight=class_weight,
            spike_penalty=spike_penalty,
            criterion=criterion,
            optimizer=optimizer,
            lr=lr,
            lr_final=lr_final,
            weight_decay=weight_decay,
            betas=betas,
            clip=clip,
            schedule=schedule,
            warmup_steps=warmup_steps,
            max_epochs=max_epochs,
            max_steps=max_steps,
            batch_size=batch_size,
            train_split=train_split,
            callbacks=callbacks,
            device=device,
            random_state=random_state,
            verbose=verbose,
            save_every_n_steps=save_every_n_steps,
            memory=memory,
            **kwargs,
        )

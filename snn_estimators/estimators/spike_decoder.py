"""SpikeDecoder as an estimator."""

from __future__ import annotations

import os
import reprlib
from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar, Self

from torch.nn import CrossEntropyLoss
from torch.optim import AdamW

from snn_estimators.convert import from_spikedecoder, spikedecoder_options
from snn_estimators.estimators.language_model import LanguageModel, module_parameters
from snn_estimators.estimators.reference_io import adopt_checkpoint
from snn_estimators.nn import SpikingDecoder
from snn_estimators.persistence.fit_cache import MemoryLike
from snn_estimators.text import BaseTokenizer, CharTokenizer, WordTokenizer

__all__ = ["SpikeDecoderLM"]


class SpikeDecoderLM(LanguageModel):
    """A spiking GPT-style decoder as a density estimator over text.

    Parameters
    ----------
    module : type or Module, default=SpikingDecoder
        Its parameters are set as ``module__blocks``, ``module__timesteps``, ...; the length of its
        windows is ``module__max_len``. The size of the vocabulary is found in `fit`.
    tokenizer : {"char", "word", "bpe"} or tokenizer or None, default="char"
        Fitted within `fit`; parameters are set as ``tokenizer__min_frequency``, ... With None, X
        holds token ids.
    criterion : type, default=torch.nn.CrossEntropyLoss
    optimizer : type, default=torch.optim.AdamW
        Further parameters are set as ``optimizer__eps``, ...
    lr : float, default=1e-2
        The peak of the learning rate.
    weight_decay : float, default=0.1
        Of the weights of linear layers and of learnable thresholds; biases, norms and embeddings
        do not decay.
    betas : tuple of two floats, default=(0.9, 0.95)
    clip : float or None, default=1.0
        Largest norm of the gradient.
    schedule : {"trapezoid", "cosine", "constant"}, default="trapezoid"
        Of the learning rate, step by step. The trapezoid keeps `lr` for three fifths of the steps
        and then descends to `lr_final` in a straight line; the cosine ends there, too.
    warmup_steps : int, default=0
        Steps over which the learning rate first rises linearly.
    warmup_tokens : int, optional
        The same, counted in tokens (of batches of full windows).
    lr_final : float, optional
        Where the learning rate ends; 5 % of `lr` by default.
    max_epochs : int, default=10
    max_steps : int, optional
        Train for exactly so many optimizer steps, whatever `max_epochs` says.
    steps_per_epoch : int, optional
        Let an epoch be so many batches of windows at positions drawn at random (from the training
        side of a `train_split`). By default it is all windows, shuffled.
    stride : int, optional
        Distance between the starts of training windows; ``module__max_len`` by default. Below that,
        windows overlap, also across the sides of a `train_split`, whose ``valid_loss`` is then too
        good.
    teacher : None, fitted language model, str or path, default=None
        Learn from the distributions of another model with the same vocabulary, as well as from the
        text (Hinton et al., "Distilling the knowledge in a neural network", 2015): one that is
        fitted, or the name or path of a saved one. In a search's grid wrap it into scikit-learn's
        ``FrozenEstimator``. It is no part of a saved model.
    teacher_weight : float, default=0.5
        Share of the teacher in the loss of training; the rest is the text's.
    spike_penalty : float, default=0.3
        Price in nats of 100,000 weights read a token by the linear maps behind neurons, added to
        the loss in training: it makes spikes sparse. See `snn_estimators.nn.reads`; without
        neurons in front of linear maps it has no effect.
    batch_size : int, default=16
        Windows a batch, in training and in scoring.
    train_split : None or callable, default=None
        As in skorch, over windows: ``ValidSplit(5)`` records a ``valid_loss`` every epoch.
    callbacks : None, "disable" or list, default=None
        skorch callbacks, in addition to the recipe's; "disable" also drops clipping, schedule and
        guard.
    device : str, default="auto"
        "auto" is the GPU if there is one.
    random_state : int, RandomState or None, default=None
        An integer makes `fit` reproducible to the bit on one machine. The global random state of
        PyTorch is left alone in any case; None takes a seed from numpy's, as in scikit-learn.
    verbose : int, default=0
        1 shows a progress bar.
    name : str, optional
        Save the fit under this name while it trains, in ``$SNN_ESTIMATORS_HOME/models``: numbered
        checkpoints for `from_pretrained`, ``log.csv`` and ``error.log``. Leave it out in a search:
        a name is for one fit.
    resume : bool, default=False
        Resume the fit of that name where it was cut off, to the bit, or start it. Parameters and
        data must be those that it was started with; see `snn_estimators.persistence.named_run`.
    save_every_n_steps : int, optional
        Steps between two checkpoints; by default there is one an epoch. There is always one at the
        end, and one whenever the validation loss is the lowest so far.
    keep_checkpoints : int, default=3
        How many of the newest checkpoints to keep, beside the best by validation loss.
    evaluate_every_n_steps : int, optional
        Record the loss on the validation side of the `train_split` every so many steps, as
        ``step_valid_loss`` of the batch in `history_`.
    memory : str, path or joblib.Memory, optional
        Folder of finished fits: one that is there (same class, parameters, data, versions and
        integer `random_state`) is loaded instead of trained, and one that was cut off resumes. See
        `snn_estimators.persistence.fit_cache` for what counts as the same.
    **kwargs
        Parameters of components (``module__heads``, ``tokenizer__alphabet``,
        ``iterator_train__num_workers``, ...) and further ones of `skorch.NeuralNet`. Workers of a
        data loader start by forkserver, unless ``iterator_train__multiprocessing_context`` says
        otherwise; inside of a worker of a search there are none.

    Attributes
    ----------
    module_ : Module
        The trained module.
    tokenizer_ : tokenizer
        Fitted; absent with ``tokenizer=None``.
    vocab_size_ : int
    history_ : skorch.History
        Losses per epoch and batch, in nats per token.
    n_iter_, n_steps_, planned_steps_ : int
        Epochs and steps done so far, and steps that the last fit set out to do.
    interrupted_ : bool
        Whether the last fit was interrupted (Ctrl-C) before its end.
    n_features_in_ : int
        Width of a table of token ids seen in `fit`.

    See Also
    --------
    sklearn.neighbors.KernelDensity : The same contract, for vectors.

    Notes
    -----
    A document longer than ``max_len`` is cut into windows that overlap by one token, so that each
    of its tokens but the first is predicted exactly once. Windows are scored in batches of equal
    length, without padding; the order and the grouping of documents do not matter beyond the
    rounding of sums, which now and then tips a neuron over its threshold.

    The defaults are the recipe that learned best here: graded neurons at one timestep, sparse by a
    penalty. `PRESETS` names others, for `from_preset`: "spikedecoder" is that of the published
    SpikeDecoder, which learns bigrams; "context" the one that learns best with binary spikes.

    Examples
    --------
    >>> from snn_estimators.estimators import SpikeDecoderLM
    >>> model = SpikeDecoderLM(
    ...     module__max_len=8, module__blocks=1, module__heads=1, module__token_dim=6,
    ...     module__position_dim=2, module__timesteps=2, max_epochs=2, random_state=0,
    ... )
    >>> model.fit(["abcabcabcabcabcabc"] * 8).perplexity(["abcabc"]) < 5
    True
    >>> model.generate("ab", max_new_tokens=4, temperature=0)
    '...'
    """

    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "spikedecoder": {
            **module_parameters(SpikingDecoder.PUBLISHED),
            "lr": 1e-3,
            "schedule": "cosine",
            "spike_penalty": 0.0,
        },
        # What makes context learnable with binary spikes (experiments/context_ablation.py takes it
        # apart): an embedding strong enough to wake the first neurons, sight of previous tokens'
        # spikes, a readout that adds the timesteps up, a leaky attention memory for longer texts,
        # and a learning rate that suits them.
        "context": {
            "module__blocks": 4,
            "module__neuron": "lif",
            "module__timesteps": 4,
            "module__attention_decay": "fixed",
            "module__attention_scale": 0.5,
            "module__normalization": "layer",
            "lr": 6e-3,
            "spike_penalty": 0.0,
        },
    }

    def __init__(
        self,
        module: Any = SpikingDecoder,
        *,
        tokenizer: str | BaseTokenizer | None = "char",
        criterion: Any = CrossEntropyLoss,
        optimizer: Any = AdamW,
        lr: float = 1e-2,
        weight_decay: float = 0.1,
        betas: tuple[float, float] = (0.9, 0.95),
        clip: float | None = 1.0,
        schedule: str = "trapezoid",
        warmup_steps: int = 0,
        warmup_tokens: int | None = None,
        lr_final: float | None = None,
        max_epochs: int = 10,
        max_steps: int | None = None,
        steps_per_epoch: int | None = None,
        stride: int | None = None,
        spike_penalty: float = 0.3,
        batch_size: int = 16,
        train_split: Any = None,
        callbacks: Any = None,
        device: str = "auto",
        random_state: Any = None,
        verbose: int = 0,
        name: str | None = None,
        resume: bool = False,
        save_every_n_steps: int | None = None,
        keep_checkpoints: int = 3,
        teacher: Any = None,
        teacher_weight: float = 0.5,
        evaluate_every_n_steps: int | None = None,
        memory: MemoryLike = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            module,
            tokenizer=tokenizer,
            criterion=criterion,
            optimizer=optimizer,
            lr=lr,
            weight_decay=weight_decay,
            betas=betas,
            clip=clip,
            schedule=schedule,
            warmup_steps=warmup_steps,
            warmup_tokens=warmup_tokens,
            lr_final=lr_final,
            max_epochs=max_epochs,
            max_steps=max_steps,
            steps_per_epoch=steps_per_epoch,
            stride=stride,
            spike_penalty=spike_penalty,
            batch_size=batch_size,
            train_split=train_split,
            callbacks=callbacks,
            device=device,
            random_state=random_state,
            verbose=verbose,
            name=name,
            resume=resume,
            save_every_n_steps=save_every_n_steps,
            keep_checkpoints=keep_checkpoints,
            teacher=teacher,
            teacher_weight=teacher_weight,
            evaluate_every_n_steps=evaluate_every_n_steps,
            memory=memory,
            **kwargs,
        )

    @classmethod
    def from_reference(
        cls,
        path: str | os.PathLike[str],
        tokenizer: BaseTokenizer | str | None = "reference",
        *,
        config: Mapping[str, Any],
        **parameters: Any,
    ) -> Self:
        """Read a checkpoint of the reference implementation, ``.pth`` or safetensors.

        Nothing in the file is executed. Wrappers' prefixes, a trainer's envelope and buffers
        without meaning are taken off with one warning, and weights of any precision become
        PyTorch's default. Codes that collide in the reference do so here, with a warning; see
        `snn_estimators.convert.from_spikedecoder`.

        Parameters
        ----------
        path : str or path
            What the reference's training saves: a dictionary of tensors.
        tokenizer : "reference", fitted tokenizer or None, default="reference"
            The reference's own: the words of the config's ``dictionary``, or the alphabet of 30 or
            32 characters, as ``vocab_size`` says. What they do not know counts as the padding
            symbol P; `TextCleaner` cleans text as the reference does. None takes token ids.
        config : mapping
            Constructor arguments of SDconfig, NSDconfig or PSDconfig, and `dim_hid`, the model's
            own.
        **parameters
            Further parameters of the estimator, such as ``device``; of the module's own only
            ``module__attention_dropout`` and ``module__mlp_dropout``, as the others are the
            checkpoint's.

        Returns
        -------
        SpikeDecoderLM
            Fitted; `partial_fit` trains it further, with the recipe of the preset "spikedecoder". A
            clone, as a search makes them, keeps the parameters and so the architecture, but neither
            weights nor a dictionary: it is trained from scratch.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        NotFittedError, TypeError
            If the tokenizer was not fitted, or is none; if `config` is no mapping.
        ValueError
            If the file is damaged, holds anything but tensors and plain values, or does not fit the
            config; if the tokenizer has more tokens than the model, or the reference has none for
            such a vocabulary.

        Examples
        --------
        >>> config = {"vocab_size": 30, "max_len": 16, "heads": 5}
        >>> SpikeDecoderLM.from_reference("decoder.pth", config=config)
        Traceback (most recent call last):
            ...
        FileNotFoundError: There is no file decoder.pth.
        """
        spikedecoder_options({}, config)  # raises what is wrong with the config alone
        is_own = isinstance(tokenizer, str) and tokenizer == "reference"
        return adopt_checkpoint(
            cls,
            "spikedecoder",
            path,
            _reference_tokenizer(config) if is_own else tokenizer,
            parameters,
            system="SpikeDecoder of this config",
            free={"module__attention_dropout", "module__mlp_dropout"},
            options_of=partial(spikedecoder_options, config=config),
            convert=partial(from_spikedecoder, config=config),
        )


_ALPHABETS = {30: "spikedecoder", 32: "spikedecoder-32"}
_PADDING = "P"


def _reference_tokenizer(config: Mapping[str, Any]) -> BaseTokenizer:
    """Return the tokenizer of a reference model, with its padding symbol for what is unknown."""
    if words := config.get("dictionary"):
        return _words(words)
    alphabet = _ALPHABETS.get(config["vocab_size"])
    if alphabet is None:
        raise ValueError(
            f"config has vocab_size={config['vocab_size']!r} and no dictionary, for which the "
            "reference has no tokens: give a fitted tokenizer, or tokenizer=None for token ids."
        )
    return CharTokenizer(alphabet, handle_unknown="token", unknown_token=_PADDING).fit([_PADDING])


def _words(words: Any) -> WordTokenizer:
    """Return a tokenizer for a dictionary of the reference, which reads text in lower case."""
    is_list = isinstance(words, list) and all(isinstance(word, str) for word in words)
    if not is_list or len(set(words)) < len(words):
        raise ValueError(
            f"config has dictionary={reprlib.repr(words)}, which is no list of distinct words: "
            "give the reference's own, where a word's place is its id."
        )
    unknown = _PADDING if _PADDING in words else None
    options = {
        "lowercase": True,
        "pattern": r"\S+",
        "unknown_token": unknown,
        "padding_token": None,
    }
    return WordTokenizer.from_dict(
        {
            "type": WordTokenizer.type_name,
            "parameters": options,
            "vocabulary": words,
            "unknown_id": None if unknown is None else words.index(unknown),
            "padding_id": None,
        }
    )

"""SpikeGPT as an estimator."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar, Self

import numpy as np
import torch
from sklearn.base import clone
from torch import Tensor
from torch.nn import CrossEntropyLoss
from torch.optim import Adam

from snn_estimators._validation import is_float
from snn_estimators.convert import from_spikegpt, spikegpt_options
from snn_estimators.estimators.language_model import LanguageModel, module_parameters
from snn_estimators.estimators.pretrained_io import build
from snn_estimators.estimators.reference_io import adopt_checkpoint
from snn_estimators.nn import SpikeGPT
from snn_estimators.nn.rwkv.calibration import calibrate
from snn_estimators.persistence.fit_cache import MemoryLike
from snn_estimators.text import IGNORED, BaseTokenizer

__all__ = ["SpikeGPTLM"]


_CALIBRATED_ON = 64  # windows


class SpikeGPTLM(LanguageModel):
    """A spiking RWKV language model as a density estimator over text.

    Parameters
    ----------
    module : type or Module, default=SpikeGPT
        Its parameters are set as ``module__n_layer``, ``module__n_embd``, ...; the length of its
        training and scoring windows is ``module__ctx_len``. The size of the vocabulary is found in
        `fit`.
    optimizer : type, default=torch.optim.Adam
    lr : float, default=6e-3
    lr_final : float or None, default=1e-5
        Where the learning rate ends; None is 5 % of `lr`.
    warmup_tokens : int, optional
        Tokens over which the learning rate first rises linearly, in batches of full windows.
    weight_decay : float, default=0.0
    betas : tuple of two floats, default=(0.9, 0.99)
    logit_penalty : float, default=0.0
        Pulls the largest logit of each token towards 0; the reference trains with 1e-4. It acts on
        the gradient, where it adds so many times that logit, and not on the reported loss.
    tokenizer, criterion, clip, schedule, warmup_steps, max_epochs, max_steps, steps_per_epoch, \
stride, teacher, teacher_weight, spike_penalty, batch_size, train_split, callbacks, device, \
random_state, verbose
        As in `SpikeDecoderLM`, and so are the attributes.
    name, resume, save_every_n_steps, keep_checkpoints, evaluate_every_n_steps, memory
        A fit with a name saves itself while it trains, and resumes after a kill; a fit with a
        memory is not done twice; see `SpikeDecoderLM`.
    **kwargs
        Parameters of components and further ones of `skorch.NeuralNet`.

    See Also
    --------
    SpikeDecoderLM : Spiking self-attention instead of RWKV.

    Notes
    -----
    The defaults are the recipe that learned best here: one block with graded neurons in front of
    its linear maps, sparse by a penalty. The preset "spikegpt" is that of the published SpikeGPT
    (Zhu et al., TMLR 2024) with a smaller module. Windows are scored each from an empty state;
    `generate` keeps its state for as long as the text grows, at constant cost per token.

    Examples
    --------
    >>> from snn_estimators import SpikeGPTLM
    >>> model = SpikeGPTLM(
    ...     module__ctx_len=8, module__n_layer=2, module__n_embd=16, lr=1e-2, max_epochs=3,
    ...     random_state=0,
    ... )
    >>> model.fit(["abcabcabcabcabcabc"] * 16).perplexity(["abcabc"]) < 5
    True
    >>> "".join(model.generate("ab", max_new_tokens=100, temperature=0, stream=True))[:4]
    '...'
    """

    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "spikegpt": {
            **module_parameters(SpikeGPT.PUBLISHED),
            "lr": 6e-4,
            "schedule": "cosine",
            "logit_penalty": 1e-4,
            "spike_penalty": 0.0,
        }
    }
    WINDOW = "module__ctx_len"

    def __init__(
        self,
        module: Any = SpikeGPT,
        *,
        tokenizer: str | BaseTokenizer | None = "char",
        criterion: Any = CrossEntropyLoss,
        optimizer: Any = Adam,
        lr: float = 6e-3,
        lr_final: float | None = 1e-5,
        weight_decay: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.99),
        clip: float | None = 1.0,
        logit_penalty: float = 0.0,
        schedule: str = "trapezoid",
        warmup_steps: int = 0,
        warmup_tokens: int | None = None,
        max_epochs: int = 10,
        max_steps: int | None = None,
        steps_per_epoch: int | None = None,
        stride: int | None = None,
        spike_penalty: float = 0.2,
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
        self.logit_penalty = logit_penalty
        super().__init__(
            module,
            tokenizer=tokenizer,
            criterion=criterion,
            optimizer=optimizer,
            lr=lr,
            lr_final=lr_final,
            weight_decay=weight_decay,
            betas=betas,
            clip=clip,
            schedule=schedule,
            warmup_steps=warmup_steps,
            warmup_tokens=warmup_tokens,
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
        tokenizer: BaseTokenizer | None,
        *,
        ctx_len: int = 1024,
        **parameters: Any,
    ) -> Self:
        """Read a checkpoint of the reference implementation, ``.pth`` or safetensors.

        Nothing in the file is executed. Sizes and model type follow from the tensors; wrappers'
        prefixes, a trainer's envelope and buffers without meaning are taken off with one warning,
        and weights of any precision become PyTorch's default.

        Parameters
        ----------
        path : str or path
            What the reference's training saves: a dictionary of tensors.
        tokenizer : fitted tokenizer or None
            The one that the model was trained with; the checkpoint has none. None takes token ids.
        ctx_len : int, default=1024
            Length of scoring windows.
        **parameters
            Further parameters of the estimator, such as ``device``; of the module's own only
            ``module__dropout``, as the others are the checkpoint's.

        Returns
        -------
        SpikeGPTLM
            Fitted; `partial_fit` trains it further, with the recipe of the preset "spikegpt". A
            clone, as a search makes them, keeps the parameters and so the architecture, but neither
            weights nor vocabulary: it is trained from scratch.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        NotFittedError, TypeError
            If the tokenizer was not fitted, or is none.
        ValueError
            If the file is damaged, holds anything but tensors and plain values, or its tensors make
            no SpikeGPT; if the tokenizer has more tokens than the model.
        """
        return adopt_checkpoint(
            cls,
            "spikegpt",
            path,
            tokenizer,
            parameters,
            system="SpikeGPT",
            free={"module__dropout"},
            options_of=partial(spikegpt_options, ctx_len=ctx_len),
            convert=partial(from_spikegpt, ctx_len=ctx_len),
        )

    @classmethod
    def from_twin(
        cls, twin: SpikeGPTLM, X: Any, *, levels: int = 4, step: float = 1.0, **overrides: Any
    ) -> Self:
        """Make a spiking model of a fitted RWKV, without training.

        Parameters
        ----------
        twin : SpikeGPTLM
            Fitted, with ``module__spikes="none"``. It stays as it is.
        X : iterable of documents, or token ids
            Text that gains and weights are calibrated on: the first windows of it, up to 64; see
            `snn_estimators.nn.rwkv.calibration`.
        levels, step : int and float
            Of the signed graded neurons in front of every linear map.
        **overrides
            Further parameters that differ from the twin's, such as ``spike_penalty``.

        Returns
        -------
        SpikeGPTLM
            Fitted; `partial_fit` trains it on.

        Raises
        ------
        NotFittedError
            If the twin was not fitted.
        ValueError
            If it spikes, or no document of X is as long as a window.

        Examples
        --------
        >>> from snn_estimators import SpikeGPTLM
        >>> text = ["abcabcabcabcabcabc"] * 16
        >>> twin = SpikeGPTLM(
        ...     module__ctx_len=8, module__n_embd=16, module__spikes="none", max_epochs=9,
        ...     random_state=0,
        ... ).fit(text)
        >>> SpikeGPTLM.from_twin(twin, text, levels=8).perplexity(text) < 2
        True
        """
        twin.check_is_fitted()
        spikes = twin.get_params_for("module").get("spikes", "linear")
        if spikes != "none":
            raise ValueError(
                f"The twin has module__spikes={spikes!r}: give a fitted RWKV, which has 'none'."
            )
        tokens = twin._tokenize(twin._check_X(X))
        length = twin.module_.ctx_len
        windows = [ids[i : i + length] for ids in tokens for i in range(0, len(ids), length)]
        whole = [ids for ids in windows if len(ids) == length][:_CALIBRATED_ON]
        if not whole:
            raise ValueError(
                f"No document of X has {length} tokens, as long as a window: give more."
            )
        neurons = {"spikes": "linear", "neuron": "graded", "signed": True}
        changed = module_parameters({**neurons, "levels": levels, "step": step})
        model = clone(twin).set_params(**{**changed, "name": None, "resume": False, **overrides})
        build(model, twin.vocab_size_)
        model.module_.load_state_dict(twin.module_.state_dict(), strict=False)
        calibrate(
            model.module_, torch.from_numpy(np.stack(whole).astype(np.int64)).to(model.device_)
        )
        if twin.tokenizer is not None:
            model.tokenizer_ = copy.deepcopy(twin.tokenizer_)
        model.n_iter_, model.n_steps_, model.interrupted_ = 0, 0, False
        return model

    def _check_recipe(self) -> None:
        super()._check_recipe()
        if not is_float(self.logit_penalty) or not 0 <= self.logit_penalty < float("inf"):
            raise ValueError(
                f"logit_penalty must be a finite number from 0 on, got {self.logit_penalty!r}."
            )

    def get_loss(
        self, y_pred: Tensor, y_true: Tensor, X: Any = None, training: bool = False
    ) -> Tensor:
        """Return the mean loss of the batch's tokens, with the penalty's gradient; skorch's."""
        loss = super().get_loss(y_pred, y_true, X, training)
        if not (training and self.logit_penalty):
            return loss
        counts = (y_true != IGNORED).to(y_pred.device)
        largest = y_pred.amax(-1).square().where(counts, 0.0).sum() / counts.sum().clamp_min(1)
        penalty = self.logit_penalty / 2 * largest
        return loss + (penalty - penalty.detach())  # its gradient alone

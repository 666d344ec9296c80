"""SpikeDecoder and SpikeGPT as classifiers of text."""

from __future__ import annotations

from typing import Any, ClassVar

from torch.nn import CrossEntropyLoss
from torch.optim import AdamW

from snn_estimators.estimators.language_model import LanguageModel
from snn_estimators.estimators.spike_decoder import SpikeDecoderLM
from snn_estimators.estimators.text_classifier import TextClassifier
from snn_estimators.nn import SpikingDecoder
from snn_estimators.text import BaseTokenizer

__all__ = ["SpikeDecoderClassifier"]


class SpikeDecoderClassifier(TextClassifier):
    """A spiking GPT-style decoder as a classifier of text."""

    language_model: ClassVar[type[LanguageModel]] = SpikeDecoderLM

    def __init__(
        self,
        module: Any = SpikingDecoder,
        *,
        pretrained: Any = None,
        decision: str = "mean",
        tokenizer: str | BaseTokenizer | None = "auto",
        criterion: Any = CrossEntropyLoss,
        optimizer: Any = AdamW,
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        betas: tuple[float, float] = (0.9, 0.95),
        clip: float | None = 1.0,
        schedule: str = "cosine",
        warmup_steps: int = 0,
        lr_final: float | None = None,
        max_epochs: int = 5,
        max_steps: int | None = None,
        batch_size: int = 32,
        train_split: Any = None,
        callbacks: Any = None,
        device: str = "auto",
        random_state: Any = None,
        verbose: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            module,
            pretrained=pretrained,
            decision=decision,
            tokenizer=tokenizer,
            criterion=criterion,
            optimizer=optimizer,
            lr=lr,
            weight_decay=weight_decay,
            betas=betas,
            clip=clip,
            schedule=schedule,
            warmup_steps=warmup_steps,
            lr_final=lr_final,
            max_epochs=max_epochs,
            max_steps=max_steps,
            batch_size=batch_size,
            train_split=train_split,
            callbacks=callbacks,
            device=device,
            random_state=random_state,
            verbose=verbose,
            **kwargs,
        )

"""Models and texts small enough for a test."""

from __future__ import annotations

from typing import Any

import torch

from snn_estimators.estimators import SpikeDecoderLM

TEXTS = ["the cat sat on the mat.", "a dog saw the cat.", "the dog ran.", "a cat ran at the dog."]


def tiny_model(**parameters: Any) -> SpikeDecoderLM:
    """A model that fits in a fraction of a second."""
    defaults: dict[str, Any] = {
        "module__max_len": 8,
        "module__blocks": 1,
        "module__heads": 2,
        "module__token_dim": 6,
        "module__position_dim": 2,
        "module__timesteps": 2,
        "module__float_embedding": True,
        "module__embedding_std": 1.0,
        "lr": 1e-2,
        "max_epochs": 2,
        "batch_size": 4,
        "random_state": 0,
    }
    return SpikeDecoderLM(**{**defaults, **parameters})


def flat(value: Any) -> Any:
    """Turn tensors in containers into plain values, which compare to the bit."""
    if isinstance(value, torch.Tensor):
        return value.tolist()
    if isinstance(value, dict):
        return {key: flat(item) for key, item in value.items()}
    return [flat(item) for item in value] if isinstance(value, list | tuple) else value

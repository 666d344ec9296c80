"""Tiny classifiers, and reviews that they learn."""

from __future__ import annotations

import numpy as np

from snn_estimators.estimators import SpikeDecoderClassifier, SpikeGPTClassifier

MODULE = {
    "module__max_len": 8,
    "module__blocks": 1,
    "module__heads": 2,
    "module__token_dim": 14,
    "module__position_dim": 2,
    "module__timesteps": 2,
    "module__float_embedding": True,
    "module__embedding_std": 1.0,
}


def tiny_classifier(**parameters):
    defaults = {"lr": 3e-2, "max_epochs": 3, "batch_size": 8, "random_state": 0}
    adopted = {} if parameters.get("pretrained") is not None else MODULE
    return SpikeDecoderClassifier(**{**adopted, **defaults, **parameters})


def reviews(n=40, seed=0):
    """Texts of many lengths, praised or damned by one word somewhere."""
    rng = np.random.default_rng(seed)
    filler = ["the", "film", "was", "on", "for", "two", "hours", "and", "we", "saw", "it", "all"]
    texts, labels = [], []
    for index in range(n):
        words = rng.choice(filler, rng.integers(0, 12)).tolist()
        label = ("bad", "good")[index % 2]
        words.insert(rng.integers(len(words) + 1), {"bad": "awful", "good": "great"}[label])
        texts.append(" ".join(words))
        labels.append(label)
    return texts, labels


def tiny_gpt(**parameters):
    size = {"module__n_layer": 1, "module__n_embd": 16}
    defaults = {"lr": 1e-2, "max_epochs": 3, "batch_size": 8, "random_state": 0}
    adopted = {} if parameters.get("pretrained") is not None else size
    return SpikeGPTClassifier(**{**adopted, **defaults, **parameters})


X, Y = reviews()


ON_IDS = {"tokenizer": None, "batch_size": 16, "max_epochs": 5}

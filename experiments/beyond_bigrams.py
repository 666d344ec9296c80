"""Show whether spiking decoders learn more than bigrams.

The reference's recipe, the "context" preset and the non-spiking twin, trained on equally many
tokens of one text and measured on the rest; beside them n-gram models counted on the same tokens.
Several seeds, energy included.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from _experiment import parse_arguments
from _language_models import LENGTH, SHARED, Texts, compare, join

from snn_estimators import SpikeDecoderLM

SYMBOLS = SHARED["tokenizer"].fit(["a"]).vocabulary_


def decoder(**parameters: Any) -> Callable[[], SpikeDecoderLM]:
    """Return what makes a model with four blocks and the parameters."""
    return partial(SpikeDecoderLM, module__max_len=LENGTH, module__blocks=4, **parameters)


twin = partial(decoder, module__spike_degree=0)
MODELS = {
    "SpikeDecoder, reference recipe": decoder(schedule="constant", lr=1e-3),
    "SpikeDecoder, preset 'context'": decoder(**SpikeDecoderLM.PRESETS["context"]),
    "non-spiking twin, lr 1e-3": twin(schedule="constant", lr=1e-3),
    "non-spiking twin, lr 3e-3": twin(schedule="constant", lr=3e-3),
    "non-spiking twin, tuned": twin(schedule="trapezoid", lr=3e-3),
    "non-spiking twin, tuned, as many parameters": twin(
        module__mlp_ratio=11, schedule="trapezoid", lr=3e-3
    ),
}


def n_gram(order: int, train: str, test: list[str], smoothing: float = 0.05) -> dict[str, Any]:
    """Score an n-gram model with additive smoothing on the same predictions.

    The first tokens of a window have less context there, for it as for the others.
    """
    counts = [
        Counter(train[i : i + n] for i in range(len(train) - n + 1)) for n in range(order + 1)
    ]
    losses, hits = [], 0
    for window in test:
        for end in range(1, len(window)):
            context = window[max(0, end - order + 1) : end]
            seen = np.array([counts[len(context) + 1][context + symbol] for symbol in SYMBOLS])
            likelihoods = (seen + smoothing) / (seen.sum() + smoothing * len(SYMBOLS))
            target = SYMBOLS.index(window[end])
            losses.append(-math.log(likelihoods[target]))
            hits += int(likelihoods.argmax()) == target
    loss = float(np.mean(losses))
    return {
        "neg_perplexity": -math.exp(loss),
        "neg_bits_per_character": -loss / math.log(2) * (LENGTH / (LENGTH + 1)),
        "accuracy": hits / len(losses),
    }


def n_grams(texts: Texts) -> Iterator[dict[str, Any]]:
    """Give a row for each order up to four."""
    for order in (1, 2, 3, 4):
        yield {"model": f"{order}-gram"} | join([n_gram(order, *texts)])


if __name__ == "__main__":
    compare(parse_arguments(__file__, __doc__), MODELS, n_grams)

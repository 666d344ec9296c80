"""Show whether spiking decoders learn more than bigrams.

The reference's recipe, the "context" preset and the non-spiking twin at five sizes, trained on
equally many tokens of one text and measured on the rest; beside them n-gram models counted on the
same tokens. Several seeds, energy included. Learning rates are the better of two, as in
`spikedecoder_spikegpt`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from _experiment import parse_arguments
from _language_models import LENGTH, SHARED, Texts, compare, join
from spikedecoder_spikegpt import (
    DECODER_SHAPES,
    KINDS,
    Kind,
    Shape,
    decoder,
    entries,
    kinds_to_compare,
    tune,
)

from snn_estimators import SpikeDecoderLM
from snn_estimators.estimators import LanguageModel

SYMBOLS = SHARED["tokenizer"].fit(["a"]).vocabulary_


def reference(shape: Shape) -> LanguageModel:
    """Make a SpikeDecoder by the reference's recipe, of the shapes of the others."""
    named = decoder(shape).get_params(deep=False)
    sizes = ("blocks", "position_dim", "token_dim", "heads", "max_len")
    given = {f"module__{name}": named[f"module__{name}"] for name in sizes}
    return SpikeDecoderLM.from_preset("spikedecoder", **given)


MODELS = {
    "SpikeDecoder, reference recipe": Kind(reference, DECODER_SHAPES),
    "SpikeDecoder, preset 'context'": KINDS["SpikeDecoder, binary"],
    "Transformer": KINDS["Transformer"],
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
    given = parse_arguments(__file__, __doc__)
    compared = kinds_to_compare(MODELS, given.quick)
    compare(given, entries(compared), n_grams, partial(tune, compared, given))

"""Show whether spiking decoders learn more than bigrams.

The reference's recipe, the "context" preset and the non-spiking twin at five sizes, trained on
equally many tokens of one text and measured on the rest; beside them n-grams with Kneser-Ney
smoothing, counted on all of that text. Several seeds, energy included. Learning rates are the
better of two, as in `spikedecoder_spikegpt`.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from _experiment import parse_arguments
from _language_models import SHARED, Texts, compare, join
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

from snn_estimators import NGramLM, SpikeDecoderLM, language_model_scores
from snn_estimators.estimators import LanguageModel


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


def n_grams(texts: Texts) -> Iterator[dict[str, Any]]:
    """Give a row for each order up to five."""
    for order in (1, 2, 3, 4, 5):
        model = NGramLM(order, tokenizer=SHARED["tokenizer"]).fit([texts.train])
        yield {"model": f"{order}-gram"} | join([language_model_scores(model, texts.test)])


if __name__ == "__main__":
    given = parse_arguments(__file__, __doc__)
    compared = kinds_to_compare(MODELS, given.quick)
    compare(given, entries(compared), n_grams, partial(tune, compared, given))

"""Take the costs out of the preset "context", one at a time, and see what they buy.

Batch instead of layer normalisation, which folds into the weights; attention without decay, whose
state need not be read and written at every token; fewer timesteps.
"""

from functools import partial

from _experiment import parse_arguments
from _language_models import Entry, compare
from spikedecoder_spikegpt import decoder

RATE = 6e-3  # the better one for the preset, see spikedecoder_spikegpt
SHAPE = (2, 80)
VARIANTS = {
    "preset 'context'": {},
    "batch norm": {"normalization": "batch"},
    "no decay": {"attention_decay": None},
    "2 timesteps": {"timesteps": 2},
    "batch norm, no decay, 2 timesteps": {
        "normalization": "batch",
        "attention_decay": None,
        "timesteps": 2,
    },
}

if __name__ == "__main__":
    models = [
        Entry({"model": name}, partial(decoder, SHAPE, **options))
        for name, options in VARIANTS.items()
    ]
    compare(
        parse_arguments(__file__, __doc__),
        models,
        tune=lambda *given: dict.fromkeys(VARIANTS, RATE),
    )

"""Compare numbers of timesteps and heads, and codes for the tokens.

The grid search of the SpikeDecoder paper, on quality and energy together.
"""

from _experiment import sweep

sweep(
    __file__,
    __doc__,
    {"timesteps": [1, 2, 4, 8], "heads": [1, 2, 5], "encoding": ["learned", "two-hot"]},
    preset="spikedecoder",
    length=64,
    characters=200_000,
    blocks=2,
    batch_size=16,
    max_steps=150,
    lr=3e-3,
)

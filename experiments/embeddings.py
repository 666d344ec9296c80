"""Token codes times position codes: accuracy, parameters, perplexity, energy.

The SpikeDecoder paper's comparison of encodings, at a length where a one-hot code for each pair of
token and position is still affordable.
"""

from _experiment import sweep

POSITIONS = ["linear", "binary", "static", "learned"]

sweep(
    __file__,
    __doc__,
    [
        {"encoding": ["two-hot", "binary", "learned"], "position_encoding": POSITIONS},
        {"encoding": ["one-hot"], "position_encoding": ["linear"]},
        {
            "encoding": ["learned"],
            "position_encoding": ["static", "learned"],
            "combine_position": [True],
        },
    ],
    preset="spikedecoder",
    length=16,
    characters=100_000,
    blocks=2,
    heads=1,
    batch_size=64,
    max_steps=120,
    lr=3e-3,
)

"""Take the "context" preset apart: one parameter changed at a time.

A dash means the preset's own value; the row with ``token_shift`` 2 is the preset itself.
"""

from _experiment import sweep

sweep(
    __file__,
    __doc__,
    [
        {"token_shift": [2, 1, 0]},
        {"mlp_token_shift": [0]},
        {"attention_decay": [None]},
        {"float_embedding": [False]},
        {"attention_scale": [0.125]},
        {"readout": ["average"]},
    ],
    preset="context",
    length=64,
    characters=40_000,
    blocks=2,
    max_steps=100,
    steps_per_epoch=100,
)

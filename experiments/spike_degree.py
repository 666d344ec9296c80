"""From the non-spiking twin to the fully spiking decoder, one step at a time.

Degree 0 has no spikes, 1 spiking input, 2 spiking attention too, 3 a spiking feed-forward too, 4 a
spiking head too; "attention_only" is the twin with nothing but its attention spiking.
"""

from _experiment import sweep

sweep(
    __file__,
    __doc__,
    {"spike_degree": [0, 1, 2, 3, 4, "attention_only"]},
    preset="spikedecoder",
    length=64,
    characters=400_000,
    blocks=2,
    batch_size=16,
    max_steps=250,
    lr=3e-3,
    folds=3,
)

"""The same network without spikes: its operations follow from its dimensions."""

from __future__ import annotations

import pandas as pd


def ann_twin(
    *,
    width: int,
    blocks: int,
    mlp_ratio: int,
    vocab_size: int,
    length: int,
    causal: bool = True,
) -> pd.Series:
    """Count the non-spiking twin's multiply-accumulates per token.

    The twin is a decoder with softmax attention and a GELU feed-forward, one timestep, real numbers
    everywhere. The number of heads makes no difference. With a cache of keys and values generation
    costs the same per token as the whole sequence at once.

    Parameters
    ----------
    width, blocks, mlp_ratio, vocab_size : int
    length : int
        Tokens in the sequence.
    causal : bool, default=True
        Count only keys that are not in the future; otherwise all `length` of them, as dense
        implementations compute.

    Returns
    -------
    pandas.Series
        MACs per token of the ``projections`` (queries, keys, values, output), ``attention``
        (scores and values), ``feed_forward`` and ``head``, all blocks together.

    Examples
    --------
    >>> ann_twin(width=80, blocks=1, mlp_ratio=4, vocab_size=30, length=9).to_dict()
    {'projections': 25600.0, 'attention': 800.0, 'feed_forward': 51200.0, 'head': 2400.0}
    """
    keys = (length + 1) / 2 if causal else length
    return pd.Series(
        {
            "projections": blocks * 4 * width**2,
            "attention": blocks * 2 * keys * width,
            "feed_forward": blocks * 2 * mlp_ratio * width**2,
            "head": width * vocab_size,
        },
        dtype=float,
    )

"""The same network without spikes: its operations follow from its dimensions."""

from __future__ import annotations

import pandas as pd

from snn_estimators._validation import check_choices
from snn_estimators.energy.profiles import DEFAULT, EnergyProfile, resolve_profile
from snn_estimators.energy.rwkv_counters import CHANNEL_MIXING, TIME_MIXING
from snn_estimators.nn.rwkv.mixing import ChannelMixing
from snn_estimators.nn.rwkv.spike_gpt import CHOICES, SpikeGPT


def ann_twin(
    *,
    width: int,
    blocks: int,
    mlp_ratio: int,
    vocab_size: int,
    length: int,
    causal: bool = True,
    token_shift: int = 0,
    mlp_token_shift: int = 0,
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
    token_shift, mlp_token_shift : int, default=0
        Previous tokens that queries, keys and values see, and that the feed-forward sees.

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
            "projections": blocks * (4 + 3 * token_shift) * width**2,
            "attention": blocks * 2 * keys * width,
            "feed_forward": blocks * (2 + mlp_token_shift) * mlp_ratio * width**2,
            "head": width * vocab_size,
        },
        dtype=float,
    )


def rwkv_twin(*, width: int, blocks: int, vocab_size: int, model_type: str = "RWKV") -> pd.Series:
    """Count the multiply-accumulates per token of RWKV-4, SpikeGPT's non-spiking twin.

    Real numbers everywhere, and a state of constant size: unlike in a Transformer the length of the
    sequence makes no difference. What is multiplied value by value counts too; see
    `snn_estimators.energy`.

    Parameters
    ----------
    width, blocks, vocab_size : int
    model_type : {"RWKV", "RWKV-ffnPre"}, default="RWKV"
        With "RWKV-ffnPre" the first block has two channel mixings and no time mixing.

    Returns
    -------
    pandas.Series
        MACs per token, all blocks together, under the names of `ann_twin`: ``projections`` (keys,
        values, receptances, output), ``attention`` (the rest of time mixing: token shifts, WKV
        recurrence, gates), ``feed_forward`` (all of channel mixing) and ``head``.

    Raises
    ------
    ValueError
        For an unknown model type.

    Examples
    --------
    >>> rwkv_twin(width=80, blocks=1, vocab_size=30).to_dict()
    {'projections': 25600.0, 'attention': 800.0, 'feed_forward': 58160.0, 'head': 2400.0}
    """
    check_choices(CHOICES, model_type=model_type)
    time_mixings = blocks - (model_type == "RWKV-ffnPre")
    channel_mixings = 2 * blocks - time_mixings
    return pd.Series(
        {
            "projections": time_mixings * 4 * width**2,
            "attention": time_mixings * TIME_MIXING.macs * width,
            "feed_forward": channel_mixings * (9 * width**2 + CHANNEL_MIXING.macs * width),
            "head": width * vocab_size,
        },
        dtype=float,
    )


def spike_gpt_twins(
    module: SpikeGPT,
    *,
    length: int | None = None,
    profile: EnergyProfile | str = DEFAULT,
) -> pd.DataFrame:
    """Price the two networks that a SpikeGPT is compared to: RWKV and Transformer of its size.

    The Transformer has the same width and number of blocks, a feed-forward four times as wide and
    causal softmax attention. A block of it has 12 weights to a square of the width, one of RWKV 13.

    Parameters
    ----------
    module : SpikeGPT
        Of any variant; its weights play no part.
    length : int, optional
        Tokens that the Transformer sees in a sequence; `ctx_len` if left out.
    profile : EnergyProfile or str, default="45nm-sram"

    Returns
    -------
    pandas.DataFrame
        Synaptic nJ per token: the parts as in `rwkv_twin`, columns ``rwkv`` and ``transformer``.
        The sum of ``rwkv`` is the ``ann_nj`` that `summarize` reports for the module.

    Examples
    --------
    >>> spike_gpt_twins(SpikeGPT(vocab_size=30, n_layer=4, n_embd=80, ctx_len=128)).sum()
    rwkv           1566.944
    transformer    1614.048
    dtype: float64
    """
    width, blocks, vocab_size = module.n_embd, len(module.blocks), module.vocab_size
    starts_plain = not isinstance(module.blocks[0].mixing, ChannelMixing)
    rwkv = rwkv_twin(
        width=width,
        blocks=blocks,
        vocab_size=vocab_size,
        model_type="RWKV" if starts_plain else "RWKV-ffnPre",
    )
    transformer = ann_twin(
        width=width,
        blocks=blocks,
        vocab_size=vocab_size,
        mlp_ratio=4,
        length=module.ctx_len if length is None else length,
    )
    macs = pd.DataFrame({"rwkv": rwkv, "transformer": transformer})
    return macs * resolve_profile(profile).pj_per_mac / 1e3

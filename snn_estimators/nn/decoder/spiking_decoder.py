"""SpikingDecoder: a GPT-style decoder whose blocks spike, partly spike, or do not."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from snn_estimators._validation import check_choices, check_flags, check_sizes
from snn_estimators.nn.decoder.block import BlockState
from snn_estimators.nn.decoder.builders import (
    CHOICES,
    build_blocks,
    build_encoding,
    check_heads,
    choose_spiking_parts,
)
from snn_estimators.nn.decoder.head import READOUTS, Head
from snn_estimators.nn.neurons import NeuronOptions, build_neuron
from snn_estimators.nn.tokens import check_no_padding, check_tokens, padding_mask


class DecoderState(NamedTuple):
    """All that continues a decoder's sequence: constant in size unless a block uses softmax."""

    position: int | Tensor
    """Tokens seen so far. One that is a tensor, shape [], can be exported, but is not checked."""
    blocks: tuple[BlockState, ...]


class SpikingDecoder(nn.Module):
    r"""GPT-style decoder on spiking neurons, with its non-spiking and partly spiking twins.

    Parameters
    ----------
    vocab_size : int
    max_len : int, default=128
        Longest sequence: positions are encoded up to here.
    encoding : str, default="learned"
        Token code: a name in `ENCODINGS`. "one-hot" has a column for each pair of token and
        position; the others stand beside the position code ("two-hot": one column a token).
        "binary-published" is for checkpoints: its codes collide, see `from_spikedecoder`.
    position_encoding : str, default="static"
        A name in `POSITION_ENCODINGS`: "static" is sinusoids, "linear" one column a position.
        "one-hot" tokens need "linear": they hold the position already.
    token_dim, position_dim : int, default=50 and 30
        Widths of codes that may have any: "learned" tokens, "static" and "learned" positions.
    combine_position : bool, default=False
        Add the codes instead of concatenating them; both must be real-valued.
    position_bias : float, default=0.0
        Subtracted from "static" positions beside the tokens before they become bits, most of which
        are one otherwise.
    float_embedding : bool, default=True
        Feed learned and static codes as real numbers instead of bits.
    embedding_std : float, default=1.0
        Deviation of the initial learned codes. Real ones need about 1 to make neurons fire.
    heads, blocks : int, default=5 and 2
    mlp_ratio : int, default=4
        Hidden width of the feed-forward over the model's width.
    timesteps : int, default=1
    attention : {"softmax", "linear"}, default="softmax"
        Of models whose attention does not spike: "linear" is a recurrence as spiking attention is.
    attention_scale : float, default=0.125
        Factor on attention sums; a power of two is a shift.
    attention_decay : {None, "fixed", "learned"}, default=None
        Leaky attention memory: head h = 1, 2, ... keeps a share of 1 - 2^-h per token (fixed), or
        starts there (learned).
    token_shift : int, default=2
        Queries, keys and values also see what so many previous tokens emit (True is 1).
    mlp_token_shift : int, default=2
        So does the feed-forward, as RWKV's channel mixing sees one.
    normalization : str, default="batch"
        A name in `NORMALIZATIONS`.
    readout : str, default="accumulate"
        How the timesteps become one: a name in `READOUTS`.
    spiking_residuals : {0, 1, 2}, default=0
        Residuals that add spikes alone: none, around the feed-forward, around attention too.
    first_block_spiking_residual : bool, default=False
        Neurons behind the first block's attention, so that its residual adds spikes to spikes.
    spiking_head : bool, optional
        Neurons in front of the last linear map. Left out: at `spike_degree` 4 only.
    float_readout : bool, default=False
        Read over the timesteps before the head's neurons instead of behind them.
    neuron : str, default="graded"
        A name in `NEURONS`: "graded", counts in a single timestep; "power-of-two", counts of 1, 2,
        4, ...; "lif", binary; "relu", the real numbers that are counted, without rounding;
        "quantized", the counts as activations that are multiplied.
    levels, step, signed : int, float and bool, default=32, 0.125 and False
        Of all but "lif"; see `snn_estimators.nn.Graded`. They have no memory, so `timesteps`
        beyond 1 repeat their work.
    learnable_gain, learnable_threshold, learnable_step : bool, default=True, False and False
        What of neurons is trained beside the weights: thresholds of all, gain and step of graded
        ones.
    per_channel : bool, default=False
        Give each neuron a gain and a trained threshold of its own instead of the layer's.
    spike_degree : {0, 1, 2, 3, 4, "attention_only"}, default=4
        What spikes: nothing (softmax attention and GELU: the ANN twin); the input; attention too;
        the feed-forward too; the head too. "attention_only" is the twin with spiking attention.
    temporal_coding : {"repeat", "rate", "latency"}, default="repeat"
        How the input is spread over the timesteps.
    attention_dropout, mlp_dropout : float, default=0.0
    tau, v_threshold, v_reset, detach_reset, surrogate, surrogate_alpha
        Of all neurons; see `snn_estimators.nn.LIF`.

    Raises
    ------
    ValueError
        For options that contradict each other or make no sense together, named in the message.

    Notes
    -----
    After Beger et al.'s SpikeDecoder, of which `PUBLISHED` has the options; the defaults are what
    learned best here. As published the first block's attention is silent: its neurons see zeros
    and ones, and a membrane with `tau` 2 driven by 1 stays below 1. Where the reference deviates
    from its own description this class follows the description: learned positions train, binary
    codes are distinct, `float_embedding` acts, PSDconfig's `attention_scale` counts, attention-only
    models reduce their timesteps.

    Examples
    --------
    >>> import torch
    >>> decoder = SpikingDecoder(vocab_size=30, max_len=16, blocks=1)
    >>> decoder(torch.zeros(2, 16, dtype=torch.long)).shape
    torch.Size([2, 16, 30])
    """

    PUBLISHED: ClassVar[Mapping[str, Any]] = {
        "float_embedding": False,
        "embedding_std": 1e-5,
        "blocks": 4,
        "timesteps": 4,
        "token_shift": 0,
        "mlp_token_shift": 0,
        "normalization": "layer",
        "readout": "average",
        "neuron": "lif",
    }
    """Options of the published SpikeDecoder that are not the defaults."""

    TWIN: ClassVar[Mapping[str, Any]] = {
        "spike_degree": 0,
        "attention_decay": None,
        "spiking_head": None,
        "normalization": "layer",
    }
    """Options that make a decoder its non-spiking twin: a Transformer."""

    def __init__(
        self,
        vocab_size: int,
        max_len: int = 128,
        *,
        encoding: str = "learned",
        position_encoding: str = "static",
        token_dim: int = 50,
        position_dim: int = 30,
        combine_position: bool = False,
        position_bias: float = 0.0,
        float_embedding: bool = True,
        embedding_std: float = 1.0,
        heads: int = 5,
        blocks: int = 2,
        mlp_ratio: int = 4,
        timesteps: int = 1,
        attention: str = "softmax",
        attention_scale: float = 0.125,
        attention_decay: str | None = None,
        token_shift: int = 2,
        mlp_token_shift: int = 2,
        normalization: str = "batch",
        readout: str = "accumulate",
        spiking_residuals: int = 0,
        first_block_spiking_residual: bool = False,
        spiking_head: bool | None = None,
        float_readout: bool = False,
        neuron: str = "graded",
        levels: int = 32,
        step: float = 0.125,
        signed: bool = False,
        learnable_gain: bool = True,
        learnable_threshold: bool = False,
        learnable_step: bool = False,
        per_channel: bool = False,
        spike_degree: int | str = 4,
        temporal_coding: str = "repeat",
        attention_dropout: float = 0.0,
        mlp_dropout: float = 0.0,
        tau: float = 2.0,
        v_threshold: float = 1.0,
        v_reset: float | None = 0.0,
        detach_reset: bool = True,
        surrogate: str = "sigmoid",
        surrogate_alpha: float | None = None,
    ) -> None:
        super().__init__()
        check_sizes(vocab_size=vocab_size, max_len=max_len)
        check_sizes(timesteps=timesteps, most=10_000)
        check_choices(CHOICES, neuron=neuron, readout=readout)
        check_flags(float_readout=float_readout)
        spikes = choose_spiking_parts(
            spike_degree,
            spiking_head=spiking_head,
            attention_decay=attention_decay,
        )
        neuron_options = NeuronOptions(
            tau=tau,
            v_threshold=v_threshold,
            v_reset=v_reset,
            detach_reset=detach_reset,
            surrogate=surrogate,
            surrogate_alpha=surrogate_alpha,
            levels=levels,
            step=step,
            signed=signed,
            learnable_gain=learnable_gain,
            learnable_threshold=learnable_threshold,
            learnable_step=learnable_step,
            per_channel=per_channel,
        )
        make_neuron = partial(build_neuron, neuron, neuron_options)
        self.vocab_size, self.max_len = vocab_size, max_len
        self.timesteps = timesteps if spikes.attention else 1
        self.encoding = build_encoding(
            spiking=spikes.input,
            vocab_size=vocab_size,
            max_len=max_len,
            timesteps=self.timesteps,
            encoding=encoding,
            position_encoding=position_encoding,
            token_dim=token_dim,
            position_dim=position_dim,
            combine_position=combine_position,
            position_bias=position_bias,
            float_embedding=float_embedding,
            embedding_std=embedding_std,
            temporal_coding=temporal_coding,
        )
        self.width = self.encoding.width
        check_heads(heads, self.width, encoding, position_encoding)
        self.blocks = build_blocks(
            blocks,
            width=self.width,
            neuron=make_neuron,
            spikes=spikes,
            heads=heads,
            mlp_ratio=mlp_ratio,
            attention=attention,
            attention_scale=attention_scale,
            attention_decay=attention_decay,
            token_shift=token_shift,
            mlp_token_shift=mlp_token_shift,
            normalization=normalization,
            spiking_residuals=spiking_residuals,
            first_block_spiking_residual=first_block_spiking_residual,
            attention_dropout=attention_dropout,
            mlp_dropout=mlp_dropout,
        )
        head_neuron = make_neuron if spikes.head else nn.Identity
        self.head = Head(
            self.width, vocab_size, self.timesteps, READOUTS[readout], head_neuron, float_readout
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Give the logits of the token that follows each position.

        Parameters
        ----------
        tokens : LongTensor, shape [batch, sequence]
            Negative ids are padding, on the right; their logits mean nothing.

        Returns
        -------
        Tensor, shape [batch, sequence, vocab_size]

        Raises
        ------
        ValueError
            If the sequence is longer than `max_len` or, on the CPU, an id is `vocab_size` or more.
        """
        return self.head(self._hidden(tokens))

    def features(self, tokens: Tensor) -> Tensor:
        """Return what the head's linear map reads: [batch, sequence, n_features]."""
        return self.head.features(self._hidden(tokens))

    @property
    def n_features(self) -> int:
        """Width of `features`."""
        return self.head.linear.in_features

    @property
    def position_limit(self) -> int:
        """How many tokens a stream can take: a position beyond has no code."""
        return self.max_len

    def _hidden(self, tokens: Tensor) -> Tensor:
        return self._run(tokens, None, padding_mask(tokens))[0]

    def stream(
        self, tokens: Tensor, state: DecoderState | None = None
    ) -> tuple[Tensor, DecoderState]:
        """Continue sequences of which `state` is all that is remembered.

        Any split of a sequence gives the logits of the whole: spiking attention is a recurrence.

        Parameters
        ----------
        tokens : LongTensor, shape [batch, new tokens]
            Without padding.
        state : DecoderState, optional
            From the previous call; left out at the start.

        Returns
        -------
        logits : Tensor, shape [batch, new tokens, vocab_size]
        state : DecoderState

        Raises
        ------
        ValueError
            For padding, or more than `max_len` tokens in all.

        Examples
        --------
        >>> import torch
        >>> decoder = SpikingDecoder(30, 16, blocks=1, heads=1).eval()
        >>> tokens = torch.arange(6)[None]
        >>> start, state = decoder.stream(tokens[:, :4])
        >>> rest, state = decoder.stream(tokens[:, 4:], state)
        >>> torch.allclose(torch.cat([start, rest], 1), decoder(tokens), atol=1e-5)
        True
        """
        check_no_padding(tokens)
        hidden, state = self._run(tokens, state, None)
        return self.head(hidden), state

    def _run(
        self, tokens: Tensor, state: DecoderState | None, valid: Tensor | None
    ) -> tuple[Tensor, DecoderState]:
        """Map tokens to what the head sees, shape [time, batch, sequence, width]."""
        check_tokens(tokens, self.vocab_size)
        start = 0 if state is None else state.position
        stop = start + tokens.shape[1]
        if not isinstance(stop, Tensor) and stop > self.max_len:
            raise ValueError(
                f"tokens reach position {stop}, but positions are encoded up to max_len="
                f"{self.max_len}; cut the sequence or build the module with a greater max_len."
            )
        positions = start + torch.arange(tokens.shape[1], device=tokens.device)
        x = self.encoding(tokens, positions)
        x = x.to(self.head.linear.weight.dtype)
        states = []
        for index, block in enumerate(self.blocks):
            x, block_state = block(x, state.blocks[index] if state else None, valid)
            states.append(block_state)
        return x, DecoderState(stop, tuple(states))

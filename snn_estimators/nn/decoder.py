"""SpikingDecoder: a GPT-style decoder whose blocks spike, partly spike, or do not."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from snn_estimators.nn.attention import (
    AttentionState,
    Neuron,
    SelfAttention,
    SoftmaxCore,
    SpikingCore,
)
from snn_estimators.nn.encodings import build_encoding
from snn_estimators.nn.feed_forward import FeedForward, SpikingFeedForward
from snn_estimators.nn.head import Head
from snn_estimators.nn.neurons import LIF
from snn_estimators.nn.norms import NORMALIZATIONS
from snn_estimators.nn.validation import check_decoder_options, check_tokens, refuse_padding


class BlockState(NamedTuple):
    """What a block remembers of the tokens so far."""

    attention: AttentionState
    past: Tensor | None
    """Inputs of the feed-forward at the last tokens, for its token shift."""


class Block(nn.Module):
    """Attention and feed-forward, each with a residual around it.

    The three neurons are ``nn.Identity`` unless residuals are to carry spikes alone.

    Parameters
    ----------
    attention : SelfAttention
    feed_forward : SpikingFeedForward or FeedForward
    input_neuron, attended_neuron, middle_neuron : callable
        In front of the block, behind attention before it is added, and between the two halves.
    """

    def __init__(
        self,
        attention: SelfAttention,
        feed_forward: nn.Module,
        input_neuron: Neuron = nn.Identity,
        attended_neuron: Neuron = nn.Identity,
        middle_neuron: Neuron = nn.Identity,
    ) -> None:
        super().__init__()
        self.input_neuron = input_neuron()
        self.attention = attention
        self.attended_neuron = attended_neuron()
        self.middle_neuron = middle_neuron()
        self.feed_forward = feed_forward

    def forward(
        self, x: Tensor, state: BlockState | None = None, valid: Tensor | None = None
    ) -> tuple[Tensor, BlockState]:
        """Map x, shape [time, batch, sequence, width], and the state of the tokens before it."""
        before, past = (None, None) if state is None else state
        x = self.input_neuron(x)
        attended, after = self.attention(x, before, valid)
        x = self.middle_neuron(x + self.attended_neuron(attended))
        fed_forward, past = self.feed_forward(x, past, valid)
        return x + fed_forward, BlockState(after, past)


class DecoderState(NamedTuple):
    """All that a decoder needs to go on: constant in size unless a block uses softmax."""

    position: int
    """Tokens seen so far."""
    blocks: tuple[BlockState, ...]


class SpikingDecoder(nn.Module):
    r"""GPT-style decoder on spiking neurons, with its non-spiking and partly spiking twins.

    Parameters
    ----------
    vocab_size : int
    max_len : int, default=128
        Longest sequence: positions are encoded up to here.
    encoding : {"learned", "two-hot", "binary", "one-hot"}, default="learned"
        Token code. "one-hot" has a column for each pair of token and position; the others stand
        beside the position code ("two-hot": one column a token).
    position_encoding : {"static", "learned", "linear", "binary"}, default="static"
        Sinusoids, a trained table, one column a position, or its binary digits. "one-hot" tokens
        need "linear": they hold the position already.
    token_dim, position_dim : int, default=50 and 30
        Widths of codes that may have any: "learned" tokens, "static" and "learned" positions.
    combine_position : bool, default=False
        Add the codes instead of concatenating them; both must be real-valued.
    position_bias : float, default=0.0
        Subtracted from "static" positions beside the tokens before they become bits, most of which
        are one otherwise.
    float_embedding : bool, default=False
        Feed learned and static codes as real numbers instead of bits.
    embedding_std : float, default=1e-5
        Deviation of the initial learned codes. Real ones need about 1 to make neurons fire.
    heads, blocks : int, default=5 and 4
    mlp_ratio : int, default=4
        Hidden width of the feed-forward over the model's width.
    timesteps : int, default=4
    attention_scale : float, default=0.125
        Factor on attention sums; a power of two is a shift.
    attention_decay : {None, "fixed", "learned"}, default=None
        Leaky attention memory: head h = 1, 2, ... keeps a share of 1 - 2^-h per token (fixed), or
        starts there (learned).
    token_shift : int, default=0
        Queries, keys and values also see the spikes of so many previous tokens (True is 1).
    mlp_token_shift : int, default=0
        So does the feed-forward, as RWKV's channel mixing sees one.
    normalization : {"layer", "batch", "power"}, default="layer"
    readout : {"average", "accumulate", "concatenate", "final"}, default="average"
    spiking_residuals : {0, 1, 2}, default=0
        Residuals that add spikes alone: none, around the feed-forward, around attention too.
    first_block_spiking_residual : bool, default=False
        Neurons behind the first block's attention, so that its residual adds spikes to spikes.
    spiking_head : bool, optional
        Neurons in front of the last linear map. Left out: at `spike_degree` 4 only.
    float_readout : bool, default=False
        Read over the timesteps before the head's neurons instead of behind them.
    learnable_threshold : bool, default=False
        Train one threshold a layer of neurons.
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
    After Beger et al.'s SpikeDecoder. With the defaults the first block's attention is silent: its
    neurons see zeros and ones, and a membrane with `tau` 2 driven by 1 stays below 1. Wake it with
    ``float_embedding=True, embedding_std=1.0``, a `v_threshold` below 1, or
    ``learnable_threshold=True``. Where the reference deviates from its own description this class
    follows the description: learned positions train, binary codes are distinct, `float_embedding`
    acts, PSDconfig's `attention_scale` counts, attention-only models reduce their timesteps.

    Examples
    --------
    >>> import torch
    >>> decoder = SpikingDecoder(vocab_size=30, max_len=16, blocks=1)
    >>> decoder(torch.zeros(2, 16, dtype=torch.long)).shape
    torch.Size([2, 16, 30])
    """

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
        float_embedding: bool = False,
        embedding_std: float = 1e-5,
        heads: int = 5,
        blocks: int = 4,
        mlp_ratio: int = 4,
        timesteps: int = 4,
        attention_scale: float = 0.125,
        attention_decay: str | None = None,
        token_shift: int = 0,
        mlp_token_shift: int = 0,
        normalization: str = "layer",
        readout: str = "average",
        spiking_residuals: int = 0,
        first_block_spiking_residual: bool = False,
        spiking_head: bool | None = None,
        float_readout: bool = False,
        learnable_threshold: bool = False,
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
        options = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        check_decoder_options(**options)
        self.vocab_size, self.max_len = vocab_size, max_len
        attention_spikes = spike_degree == "attention_only" or spike_degree in (2, 3, 4)
        input_spikes = spike_degree in (1, 2, 3, 4)
        feed_forward_spikes = spike_degree in (3, 4)
        self.timesteps = timesteps if attention_spikes else 1

        norm = NORMALIZATIONS[normalization]
        neuron = partial(
            LIF,
            tau=tau,
            v_threshold=v_threshold,
            v_reset=v_reset,
            detach_reset=detach_reset,
            surrogate=surrogate,
            surrogate_alpha=surrogate_alpha,
            learnable_threshold=learnable_threshold,
        )

        def neuron_if(wanted: bool) -> Neuron:
            return neuron if wanted else nn.Identity

        self.encoding = build_encoding(
            spiking=input_spikes, **{**options, "timesteps": self.timesteps}
        )
        width = self.width = self.encoding.width
        if width % heads:
            raise ValueError(
                f"heads={heads} must divide the model's width, which is {width} with "
                f"encoding={encoding!r} and position_encoding={position_encoding!r}; choose one of "
                f"{[h for h in range(1, width + 1) if width % h == 0]} or another width."
            )

        def attention() -> SelfAttention:
            if not attention_spikes:
                return SelfAttention(
                    width, SoftmaxCore(heads, attention_dropout), norm, nn.Identity
                )
            core = SpikingCore(heads, attention_scale, attention_decay, attention_dropout)
            inner, outer = neuron_if(spiking_residuals < 2), neuron_if(spiking_residuals == 2)
            return SelfAttention(width, core, norm, neuron, inner, outer, int(token_shift))

        def feed_forward() -> nn.Module:
            hidden = width * mlp_ratio
            if not feed_forward_spikes:
                return FeedForward(width, hidden, mlp_dropout)
            spikes_out = spiking_residuals > 0
            return SpikingFeedForward(
                width, hidden, norm, neuron, mlp_dropout, spikes_out, int(mlp_token_shift)
            )

        self.blocks = nn.ModuleList(
            Block(
                attention(),
                feed_forward(),
                input_neuron=neuron_if(attention_spikes and spiking_residuals == 2),
                attended_neuron=neuron_if(
                    attention_spikes and first_block_spiking_residual and index == 0
                ),
                middle_neuron=neuron_if(feed_forward_spikes and spiking_residuals > 0),
            )
            for index in range(blocks)
        )
        head_spikes = spike_degree == 4 if spiking_head is None else spiking_head
        self.head = Head(
            width, vocab_size, self.timesteps, readout, neuron_if(head_spikes), float_readout
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
            If the sequence is longer than `max_len` or an id is not below `vocab_size`.
        """
        return self.head(self._hidden(tokens))

    def features(self, tokens: Tensor) -> Tensor:
        """Give what the head's linear map reads, for another task than the next token.

        Parameters
        ----------
        tokens : LongTensor, shape [batch, sequence]
            As in `forward`.

        Returns
        -------
        Tensor, shape [batch, sequence, n_features]
        """
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
        valid = tokens >= 0
        return self._run(tokens, None, None if bool(valid.all()) else valid)[0]

    def stream(
        self, tokens: Tensor, state: DecoderState | None = None
    ) -> tuple[Tensor, DecoderState]:
        """Go on with sequences of which `state` is all that is remembered.

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
        refuse_padding(tokens)
        hidden, state = self._run(tokens, state, None)
        return self.head(hidden), state

    def _run(
        self, tokens: Tensor, state: DecoderState | None, valid: Tensor | None
    ) -> tuple[Tensor, DecoderState]:
        """Map tokens to what the head sees, shape [time, batch, sequence, width]."""
        check_tokens(tokens, self.vocab_size)
        start = 0 if state is None else state.position
        stop = start + tokens.shape[1]
        if stop > self.max_len:
            raise ValueError(
                f"tokens reach position {stop}, but positions are encoded up to max_len="
                f"{self.max_len}; cut the sequence or build the module with a greater max_len."
            )
        x = self.encoding(tokens, torch.arange(start, stop, device=tokens.device))
        x = x.to(self.head.linear.weight.dtype)
        states = []
        for index, block in enumerate(self.blocks):
            x, block_state = block(x, state.blocks[index] if state else None, valid)
            states.append(block_state)
        return x, DecoderState(stop, tuple(states))

"""SpikeGPT: RWKV whose residual stream is fed by neurons that integrate along the tokens."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, ClassVar, NamedTuple

from torch import Tensor, nn

from snn_estimators._validation import (
    check_choices,
    check_numbers,
    check_shares,
    check_sizes,
)
from snn_estimators.nn.neurons import (
    NEURONS,
    Neuron,
    NeuronOptions,
    TokenLIF,
    build_neuron,
    lif_options,
)
from snn_estimators.nn.rwkv.mixing import ChannelMixing, Mixing, MixingState, TimeMixing
from snn_estimators.nn.spiking_linear import MaybeNeuron, PreSpikingLinear
from snn_estimators.nn.tokens import check_no_padding, check_tokens
from snn_estimators.ops import spike

CHOICES: dict[str, Collection[str]] = {
    "model_type": ("RWKV", "RWKV-ffnPre"),
    "spikes": ("residual", "everywhere", "linear", "none"),
    "neuron": NEURONS,
    "initialization": ("published", "rwkv", "firing"),
}


class BinaryEmbedding(nn.Embedding):
    """A table of bits: which entries of a token's trained row are not negative.

    Examples
    --------
    >>> import torch
    >>> bits = BinaryEmbedding(1, 3, _weight=torch.tensor([[0.5, -1.0, 0.0]]))
    >>> bits(torch.tensor([0])).tolist()
    [[1.0, 0.0, 1.0]]
    """

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens, shape [...], to zeros and ones, shape [..., embedding_dim]."""
        return spike(super().forward(tokens), "atan")


class SpikeGPTBlockState(NamedTuple):
    """What a block remembers of the tokens so far."""

    mixing: MixingState
    mixing_membrane: Tensor | None
    channel_mixing: MixingState
    channel_membrane: Tensor | None


class SpikeGPTBlock(nn.Module):
    """Time mixing and channel mixing; the residual stream takes what their neurons fire.

    Where `neuron` returns None instead of neurons, the stream takes real numbers.
    """

    def __init__(
        self,
        mixing: nn.Module,
        channel_mixing: ChannelMixing,
        width: int,
        neuron: MaybeNeuron,
        dropout: float,
    ) -> None:
        super().__init__()
        self.mixing_norm = nn.LayerNorm(width)
        self.mixing = mixing
        self.mixing_neuron = neuron(width)
        self.channel_norm = nn.LayerNorm(width)
        self.channel_mixing = channel_mixing
        self.channel_neuron = neuron(width)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Tensor, state: SpikeGPTBlockState | None = None
    ) -> tuple[Tensor, SpikeGPTBlockState]:
        """Map x, shape [batch, sequence, width], and the state of the tokens before it."""
        mixing, v_mixing, channel, v_channel = (None,) * 4 if state is None else state
        added, mixing = self.mixing(self.mixing_norm(x), mixing)
        if self.mixing_neuron is not None:
            added, v_mixing = self.mixing_neuron(added, v_mixing)
        x = x + added
        added, channel = self.channel_mixing(self.channel_norm(x), channel)
        if self.channel_neuron is not None:
            added, v_channel = self.channel_neuron(added, v_channel)
        return self.dropout(x + added), SpikeGPTBlockState(mixing, v_mixing, channel, v_channel)


class SpikeGPTState(NamedTuple):
    """All that continues a SpikeGPT's sequence: constant in size, however long the text."""

    blocks: tuple[SpikeGPTBlockState, ...]
    head_membrane: Tensor | None


class SpikeGPT(nn.Module):
    r"""RWKV language model on spiking neurons, with its non-spiking and its all-spiking twin.

    Neurons stand in front of every linear map, and emit counts. As published (see `PUBLISHED`),
    tokens become bits, and each mixing of a block ends in leaky integrate-and-fire neurons whose
    time is the sequence itself: the residual stream adds up spikes.

    Parameters
    ----------
    vocab_size : int
    ctx_len : int, default=128
        Length of the windows that a model is trained and scored on. It limits nothing: the module
        takes sequences of any length, and a stream never ends.
    model_type : {"RWKV", "RWKV-ffnPre"}, default="RWKV"
        With "RWKV-ffnPre" a channel mixing takes the place of the first block's time mixing.
    n_layer, n_embd : int, default=1 and 160
    dropout : float, default=0.0
        Behind each block.
    spikes : {"linear", "residual", "everywhere", "none"}, default="linear"
        Where neurons are. "linear": in front of every linear map; tokens and the residual stream
        are real. "residual": behind each mixing, as published; the linear maps see layer-normed
        real numbers. "everywhere": at both, so that all synapses carry spikes. "none": nowhere,
        and tokens stay real: the RWKV twin.
    neuron : str, default="graded"
        Neurons in front of linear maps, a name in `NEURONS`. "lif" integrates along the tokens;
        others start from rest at each token, and those of `SpikingDecoder` have no memory.
    levels, step, signed : int, float and bool, default=32, 0.125 and False
        Of the latter three; see `snn_estimators.nn.Graded`.
    learnable_gain, learnable_threshold, learnable_step : bool, default=True, False and False
        What of neurons is trained beside the weights: thresholds of all, gain and step of graded
        ones.
    per_channel : bool, default=False
        Give each neuron a gain and a trained threshold of its own instead of the layer's.
    initialization : {"rwkv", "published", "firing"}, default="rwkv"
        "rwkv": RWKV's own, orthogonal or zero matrices. "published": what the published training
        script does, embedding N(0, 1) and PyTorch's defaults, with which no neuron fires before
        the first step; it was meant to use RWKV's. "firing": as "published", with output maps so
        strong that neurons fire from the start.
    detach_reset : bool, default=False
    tau, v_threshold, v_reset, surrogate, surrogate_alpha
        Of all neurons; see `snn_estimators.nn.LIF`.
    input_tau, input_threshold : float, default=1.0 and 0.5
        Of the neurons in front of linear maps instead, with spikes "everywhere". At `input_tau` 1
        they have no memory, which would blur the token that the map is to see.

    Raises
    ------
    ValueError
        For options that are unknown or out of range, named in the message.

    Notes
    -----
    Zhu et al., "SpikeGPT: Generative Pre-trained Language Model with Spiking Neural Networks",
    TMLR 2024. The initial decays and token-shift shares are RWKV-4's in every case. The reference
    keeps the membranes of one call for the next unless reset; here a call starts from rest, and
    `stream` passes the state by hand.

    Examples
    --------
    >>> import torch
    >>> module = SpikeGPT(vocab_size=30, n_layer=2, n_embd=16)
    >>> module(torch.zeros(2, 300, dtype=torch.long)).shape
    torch.Size([2, 300, 30])
    """

    PUBLISHED: ClassVar[Mapping[str, Any]] = {
        "n_layer": 4,
        "n_embd": 128,
        "dropout": 0.03,
        "spikes": "residual",
        "neuron": "lif",
        "initialization": "published",
    }
    """Options of the published SpikeGPT that are not the defaults; it is larger."""

    TWIN: ClassVar[Mapping[str, Any]] = {"spikes": "none"}
    """Options that make a model its non-spiking twin: RWKV."""

    def __init__(
        self,
        vocab_size: int,
        *,
        ctx_len: int = 128,
        model_type: str = "RWKV",
        n_layer: int = 1,
        n_embd: int = 160,
        dropout: float = 0.0,
        spikes: str = "linear",
        neuron: str = "graded",
        levels: int = 32,
        step: float = 0.125,
        signed: bool = False,
        learnable_gain: bool = True,
        learnable_threshold: bool = False,
        learnable_step: bool = False,
        per_channel: bool = False,
        initialization: str = "rwkv",
        detach_reset: bool = False,
        tau: float = 2.0,
        v_threshold: float = 1.0,
        v_reset: float | None = 0.0,
        surrogate: str = "atan",
        surrogate_alpha: float | None = None,
        input_tau: float = 1.0,
        input_threshold: float = 0.5,
    ) -> None:
        super().__init__()
        check_sizes(vocab_size=vocab_size, ctx_len=ctx_len, n_layer=n_layer, n_embd=n_embd)
        check_choices(CHOICES, model_type=model_type, spikes=spikes, initialization=initialization)
        check_choices(CHOICES, neuron=neuron)
        check_shares(dropout=dropout)
        check_numbers(input_tau=input_tau, input_threshold=input_threshold)
        self.vocab_size, self.ctx_len, self.n_embd = vocab_size, ctx_len, n_embd
        behind = NeuronOptions(
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
        before = replace(behind, tau=input_tau, v_threshold=input_threshold)

        # Made in any case, so that options which make no neuron raise in any case.
        def behind_mixing(features: int) -> TokenLIF | None:
            made = TokenLIF(**lif_options(replace(behind, features=features)))
            return made if spikes in ("residual", "everywhere") else None

        def before_linear(features: int) -> Neuron | None:
            made: Neuron = TokenLIF(**lif_options(replace(before, features=features)))
            if neuron != "lif":
                made = build_neuron(neuron, before, features)
            return made if spikes in ("everywhere", "linear") else None

        def block(layer: int) -> SpikeGPTBlock:
            is_plain = layer > 0 or model_type == "RWKV"
            first = TimeMixing if is_plain else ChannelMixing
            return SpikeGPTBlock(
                first(layer, n_layer, n_embd, before_linear),
                ChannelMixing(layer, n_layer, n_embd, before_linear),
                n_embd,
                behind_mixing,
                dropout,
            )

        embed = nn.Embedding if spikes in ("linear", "none") else BinaryEmbedding
        self.embedding = embed(vocab_size, n_embd)
        self.embedding_norm = nn.LayerNorm(n_embd)
        self.blocks = nn.ModuleList(block(layer) for layer in range(n_layer))
        self.output_norm = nn.LayerNorm(n_embd)
        self.head = PreSpikingLinear(n_embd, vocab_size, before_linear, normalized=True)
        self._initialize(initialization)

    def _initialize(self, how: str) -> None:
        mixings = [part for part in self.modules() if isinstance(part, Mixing)]
        if how == "rwkv":
            gain = 1e-4 * math.sqrt(max(self.embedding.weight.shape))
            nn.init.orthogonal_(self.embedding.weight, gain)
            self.head.initialize_orthogonal(0.5)
            for mixing in mixings:
                mixing.initialize_as_rwkv()
        elif how == "firing":
            for mixing in mixings:
                mixing.initialize_firing()

    @property
    def width(self) -> int:
        """Width of the residual stream: `n_embd`."""
        return self.n_embd

    @property
    def max_len(self) -> int:
        """Length of the windows of training and scoring: `ctx_len`."""
        return self.ctx_len

    @property
    def position_limit(self) -> None:
        """None: a stream may be of any length, as there are no positions."""
        return None

    @property
    def n_features(self) -> int:
        """Width of `features`."""
        return self.n_embd

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the logits of the next tokens, [batch, sequence, vocab_size].

        Tokens and errors are as in `SpikingDecoder`; a sequence may be of any length.
        """
        return self.head(self._hidden(tokens, None)[0])[0]

    def features(self, tokens: Tensor) -> Tensor:
        """Return what the head's linear map reads: [batch, sequence, n_features]."""
        hidden, _ = self._hidden(tokens, None)
        return self.head.fire(hidden)[0]

    def stream(
        self, tokens: Tensor, state: SpikeGPTState | None = None
    ) -> tuple[Tensor, SpikeGPTState]:
        """Continue sequences of which `state` is all that is remembered.

        Any split of a sequence gives the logits of the whole. Parameters and errors are as in
        `SpikingDecoder.stream`; there is no limit to the number of tokens.

        Examples
        --------
        >>> import torch
        >>> module = SpikeGPT(30, n_layer=2, n_embd=16).eval()
        >>> tokens = torch.arange(6)[None]
        >>> start, state = module.stream(tokens[:, :4])
        >>> rest, state = module.stream(tokens[:, 4:], state)
        >>> torch.allclose(torch.cat([start, rest], 1), module(tokens), atol=1e-5)
        True
        """
        check_no_padding(tokens)
        if state is not None:
            self._check_state(state, tokens.shape[0])
        hidden, blocks = self._hidden(tokens, state)
        logits, membrane = self.head(hidden, None if state is None else state.head_membrane)
        return logits, SpikeGPTState(blocks, membrane)

    def _check_state(self, state: SpikeGPTState, n_sequences: int) -> None:
        shape = tuple(state.blocks[0].mixing.last.shape)
        if len(state.blocks) != len(self.blocks) or shape != (n_sequences, 1, self.n_embd):
            raise ValueError(
                f"state is that of {len(state.blocks)} layers and {shape[0]} sequences of width "
                f"{shape[2]}, but there are {len(self.blocks)} layers and {n_sequences} sequences "
                f"of width {self.n_embd}: give what the previous call returned."
            )

    def _hidden(
        self, tokens: Tensor, state: SpikeGPTState | None
    ) -> tuple[Tensor, tuple[SpikeGPTBlockState, ...]]:
        """Map tokens to what the head sees, and give the state behind each block."""
        check_tokens(tokens, self.vocab_size)
        x = self.embedding_norm(self.embedding(tokens.clamp_min(0)))
        states = []
        for index, block in enumerate(self.blocks):
            x, after = block(x, None if state is None else state.blocks[index])
            states.append(after)
        return self.output_norm(x), tuple(states)

"""How a decoder's options become its parts: checks, and the choice of each component."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from numbers import Integral
from typing import Any

from torch import nn

from snn_estimators._validation import check_choices, check_numbers, check_shares, check_sizes
from snn_estimators.nn.attention import ATTENTION_DECAYS, SelfAttention, SoftmaxCore, SpikingCore
from snn_estimators.nn.block import Block
from snn_estimators.nn.encodings import (
    ENCODINGS,
    POSITION_ENCODINGS,
    Code,
    CodeOptions,
    InputEncoding,
    JointCode,
    JointEncoding,
    LearnedCode,
    SinusoidalCode,
)
from snn_estimators.nn.feed_forward import FeedForward, SpikingFeedForward
from snn_estimators.nn.head import READOUTS
from snn_estimators.nn.neurons import NEURONS, NeuronFactory
from snn_estimators.nn.norms import NORMALIZATIONS
from snn_estimators.nn.temporal import TEMPORAL_CODINGS, Repeat, TemporalCoding

SPIKING_DEGREES: dict[str, tuple[int | str, ...]] = {
    "input": (1, 2, 3, 4),
    "attention": (2, 3, 4, "attention_only"),
    "feed-forward": (3, 4),
    "head": (4,),
}
"""Parts of a decoder, and the values of ``spike_degree`` at which they spike."""

NEEDS_SPIKES = {
    "attention_decay": "attention",
    "token_shift": "attention",
    "spiking_head": "attention",
    "mlp_token_shift": "feed-forward",
}
"""Options that mean something only where a part spikes."""

CHOICES: dict[str, Collection[Any]] = {
    "neuron": NEURONS,
    "encoding": ENCODINGS,
    "position_encoding": POSITION_ENCODINGS,
    "normalization": NORMALIZATIONS,
    "readout": READOUTS,
    "temporal_coding": TEMPORAL_CODINGS,
    "spiking_residuals": (0, 1, 2),
    "spike_degree": (0, 1, 2, 3, 4, "attention_only"),
    "attention_decay": ATTENTION_DECAYS,
}
"""What each option may be; registries among them grow with what is registered."""


@dataclass(frozen=True, kw_only=True)
class SpikingParts:
    """Which parts of a decoder spike."""

    input: bool
    attention: bool
    feed_forward: bool
    head: bool


def choose_spiking_parts(
    spike_degree: int | str, spiking_head: bool | None, **options: Any
) -> SpikingParts:
    """Look up what spikes.

    Parameters
    ----------
    spike_degree : int or str
    spiking_head : bool, optional
        Overrides the degree.
    **options
        Those of `NEEDS_SPIKES`, with their values.

    Raises
    ------
    ValueError
        For an unknown degree, or one at which an option has nothing to act on.
    """
    check_choices(CHOICES, spike_degree=spike_degree)
    spikes = {part: spike_degree in degrees for part, degrees in SPIKING_DEGREES.items()}
    for name, value in {**options, "spiking_head": spiking_head}.items():
        part = NEEDS_SPIKES[name]
        if value and not spikes[part]:
            raise ValueError(
                f"{name}={value!r} needs spikes in the {part}, which spike_degree={spike_degree!r} "
                f"has not; leave {name} out or use spike_degree in {SPIKING_DEGREES[part]}."
            )
    return SpikingParts(
        input=spikes["input"],
        attention=spikes["attention"],
        feed_forward=spikes["feed-forward"],
        head=spikes["head"] if spiking_head is None else spiking_head,
    )


@dataclass(frozen=True, kw_only=True)
class EncodingOptions:
    """A decoder's options about its input; see `SpikingDecoder`."""

    encoding: str
    position_encoding: str
    token_dim: int
    position_dim: int
    combine_position: bool
    position_bias: float
    float_embedding: bool
    embedding_std: float
    temporal_coding: str

    def __post_init__(self) -> None:
        encoding, position_encoding = self.encoding, self.position_encoding
        check_choices(CHOICES, encoding=encoding, position_encoding=position_encoding)
        check_choices(CHOICES, temporal_coding=self.temporal_coding)
        check_sizes(token_dim=self.token_dim, position_dim=self.position_dim)
        check_numbers(position_bias=self.position_bias, embedding_std=self.embedding_std)
        token, position = ENCODINGS[encoding], POSITION_ENCODINGS[position_encoding]
        if issubclass(token, JointCode) and position_encoding != "linear":
            raise ValueError(
                f"encoding={encoding!r} holds the position already, so position_encoding="
                f"{position_encoding!r} has nothing to add; use position_encoding='linear', or "
                "encoding='two-hot' for one column a token."
            )
        if self.combine_position and (token.binary or position.binary):
            raise ValueError(
                f"combine_position=True adds real-valued codes, but encoding={encoding!r} with "
                f"position_encoding={position_encoding!r} are not both real; use 'learned' with "
                "'static' or 'learned'."
            )
        if self.float_embedding and self.temporal_coding != "repeat":
            raise ValueError(
                f"temporal_coding={self.temporal_coding!r} makes spikes of the embedding, which "
                "float_embedding=True forbids; choose one of the two."
            )


def build_encoding(
    options: EncodingOptions, *, vocab_size: int, max_len: int, timesteps: int, spiking: bool
) -> InputEncoding | JointEncoding:
    """Build the input of a decoder.

    With ``spiking=False`` the input is the twin's: learned tokens plus sinusoids or learned
    positions, real-valued, as wide as the spiking model's.
    """
    temporal: TemporalCoding
    if options.float_embedding:
        temporal = Repeat(timesteps, real=True)
    else:
        temporal = TEMPORAL_CODINGS[options.temporal_coding](timesteps)
    token_code = ENCODINGS[options.encoding]
    position_code = POSITION_ENCODINGS[options.position_encoding]
    tokens = CodeOptions(vocab_size, options.token_dim, options.embedding_std, max_len)
    width = options.token_dim if options.combine_position else options.position_dim
    positions = CodeOptions(max_len, width, options.embedding_std)
    built: InputEncoding | JointEncoding
    if issubclass(token_code, JointCode):
        built = JointEncoding(token_code(tokens), temporal)
    else:
        bias = options.position_bias if issubclass(position_code, SinusoidalCode) else 0.0
        position = position_code(positions)  # before the token: the order of random draws
        built = InputEncoding(
            token_code(tokens), position, temporal, options.combine_position, bias
        )
    if spiking:
        return built
    twin: type[Code] = LearnedCode if issubclass(position_code, LearnedCode) else SinusoidalCode
    position = twin(CodeOptions(max_len, built.width, 1.0))
    token = LearnedCode(CodeOptions(vocab_size, built.width, 1.0))
    return InputEncoding(token, position, Repeat(timesteps, real=True), combine=True)


@dataclass(frozen=True, kw_only=True)
class BlockOptions:
    """A decoder's options about its blocks; see `SpikingDecoder`."""

    heads: int
    mlp_ratio: int
    attention_scale: float
    attention_decay: str | None
    token_shift: int
    mlp_token_shift: int
    normalization: str
    spiking_residuals: int
    first_block_spiking_residual: bool
    attention_dropout: float
    mlp_dropout: float

    def __post_init__(self) -> None:
        check_choices(CHOICES, normalization=self.normalization)
        check_choices(CHOICES, spiking_residuals=self.spiking_residuals)
        check_choices(CHOICES, attention_decay=self.attention_decay)
        check_sizes(heads=self.heads, mlp_ratio=self.mlp_ratio)
        check_numbers(attention_scale=self.attention_scale)
        check_shares(attention_dropout=self.attention_dropout, mlp_dropout=self.mlp_dropout)
        for name in ("token_shift", "mlp_token_shift"):
            value = getattr(self, name)
            if not isinstance(value, Integral) or value < 0:
                raise ValueError(f"{name}={value!r} must be a number of tokens, from 0 on.")


def build_block(
    options: BlockOptions, index: int, *, width: int, neuron: NeuronFactory, spikes: SpikingParts
) -> Block:
    """Build the block at an index."""
    norm = NORMALIZATIONS[options.normalization]
    residuals = options.spiking_residuals

    def neuron_if(wanted: bool) -> NeuronFactory:
        return neuron if wanted else nn.Identity

    if spikes.attention:
        attention = SelfAttention(
            width,
            SpikingCore(
                options.heads,
                options.attention_scale,
                options.attention_decay,
                options.attention_dropout,
            ),
            norm,
            neuron,
            input_neuron=neuron_if(residuals < 2),
            output_neuron=neuron_if(residuals == 2),
            token_shift=int(options.token_shift),
        )
    else:
        core = SoftmaxCore(options.heads, options.attention_dropout)
        attention = SelfAttention(width, core, norm, nn.Identity)
    feed_forward: nn.Module
    if spikes.feed_forward:
        feed_forward = SpikingFeedForward(
            width,
            width * options.mlp_ratio,
            norm,
            neuron,
            options.mlp_dropout,
            spikes_out=residuals > 0,
            token_shift=int(options.mlp_token_shift),
        )
    else:
        feed_forward = FeedForward(width, width * options.mlp_ratio, options.mlp_dropout)
    first = options.first_block_spiking_residual and index == 0
    return Block(
        attention,
        feed_forward,
        input_neuron=neuron_if(spikes.attention and residuals == 2),
        attended_neuron=neuron_if(spikes.attention and first),
        middle_neuron=neuron_if(spikes.feed_forward and residuals > 0),
    )

"""How a decoder's options become its parts: checks, and the choice of each component."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from numbers import Integral
from typing import Any, NamedTuple

from torch import nn

from snn_estimators._validation import (
    check_choices,
    check_flags,
    check_numbers,
    check_shares,
    check_sizes,
)
from snn_estimators.nn.decoder.attention import (
    ATTENTION_DECAYS,
    REAL_CORES,
    SelfAttention,
    SpikingCore,
)
from snn_estimators.nn.decoder.block import Block
from snn_estimators.nn.decoder.encodings import (
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
from snn_estimators.nn.decoder.feed_forward import FeedForward, SpikingFeedForward
from snn_estimators.nn.decoder.head import READOUTS
from snn_estimators.nn.decoder.temporal import TEMPORAL_CODINGS, Repeat, TemporalCoding
from snn_estimators.nn.neurons import NEURONS, NeuronFactory
from snn_estimators.nn.norms import NORMALIZATIONS
from snn_estimators.ops import SURROGATES

SPIKING_DEGREES: dict[str, tuple[int | str, ...]] = {
    "input": (1, 2, 3, 4),
    "attention": (2, 3, 4, "attention_only"),
    "feed-forward": (3, 4),
    "head": (4,),
}
"""Parts of a decoder, and the values of ``spike_degree`` at which they spike."""

NEEDS_SPIKES = {
    "attention_decay": "attention",
    "spiking_head": "attention",
}
"""Options that mean something only where a part spikes."""

REGISTRIES: dict[str, Mapping[str, Any]] = {
    "neuron": NEURONS,
    "encoding": ENCODINGS,
    "position_encoding": POSITION_ENCODINGS,
    "normalization": NORMALIZATIONS,
    "readout": READOUTS,
    "surrogate": SURROGATES,
}
"""What the names mean that these options of a module take."""

CHOICES: dict[str, Collection[Any]] = {
    **REGISTRIES,
    "temporal_coding": TEMPORAL_CODINGS,
    "spiking_residuals": (0, 1, 2),
    "spike_degree": (0, 1, 2, 3, 4, "attention_only"),
    "attention_decay": ATTENTION_DECAYS,
    "attention": tuple(REAL_CORES),
}
"""What each option may be."""


class SpikingParts(NamedTuple):
    """Which parts of a decoder spike."""

    input: bool
    attention: bool
    feed_forward: bool
    head: bool


def choose_spiking_parts(
    spike_degree: int | str, *, spiking_head: bool | None, **options: Any
) -> SpikingParts:
    """Look up what spikes; `spiking_head` overrides the degree.

    Raises ValueError where an option of `NEEDS_SPIKES` has nothing to act on.
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
    if spiking_head is not None:
        check_flags(spiking_head=spiking_head)
        spikes["head"] = spiking_head
    return SpikingParts(*spikes.values())


def build_encoding(
    *,
    spiking: bool,
    vocab_size: int,
    max_len: int,
    timesteps: int,
    encoding: str,
    position_encoding: str,
    token_dim: int,
    position_dim: int,
    combine_position: bool,
    position_bias: float,
    float_embedding: bool,
    embedding_std: float,
    temporal_coding: str,
) -> InputEncoding | JointEncoding:
    """Build the input of a decoder (see `SpikingDecoder`).

    With ``spiking=False`` the input is the twin's: learned tokens plus sinusoids or learned
    positions, real-valued, as wide as the spiking model's.
    """
    check_choices(CHOICES, encoding=encoding, position_encoding=position_encoding)
    check_choices(CHOICES, temporal_coding=temporal_coding)
    check_sizes(token_dim=token_dim, position_dim=position_dim)
    check_numbers(position_bias=position_bias, embedding_std=embedding_std)
    check_flags(combine_position=combine_position, float_embedding=float_embedding)
    token_code, position_code = ENCODINGS[encoding], POSITION_ENCODINGS[position_encoding]
    if issubclass(token_code, JointCode) and position_encoding != "linear":
        raise ValueError(
            f"encoding={encoding!r} holds the position already, so position_encoding="
            f"{position_encoding!r} has nothing to add; use position_encoding='linear', or "
            "encoding='two-hot' for one column a token."
        )
    if combine_position and (token_code.binary or position_code.binary):
        raise ValueError(
            f"combine_position=True adds real-valued codes, but encoding={encoding!r} with "
            f"position_encoding={position_encoding!r} are not both real; use 'learned' with "
            "'static' or 'learned'."
        )
    if float_embedding and temporal_coding != "repeat":
        raise ValueError(
            f"temporal_coding={temporal_coding!r} makes spikes of the embedding, which "
            "float_embedding=True forbids; choose one of the two."
        )
    temporal: TemporalCoding = TEMPORAL_CODINGS[temporal_coding](timesteps)
    if float_embedding:
        temporal = Repeat(timesteps, real=True)
    tokens = CodeOptions(vocab_size, token_dim, embedding_std, max_len)
    width = token_dim if combine_position else position_dim
    built: InputEncoding | JointEncoding
    if issubclass(token_code, JointCode):
        built = JointEncoding(token_code(tokens), temporal)
    else:
        bias = position_bias if issubclass(position_code, SinusoidalCode) else 0.0
        # Before the token's, which decides about the order of random draws.
        position = position_code(CodeOptions(max_len, width, embedding_std))
        token = token_code(tokens)
        if combine_position and token.width != position.width:
            raise ValueError(
                f"combine_position=True adds codes of one width, but encoding={encoding!r} is "
                f"{token.width} wide and position_encoding={position_encoding!r} "
                f"{position.width}: leave it out, or choose codes of one width."
            )
        built = InputEncoding(token, position, temporal, combine_position, bias)
    if spiking:
        return built
    twin: type[Code] = LearnedCode if issubclass(position_code, LearnedCode) else SinusoidalCode
    position = twin(CodeOptions(max_len, built.width, 1.0))
    learned = LearnedCode(CodeOptions(vocab_size, built.width, 1.0))
    return InputEncoding(learned, position, Repeat(timesteps, real=True), combine=True)


def build_blocks(
    blocks: int,
    *,
    width: int,
    neuron: NeuronFactory,
    spikes: SpikingParts,
    heads: int,
    mlp_ratio: int,
    attention: str,
    attention_scale: float,
    attention_decay: str | None,
    token_shift: int,
    mlp_token_shift: int,
    normalization: str,
    spiking_residuals: int,
    first_block_spiking_residual: bool,
    attention_dropout: float,
    mlp_dropout: float,
) -> nn.ModuleList:
    """Build the blocks of a decoder (see `SpikingDecoder`)."""
    check_choices(CHOICES, normalization=normalization, spiking_residuals=spiking_residuals)
    check_choices(CHOICES, attention_decay=attention_decay, attention=attention)
    check_sizes(blocks=blocks, mlp_ratio=mlp_ratio)
    check_numbers(attention_scale=attention_scale)
    check_flags(first_block_spiking_residual=first_block_spiking_residual)
    check_shares(attention_dropout=attention_dropout, mlp_dropout=mlp_dropout)
    for name, shift in {"token_shift": token_shift, "mlp_token_shift": mlp_token_shift}.items():
        if not isinstance(shift, Integral) or shift < 0:
            raise ValueError(f"{name}={shift!r} must be a number of tokens, from 0 on.")
    norm, hidden = NORMALIZATIONS[normalization], width * mlp_ratio

    def neuron_if(wanted: bool) -> NeuronFactory:
        return neuron if wanted else nn.Identity

    def self_attention() -> SelfAttention:
        shift = int(token_shift)
        if not spikes.attention:
            real = REAL_CORES[attention](heads, attention_dropout)
            return SelfAttention(width, real, norm, nn.Identity, token_shift=shift)
        core = SpikingCore(heads, attention_scale, attention_decay, attention_dropout)
        inner, outer = neuron_if(spiking_residuals < 2), neuron_if(spiking_residuals == 2)
        return SelfAttention(width, core, norm, neuron, inner, outer, shift)

    def feed_forward() -> nn.Module:
        shift = int(mlp_token_shift)
        if not spikes.feed_forward:
            return FeedForward(width, hidden, mlp_dropout, shift)
        spikes_out = spiking_residuals > 0
        return SpikingFeedForward(width, hidden, norm, neuron, mlp_dropout, spikes_out, shift)

    return nn.ModuleList(
        Block(
            self_attention(),
            feed_forward(),
            input_neuron=neuron_if(spikes.attention and spiking_residuals == 2)(width),
            attended_neuron=neuron_if(
                spikes.attention and first_block_spiking_residual and index == 0
            )(width),
            middle_neuron=neuron_if(spikes.feed_forward and spiking_residuals > 0)(width),
        )
        for index in range(blocks)
    )


def check_heads(heads: int, width: int, encoding: str, position_encoding: str) -> None:
    """Raise ValueError unless the heads divide the width, which the encodings decide about."""
    check_sizes(heads=heads)
    if width % heads:
        raise ValueError(
            f"heads={heads} must divide the model's width, which is {width} with "
            f"encoding={encoding!r} and position_encoding={position_encoding!r}; choose one of "
            f"{[h for h in range(1, min(width, 100) + 1) if width % h == 0]} or another width."
        )

"""Which type of layer is counted how; `register_counter` adds to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from torch import nn

from snn_estimators.energy.attention_counters import core_counter
from snn_estimators.energy.counters import Counter, DecisionCounter, HeadCounter, LinearCounter
from snn_estimators.energy.layer_counters import (
    ActivationCounter,
    EmbeddingCounter,
    EncodingCounter,
    FoldedNormCounter,
    LayerNormCounter,
    NeuronCounter,
    ResidualCounter,
    ShiftCounter,
)
from snn_estimators.energy.rwkv_counters import CHANNEL_MIXING, TIME_MIXING, MixingCounter
from snn_estimators.nn.classifier import SequenceClassifier
from snn_estimators.nn.decoder.attention import LinearCore, SelfAttention, SoftmaxCore, SpikingCore
from snn_estimators.nn.decoder.block import Block
from snn_estimators.nn.decoder.encodings import InputEncoding, JointEncoding, LearnedCode
from snn_estimators.nn.decoder.feed_forward import FeedForward, SpikingFeedForward
from snn_estimators.nn.decoder.head import Head
from snn_estimators.nn.decoder.spiking_decoder import SpikingDecoder
from snn_estimators.nn.neurons import Neuron
from snn_estimators.nn.norms import PowerNorm
from snn_estimators.nn.rwkv.mixing import ChannelMixing, TimeMixing
from snn_estimators.nn.rwkv.spike_gpt import BinaryEmbedding, SpikeGPT, SpikeGPTBlock
from snn_estimators.nn.spiking_linear import PreSpikingLinear, SpikingLinear

CounterFactory = Callable[[Any, Sequence[nn.Module]], Counter | None]


def _linear_counter(linear: nn.Linear, ancestors: Sequence[nn.Module]) -> Counter:
    """Choose by place: maps that make logits, maps of previous tokens, and maps before a norm."""
    match ancestors:
        case _, SpikingDecoder() | SpikeGPT() as backbone, SequenceClassifier(), *_:
            return DecisionCounter(linear, backbone.width)
        case Head() as head, *_:
            return HeadCounter(head)
        case PreSpikingLinear(), SpikeGPT(), *_:
            return LinearCounter(linear, "head")
        case SpikingLinear() as spiking, SpikingFeedForward() as feed_forward, *_:
            gelus = ActivationCounter.FUNCTIONS if feed_forward.contract is spiking else 0
            return _behind_norm(linear, spiking, twin_functions=gelus)
        case SpikingLinear() as spiking, *_:
            return _behind_norm(linear, spiking, twin_bias_folds=_folds(spiking))
        case FeedForward() as real, *_ if real.shift is linear:
            return LinearCounter(linear, source=real.expand)
    return LinearCounter(linear)


def _behind_norm(linear: nn.Linear, spiking: SpikingLinear, **options: Any) -> Counter:
    source = spiking.linear if spiking.shift is linear else None
    return LinearCounter(linear, bias_folds=_folds(spiking), source=source, **options)


def _folds(spiking: SpikingLinear) -> bool:
    """Return whether the norm behind a map is a constant affine map in inference."""
    return not isinstance(spiking.norm, nn.LayerNorm)


def _encoding_counter(encoding: Any, ancestors: Sequence[nn.Module]) -> Counter:
    """Give the twin a table of tokens, and one of positions if those are learned."""
    decoder = next((one for one in ancestors if isinstance(one, SpikingDecoder)), None)
    if decoder is None:
        return EncodingCounter(encoding, ())
    learned = isinstance(getattr(encoding, "position", None), LearnedCode)
    rows = (decoder.vocab_size, *([decoder.max_len] if learned else []))
    return EncodingCounter(encoding, rows)


def _embedding_counter(table: nn.Embedding, ancestors: Sequence[nn.Module]) -> Counter:
    """Leave the tables of an encoding to it: the twin's are as wide as the whole of it."""
    inside = any(isinstance(one, InputEncoding | JointEncoding) for one in ancestors)
    return EmbeddingCounter(table, in_twin=not inside)


def _norm_counter(norm: nn.LayerNorm, ancestors: Sequence[nn.Module]) -> Counter:
    """Choose by place: the twin has no norm in its feed-forward, nor in front of single maps."""
    match ancestors:
        case PreSpikingLinear(), *_:
            return LayerNormCounter(norm, in_twin=False)
        case SpikingLinear(), SpikingFeedForward(), *_:
            return LayerNormCounter(norm, in_twin=False)
    return LayerNormCounter(norm)


def _max_len(ancestors: Sequence[nn.Module]) -> int:
    """Find the tokens that a cache of keys and values has room for."""
    known = (one for one in ancestors if isinstance(one, SpikingDecoder))
    return next((decoder.max_len for decoder in known), 1)


def _block_counter(block: Block, ancestors: Sequence[nn.Module]) -> Counter:
    is_plain = isinstance(block.attended_neuron, nn.Identity)
    return ResidualCounter(
        attention=block.attention if is_plain else block.attended_neuron,
        feed_forward=block.feed_forward,
    )


def _spike_gpt_block_counter(block: SpikeGPTBlock, ancestors: Sequence[nn.Module]) -> Counter:
    return ResidualCounter(
        mixing=block.mixing_neuron or block.mixing,
        channel_mixing=block.channel_neuron or block.channel_mixing,
    )


def _shift_counter(part: Any, ancestors: Sequence[nn.Module]) -> Counter | None:
    source = part.query if isinstance(part, SelfAttention) else part.expand
    return ShiftCounter(source, int(part.token_shift)) if part.token_shift else None


COUNTERS: dict[type[nn.Module], CounterFactory] = {
    InputEncoding: _encoding_counter,
    JointEncoding: _encoding_counter,
    BinaryEmbedding: lambda table, _: EmbeddingCounter(table, binary=True),
    nn.Embedding: _embedding_counter,
    nn.Linear: _linear_counter,
    nn.GELU: lambda activation, _: ActivationCounter(activation=activation),
    Neuron: lambda neuron, _: NeuronCounter(neuron),
    TimeMixing: lambda mixing, _: MixingCounter(mixing, TIME_MIXING),
    ChannelMixing: lambda mixing, _: MixingCounter(mixing, CHANNEL_MIXING),
    Block: _block_counter,
    SpikeGPTBlock: _spike_gpt_block_counter,
    SelfAttention: _shift_counter,
    SpikingFeedForward: _shift_counter,
    FeedForward: _shift_counter,
    nn.LayerNorm: _norm_counter,
    nn.BatchNorm1d: lambda norm, _: FoldedNormCounter(norm=norm),
    PowerNorm: lambda norm, _: FoldedNormCounter(norm=norm),
    SpikingCore: lambda core, around: core_counter(core, _max_len(around)),
    SoftmaxCore: lambda core, around: core_counter(core, _max_len(around)),
    LinearCore: lambda core, around: core_counter(core, _max_len(around)),
}
"""What counts a layer of a type and of its subclasses; see `register_counter`."""


def register_counter(
    module_type: type[nn.Module], factory: CounterFactory, *, replace: bool = False
) -> None:
    """Have all layers of a type counted, subclasses included unless they have their own counter.

    Neurons need none: they declare their cost themselves (`snn_estimators.nn.Neuron`). Neither do
    encodings, of which the output is observed.

    Parameters
    ----------
    module_type : type
    factory : callable
        Makes a `Counter` from a layer and the list of the modules around it, from the inside out;
        or None, if this one costs nothing.
    replace : bool, default=False
        Allow a type that has a counter.

    Raises
    ------
    ValueError
        If the type has a counter.

    Examples
    --------
    >>> from snn_estimators.energy import FoldedNormCounter
    >>> class Scale(nn.Module): ...
    >>> register_counter(Scale, lambda norm, around: FoldedNormCounter(norm=norm))
    >>> del COUNTERS[Scale]
    """
    if module_type in COUNTERS and not replace:
        raise ValueError(f"{module_type.__name__} has a counter already; use replace=True.")
    COUNTERS[module_type] = factory


def counter_for(module: nn.Module, ancestors: Sequence[nn.Module]) -> Counter | None:
    """Choose the counter of a layer; None for modules that cost nothing by themselves.

    `ancestors` are the modules around it, from the inside out.
    """
    for module_type in type(module).__mro__:
        if module_type in COUNTERS:
            return COUNTERS[module_type](module, ancestors)
    return None


def uncounted(modules: Iterable[tuple[str, nn.Module]]) -> list[str]:
    """Name the layers that have direct weights but no counter."""
    known = tuple(COUNTERS)
    return [
        f"{name} ({type(module).__name__})"
        for name, module in modules
        if not isinstance(module, known) and any(True for _ in module.parameters(False))
    ]

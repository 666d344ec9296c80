"""Which layer is counted how. To make another kind of layer count, add its counter here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import nn

from snn_estimators.energy.attention_counters import SoftmaxCoreCounter, SpikingCoreCounter
from snn_estimators.energy.counters import (
    Counter,
    DecisionCounter,
    FoldedNormCounter,
    HeadCounter,
    LayerNormCounter,
    LinearCounter,
    NeuronCounter,
)
from snn_estimators.energy.rwkv_counters import (
    CHANNEL_MIXING_MACS,
    TIME_MIXING_MACS,
    MixingCounter,
    ResidualCounter,
    TokenNeuronCounter,
)
from snn_estimators.nn.attention import Projection, SoftmaxCore, SpikingCore
from snn_estimators.nn.classifier import SequenceClassifier
from snn_estimators.nn.encodings import InputEncoding, JointOneHot
from snn_estimators.nn.head import Head
from snn_estimators.nn.neurons import LIF, TokenLIF
from snn_estimators.nn.norms import PowerNorm
from snn_estimators.nn.rwkv import ChannelMixing, Synapses, TimeMixing
from snn_estimators.nn.spike_gpt import BinaryEmbedding, SpikeGPT, SpikeGPTBlock


def counter_for(module: nn.Module, ancestors: Sequence[nn.Module]) -> Counter | None:
    """Choose the counter of a layer; None for modules that cost nothing by themselves.

    Parameters
    ----------
    module : nn.Module
    ancestors : sequence of nn.Module
        The module that it is part of, the one which that is part of, and so on.
    """
    match module:
        case InputEncoding() | JointOneHot() | BinaryEmbedding():
            return Counter(encoding=module)
        case nn.Linear():
            return _linear_counter(module, ancestors)
        case TokenLIF():
            return TokenNeuronCounter(module)
        case LIF():
            return NeuronCounter(module)
        case TimeMixing():
            return MixingCounter(module, TIME_MIXING_MACS)
        case ChannelMixing():
            return MixingCounter(module, CHANNEL_MIXING_MACS)
        case SpikeGPTBlock():
            return ResidualCounter(module)
        case nn.LayerNorm():
            return LayerNormCounter(module)
        case nn.BatchNorm1d() | PowerNorm():
            return FoldedNormCounter(norm=module)
        case SpikingCore():
            return SpikingCoreCounter(module)
        case SoftmaxCore():
            return SoftmaxCoreCounter(module)
    return None


def _linear_counter(linear: nn.Linear, ancestors: Sequence[nn.Module]) -> Counter:
    """Tell the maps that make logits, and that of the previous token, which the twin lacks."""
    match ancestors:
        case _, _, SequenceClassifier(), *_:
            return DecisionCounter(linear)
        case Head() as head, *_:
            return HeadCounter(head)
        case Synapses(), SpikeGPT(), *_:
            return LinearCounter(linear, "head")
        case Projection() as projection, *_ if projection.shift is linear:
            return LinearCounter(linear, in_twin=False)
    return LinearCounter(linear)


def uncounted(modules: Iterable[tuple[str, nn.Module]]) -> list[str]:
    """Name the layers that have weights of their own but no counter; table look-ups are free."""
    return [
        f"{name} ({type(module).__name__})"
        for name, module in modules
        if not isinstance(module, nn.Embedding) and any(True for _ in module.parameters(False))
    ]

"""Which layer is counted how. To make another kind of layer count, add its counter here."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from snn_estimators.energy.attention_counters import SoftmaxCoreCounter, SpikingCoreCounter
from snn_estimators.energy.counters import (
    Counter,
    FoldedNormCounter,
    HeadCounter,
    LayerNormCounter,
    LinearCounter,
    NeuronCounter,
)
from snn_estimators.nn.attention import Projection, SoftmaxCore, SpikingCore
from snn_estimators.nn.decoder import Head
from snn_estimators.nn.encodings import InputEncoding, JointOneHot
from snn_estimators.nn.neurons import LIF
from snn_estimators.nn.norms import PowerNorm


def counter_for(module: nn.Module, parent: nn.Module | None) -> Counter | None:
    """Choose the counter of a layer; None for modules that cost nothing by themselves."""
    match module:
        case InputEncoding() | JointOneHot():
            return Counter(encoding=module)
        case nn.Linear() if isinstance(parent, Head):
            return HeadCounter(parent)
        case nn.Linear():
            return LinearCounter(module, not _is_token_shift(module, parent))
        case LIF():
            return NeuronCounter(module)
        case nn.LayerNorm():
            return LayerNormCounter(module)
        case nn.BatchNorm1d() | PowerNorm():
            return FoldedNormCounter(norm=module)
        case SpikingCore():
            return SpikingCoreCounter(module)
        case SoftmaxCore():
            return SoftmaxCoreCounter(module)
    return None


def _is_token_shift(module: nn.Module, parent: nn.Module | None) -> bool:
    """Recognise the map of the previous token, which the twin lacks."""
    return isinstance(parent, Projection) and parent.shift is module


def uncounted(modules: Iterable[tuple[str, nn.Module]]) -> list[str]:
    """Name the layers that have weights of their own but no counter; table look-ups are free."""
    return [
        f"{name} ({type(module).__name__})"
        for name, module in modules
        if not isinstance(module, nn.Embedding) and any(True for _ in module.parameters(False))
    ]

"""Which type of layer is counted how; `register_counter` adds to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

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
)
from snn_estimators.nn.attention import SoftmaxCore, SpikingCore
from snn_estimators.nn.classifier import SequenceClassifier
from snn_estimators.nn.encodings import InputEncoding, JointEncoding
from snn_estimators.nn.head import Head
from snn_estimators.nn.neurons import Neuron
from snn_estimators.nn.norms import PowerNorm
from snn_estimators.nn.rwkv import ChannelMixing, TimeMixing
from snn_estimators.nn.spike_gpt import BinaryEmbedding, SpikeGPT, SpikeGPTBlock
from snn_estimators.nn.spiking_linear import PreSpikingLinear, SpikingLinear

CounterFactory = Callable[[nn.Module, Sequence[nn.Module]], Counter]


def _linear_counter(linear: nn.Linear, ancestors: Sequence[nn.Module]) -> Counter:
    """Choose by place: maps that make logits, and that of previous tokens, which the twin lacks."""
    match ancestors:
        case _, _, SequenceClassifier(), *_:
            return DecisionCounter(linear)
        case Head() as head, *_:
            return HeadCounter(head)
        case PreSpikingLinear(), SpikeGPT(), *_:
            return LinearCounter(linear, "head")
        case SpikingLinear() as spiking, *_ if spiking.shift is linear:
            return LinearCounter(linear, in_twin=False)
    return LinearCounter(linear)


COUNTERS: dict[type[nn.Module], Callable[..., Counter]] = {
    InputEncoding: lambda encoding, _: Counter(encoding=encoding),
    JointEncoding: lambda encoding, _: Counter(encoding=encoding),
    BinaryEmbedding: lambda encoding, _: Counter(encoding=encoding),
    nn.Linear: _linear_counter,
    Neuron: lambda neuron, _: NeuronCounter(neuron),
    TimeMixing: lambda mixing, _: MixingCounter(mixing, TIME_MIXING_MACS),
    ChannelMixing: lambda mixing, _: MixingCounter(mixing, CHANNEL_MIXING_MACS),
    SpikeGPTBlock: lambda block, _: ResidualCounter(block),
    nn.LayerNorm: lambda norm, _: LayerNormCounter(norm),
    nn.BatchNorm1d: lambda norm, _: FoldedNormCounter(norm=norm),
    PowerNorm: lambda norm, _: FoldedNormCounter(norm=norm),
    SpikingCore: lambda core, _: SpikingCoreCounter(core),
    SoftmaxCore: lambda core, _: SoftmaxCoreCounter(core),
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
        Makes a `Counter` from a layer and the list of the modules around it, from the inside out.
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
    """Name the layers that have direct weights but no counter; table look-ups are free."""
    return [
        f"{name} ({type(module).__name__})"
        for name, module in modules
        if not isinstance(module, nn.Embedding) and any(True for _ in module.parameters(False))
    ]

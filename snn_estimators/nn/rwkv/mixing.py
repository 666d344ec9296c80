"""RWKV-4's two mixings, whose linear maps may have neurons in front of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from snn_estimators.nn.spiking_linear import MaybeNeuron, PreSpikingLinear
from snn_estimators.ops import WKVParameters, WKVState, wkv


class Mixing(nn.Module):
    """Base of the two mixings: how their maps may be initialized."""

    SILENT: ClassVar[tuple[str, ...]]
    """Maps that RWKV starts at zero, so that a block begins as the identity."""
    FIRING: ClassVar[Mapping[str, float]]
    """Maps whose strength decides whether neurons behind them fire, each with the deviation of what
    it makes of standard normal inputs."""

    def initialize_as_rwkv(self) -> None:
        """Set the maps as RWKV-4 does: orthogonal or zero."""
        for name, linear in self.named_children():
            assert isinstance(linear, PreSpikingLinear)
            linear.initialize_orthogonal(0.0 if name in self.SILENT else 1.0)

    def initialize_firing(self) -> None:
        """Make the maps on the way to the neurons strong enough for them to fire."""
        for name, deviation in self.FIRING.items():
            getattr(self, name).initialize_normal(deviation)


class MixingState(NamedTuple):
    """What a mixing remembers of the tokens so far."""

    last: Tensor
    """Its input at the last token, shape [batch, 1, width]."""
    membranes: tuple[Tensor | None, ...]
    """Of the neurons in front of its linear maps, None where there are none."""
    wkv: WKVState | None = None


class TimeMixing(Mixing):
    r"""RWKV-4's attention without queries: a decaying weighted average of values, gated.

    .. math:: o = W_o\,\bigl(\sigma(W_r \hat x_r) \odot
              \mathrm{wkv}(W_k \hat x_k, W_v \hat x_v)\bigr),
              \qquad \hat x_\bullet = \mu_\bullet x_t + (1 - \mu_\bullet)\,x_{t-1}

    The initial decays and shares of the previous token depend on the depth of the layer.

    References
    ----------
    Peng et al., "RWKV: Reinventing RNNs for the Transformer Era", EMNLP 2023.
    """

    SILENT = ("key", "receptance", "output")
    FIRING: ClassVar = {"value": 1.5, "output": 4.0}

    def __init__(self, layer: int, n_layer: int, width: int, neuron: MaybeNeuron) -> None:
        super().__init__()
        depth = layer / max(1, n_layer - 1)

        def share(channel: Tensor) -> Tensor:
            return (channel / width) ** (1 - layer / n_layer)

        self.mix_key = _per_channel(width, share)
        self.mix_value = _per_channel(width, lambda c: share(c) + 0.3 * depth)
        self.mix_receptance = _per_channel(width, lambda c: share(c).sqrt())
        power, last = 0.7 + 1.3 * depth, max(1, width - 1)
        self.time_decay = _per_channel(width, lambda c: -5 + 8 * (c / last) ** power)
        self.time_first = _per_channel(width, lambda c: math.log(0.3) + 0.5 * ((c + 1) % 3 - 1))
        self.key = PreSpikingLinear(width, width, neuron, normalized=True)
        self.value = PreSpikingLinear(width, width, neuron, normalized=True)
        self.receptance = PreSpikingLinear(width, width, neuron, normalized=True)
        self.output = PreSpikingLinear(width, width, neuron)

    def forward(self, x: Tensor, state: MixingState | None = None) -> tuple[Tensor, MixingState]:
        """Map x, shape [batch, sequence, width], and the state of the tokens before it."""
        last, membranes, memory = (None, (None,) * 4, None) if state is None else state
        previous, last = shift(x, last)
        key, v_key = self.key(torch.lerp(previous, x, self.mix_key), membranes[0])
        value, v_value = self.value(torch.lerp(previous, x, self.mix_value), membranes[1])
        receptance, v_receptance = self.receptance(
            torch.lerp(previous, x, self.mix_receptance), membranes[2]
        )
        parameters = WKVParameters(self.time_decay, self.time_first)
        average, memory = wkv(key, value, parameters, memory)
        out, v_output = self.output(torch.sigmoid(receptance) * average, membranes[3])
        return out, MixingState(last, (v_key, v_value, v_receptance, v_output), memory)


class ChannelMixing(Mixing):
    r"""RWKV-4's feed-forward: squared ReLU, four times as wide, gated.

    .. math:: o = \sigma(W_r \hat x_r) \odot W_v \max(W_k \hat x_k, 0)^2
    """

    SILENT = ("receptance", "value")
    FIRING: ClassVar = {"key": 1.0, "value": 2.5}

    def __init__(self, layer: int, n_layer: int, width: int, neuron: MaybeNeuron) -> None:
        super().__init__()

        def share(channel: Tensor) -> Tensor:
            return (channel / width) ** (1 - layer / n_layer)

        self.mix_key = _per_channel(width, share)
        self.mix_receptance = _per_channel(width, share)
        self.key = PreSpikingLinear(width, 4 * width, neuron, normalized=True)
        self.receptance = PreSpikingLinear(width, width, neuron, normalized=True)
        self.value = PreSpikingLinear(4 * width, width, neuron)

    def forward(self, x: Tensor, state: MixingState | None = None) -> tuple[Tensor, MixingState]:
        """Map x, shape [batch, sequence, width], and the state of the tokens before it."""
        last, membranes, _ = (None, (None,) * 3, None) if state is None else state
        previous, last = shift(x, last)
        key, v_key = self.key(torch.lerp(previous, x, self.mix_key), membranes[0])
        receptance, v_receptance = self.receptance(
            torch.lerp(previous, x, self.mix_receptance), membranes[1]
        )
        value, v_value = self.value(torch.relu(key).square(), membranes[2])
        out = torch.sigmoid(receptance) * value
        return out, MixingState(last, (v_key, v_receptance, v_value))


def _per_channel(width: int, value: Callable[[Tensor], Tensor]) -> nn.Parameter:
    """Return a parameter of a value for each channel: 0, 1, ... are mapped to what it starts at."""
    start = torch.empty(width)
    # To compute on the meta device, where there are no numbers, PyTorch imports its compiler.
    return nn.Parameter(start if start.is_meta else value(torch.arange(width)))


def shift(x: Tensor, last: Tensor | None) -> tuple[Tensor, Tensor]:
    """Give each token its predecessor's values (zeros to the first), and the last token's own."""
    before = torch.zeros_like(x[:, :1]) if last is None else last
    return torch.cat([before, x], dim=1)[:, :-1], x[:, -1:]

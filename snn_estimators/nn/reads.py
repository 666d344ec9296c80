"""How many weights the linear maps behind neurons read, as something to train on."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from snn_estimators.nn.classifier import SequenceClassifier
from snn_estimators.nn.decoder.attention import SelfAttention
from snn_estimators.nn.decoder.feed_forward import SpikingFeedForward
from snn_estimators.nn.decoder.head import Head
from snn_estimators.nn.neurons import Neuron
from snn_estimators.nn.spiking_linear import PreSpikingLinear


def maps_behind_neurons(module: nn.Module) -> Iterator[nn.Linear]:
    """Yield the linear maps whose inputs neurons emit."""
    for part in module.modules():
        if isinstance(part, SelfAttention | SpikingFeedForward | Head | PreSpikingLinear):
            inside = list(part.modules())
            if any(isinstance(one, Neuron) for one in inside):
                yield from (one for one in inside if isinstance(one, nn.Linear))


def maps_of_tokens(module: nn.Module) -> list[nn.Linear]:
    """Return the maps behind neurons that see each token: not a classifier's decision."""
    decision: Any = None
    if isinstance(module, SequenceClassifier):
        backbone: Any = module.backbone
        decision = backbone.head.linear
    return [one for one in maps_behind_neurons(module) if one is not decision]


class ReadsPenalty:
    r"""Add up a differentiable count of the weights read a token, while the context lasts.

    A map from inputs :math:`x` to :math:`F` outputs counts :math:`F \sum_i \min(|x_i|, 1)`, all
    timesteps together, in the mean over tokens: the weights of an input are read when it is not
    zero, and its size leads the gradient there. A head that adds its timesteps up counts by the
    spikes in front of the sum, as the energy model does. A classifier's decision, once a document,
    does not count. Without neurons in front of any map the count is 0.

    Parameters
    ----------
    module : nn.Module
    valid : BoolTensor, shape [batch, sequence], optional
        Which positions are tokens; without it, all are. Padding does not count.

    Examples
    --------
    >>> import torch
    >>> from snn_estimators.nn import SpikeGPT
    >>> module = SpikeGPT(12, n_layer=1, n_embd=16, spikes="linear", neuron="graded")
    >>> with ReadsPenalty(module) as penalty:
    ...     logits = module(torch.arange(6)[None])
    >>> 0 < float(penalty.reads.detach()) < sum(p.numel() for p in module.parameters())
    True
    """

    reads: Tensor  # moves to the maps' device with the first that is added

    def __init__(self, module: nn.Module, valid: Tensor | None = None) -> None:
        self.valid = valid
        self.maps = maps_of_tokens(module)
        heads = (part for part in module.modules() if isinstance(part, Head))
        self._heads = {
            head.linear: head for head in heads if head.readout.additive and not head.read_first
        }
        self._handles: list[RemovableHandle] = []

    def __enter__(self) -> ReadsPenalty:
        self.reads = torch.zeros(())
        self._handles = [self._watch(one) for one in self.maps]
        return self

    def _watch(self, linear: nn.Linear) -> RemovableHandle:
        head = self._heads.get(linear)
        if head is None:
            return linear.register_forward_hook(self._add)
        return head.neuron.register_forward_hook(partial(self._add_head, head))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for handle in self._handles:
            handle.remove()

    def _add(self, linear: nn.Linear, args: tuple[Any, ...], output: Tensor) -> None:
        self._count(linear, args[0])

    def _add_head(self, head: Head, neuron: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        emitted = neuron.emitted(output) if isinstance(neuron, Neuron) else output
        self._count(head.linear, emitted[head.readout.steps])

    def _count(self, linear: nn.Linear, x: Tensor) -> None:
        counted = x.abs().clamp_max(1).sum(-1)
        valid = self.valid
        if valid is None or valid.shape != x.shape[-3:-1]:
            valid = torch.ones(x.shape[-3:-1], dtype=torch.bool, device=x.device)
        mean = (counted * valid).sum() / valid.sum().clamp_min(1)
        self.reads = self.reads + linear.out_features * mean

r"""Run graded spikes as binary ones, one after another.

A count :math:`c` of at most :math:`D` is as many spikes in :math:`D` virtual timesteps, and a
linear map adds up what it makes of each of them:

.. math:: W c\,u = u\,(W s_1 + \dots + W s_D), \qquad s_d = \operatorname{sign}(c)\,[|c| \ge d].

So nothing is multiplied but the sum by the step, which folds into the weights (Luo et al.,
"Integer-valued training and spike-driven inference spiking neural network", ECCV 2024).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from snn_estimators.nn.decoder.head import Head
from snn_estimators.nn.neurons import Neuron
from snn_estimators.nn.reads import maps_of_tokens

__all__ = ["spike_driven"]


@contextmanager
def spike_driven(module: nn.Module) -> Iterator[Counter[str]]:
    """Have every linear map behind graded neurons add up binary spikes, while the context lasts.

    The logits are those of the module without it, up to the rounding of sums: in float64 to nine
    digits, in float32 to about five. No gradient passes through the maps.

    Parameters
    ----------
    module : nn.Module
        With neurons that emit counts, such as a `SpikingDecoder` or a `SpikeGPT`. Attention adds
        its counts up as whole numbers in any case.

    Yields
    ------
    Counter of str to int
        Additions of a weight that each map has made so far, by name: what the energy model counts
        as its accumulates. Padding is run as tokens are, and counted, which the energy model does
        not. A map of real numbers is not in it, nor a classifier's decision.

    Raises
    ------
    ValueError
        If no neurons of the module emit counts as spikes.

    Examples
    --------
    >>> import torch
    >>> from snn_estimators.nn import SpikeGPT
    >>> module, tokens = SpikeGPT(30, n_embd=16).double().eval(), torch.arange(9)[None]
    >>> with spike_driven(module) as additions:
    ...     logits = module(tokens)
    >>> torch.allclose(logits, module(tokens), atol=1e-9), additions["head.linear"] > 0
    (True, True)
    """
    codes = _codes_of(module)
    if max(codes, default=_Code(0.0, 0), key=lambda code: code.levels).levels <= 1:
        raise ValueError(
            "No neurons of the module emit counts as spikes: give a model with neuron='graded' or "
            "'power-of-two'. Binary spikes are what they are, and quantised activations none."
        )
    names = {part: name for name, part in module.named_modules()}
    heads = {part.linear: part for part in module.modules() if isinstance(part, Head)}
    additions: Counter[str] = Counter()
    with ExitStack() as stack:
        for linear in maps_of_tokens(module):
            adder = _Adder(names[linear], linear, codes, additions)
            for handle in adder.watch(heads.get(linear)):
                stack.callback(handle.remove)
        yield additions


class _Code(NamedTuple):
    """What a count of one is worth, and the greatest count."""

    unit: float
    levels: int


def _codes_of(module: nn.Module) -> list[_Code]:
    """Return what neurons emit as spikes, the greatest unit first."""
    neurons = [part for part in module.modules() if isinstance(part, Neuron)]
    return sorted({_Code(n.unit, n.levels) for n in neurons if n.levels and n.emits_spikes})[::-1]


class _Adder:
    """A linear map of the binary spikes that counts are."""

    def __init__(
        self, name: str, linear: nn.Linear, codes: Sequence[_Code], additions: Counter[str]
    ) -> None:
        self.name, self.linear, self.codes, self.additions = name, linear, codes, additions
        self.emitted: Tensor | None = None

    def watch(self, head: Head | None) -> Iterator[Any]:
        """Take the map's calls over; a readout that adds up has its spikes in front of the sum."""
        if head is None or head.read_first:
            yield self.linear.register_forward_hook(self._add_input)
        elif head.readout.additive:
            yield head.neuron.register_forward_hook(self._keep)
            yield self.linear.register_forward_hook(partial(self._add_emitted, head))

    def _add_input(self, linear: nn.Linear, args: tuple[Any, ...], output: Tensor) -> Tensor | None:
        return self._add(args[0], output)

    def _keep(self, neuron: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        self.emitted = neuron.emitted(output) if isinstance(neuron, Neuron) else output

    def _add_emitted(
        self, head: Head, linear: nn.Linear, args: tuple[Any, ...], output: Tensor
    ) -> Tensor | None:
        emitted, self.emitted = self.emitted, None
        assert emitted is not None, "a head's neurons fire before its map is called"
        return self._add(emitted, output, head.readout.read, head.readout.steps)

    def _add(
        self,
        x: Tensor,
        output: Tensor,
        read: Callable[[Tensor], Tensor] = lambda spikes: spikes,
        steps: slice = slice(None),
    ) -> Tensor | None:
        """Return what the map makes of binary spikes; None, for its own output, of real numbers."""
        found = _counts(x, self.codes)
        if found is None:
            return None
        counts, unit = found
        total = torch.zeros_like(output)
        for slot in range(1, int(counts.abs().max()) + 1):
            spikes = counts.sign() * (counts.abs() >= slot)
            self.additions[self.name] += (
                int(spikes[steps].count_nonzero()) * self.linear.out_features
            )
            total = total + nn.functional.linear(read(spikes), self.linear.weight)
        total = unit * total
        return total if self.linear.bias is None else total + self.linear.bias


def _counts(x: Tensor, codes: Sequence[_Code]) -> tuple[Tensor, float] | None:
    """Return whole numbers and their unit; None if x is no count in any of the codes."""
    for unit, levels in codes:
        counts = (x / unit).round()
        if torch.equal(counts * unit, x) and not bool((counts.abs() > levels).any()):
            return counts, unit
    return None

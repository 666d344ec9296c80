r"""Run graded spikes as binary ones, one after another.

A count :math:`c` of at most :math:`D` is as many spikes in :math:`D` virtual timesteps, and a
linear map adds up what it makes of each of them:

.. math:: W c\,u = u\,(W s_1 + \dots + W s_D), \qquad s_d = \operatorname{sign}(c)\,[|c| \ge d].

So nothing is multiplied but the sum by the step, which folds into the weights (Luo et al.,
"Integer-valued training and spike-driven inference spiking neural network", ECCV 2024).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from snn_estimators.nn.graded import Graded
from snn_estimators.nn.reads import maps_behind_neurons

__all__ = ["spike_driven"]


@contextmanager
def spike_driven(module: nn.Module) -> Iterator[Counter[str]]:
    """Have every linear map behind graded neurons add up binary spikes, while the context lasts.

    The logits are those of the module without it, up to the rounding of sums: in float64 to nine
    digits, in float32 to about five.

    Parameters
    ----------
    module : nn.Module
        With neurons that emit counts, such as a `SpikingDecoder` or a `SpikeGPT`. Attention adds
        its counts up as whole numbers in any case.

    Yields
    ------
    Counter of str to int
        Additions of a weight that each map has made so far, by name: what the energy model counts
        as its accumulates. A map of real numbers, such as a mean over timesteps, is not in it.

    Raises
    ------
    ValueError
        If no neurons of the module emit counts.

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
    neurons = [part for part in module.modules() if isinstance(part, Graded) and part.levels]
    if not neurons:
        raise ValueError(
            "No neurons of the module emit counts: give a model with neuron='graded' (or "
            "'quantized'); binary spikes are what they are."
        )
    unit = neurons[0].unit
    levels = max(neuron.levels or 0 for neuron in neurons)
    names = {part: name for name, part in module.named_modules()}
    additions: Counter[str] = Counter()
    with ExitStack() as stack:
        for linear in maps_behind_neurons(module):
            hook = partial(_add_up, names[linear], unit, levels, additions)
            stack.callback(linear.register_forward_hook(hook).remove)
        yield additions


def _add_up(
    name: str,
    unit: float,
    levels: int,
    additions: Counter[str],
    linear: nn.Linear,
    args: tuple[Any, ...],
    output: Tensor,
) -> Tensor | None:
    """Return what a map makes of binary spikes; None, for its own output, of real numbers."""
    counts = (args[0] / unit).round()
    if not torch.equal(counts * unit, args[0]) or bool((counts.abs() > levels).any()):
        return None
    total = torch.zeros_like(output)
    for slot in range(1, int(counts.abs().max()) + 1):
        spikes = counts.sign() * (counts.abs() >= slot)
        additions[name] += int(spikes.count_nonzero()) * linear.out_features
        total = total + nn.functional.linear(spikes, linear.weight)
    total = unit * total
    return total if linear.bias is None else total + linear.bias

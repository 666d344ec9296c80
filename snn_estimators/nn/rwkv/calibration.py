"""Turn a trained RWKV into a SpikeGPT whose maps see counts, without training.

Map by map, from the input to the logits: the gain of the neurons is set so that their greatest
count is as large as nearly all inputs of the map; then the weights are fitted by least squares, to
make of the counts what the map made of the real inputs. Each map sees what the maps before it give,
counting already, so that errors do not add up unseen.

Kin: threshold balancing and activation calibration of converted networks (Diehl et al., IJCNN 2015;
Rueckauer et al., Frontiers in Neuroscience 2017; Li et al., ICML 2021).
"""

from __future__ import annotations

import torch
from torch import Tensor

from snn_estimators.nn.graded import Graded
from snn_estimators.nn.rwkv.spike_gpt import SpikeGPT
from snn_estimators.nn.spiking_linear import PreSpikingLinear

__all__ = ["calibrate"]

COVERED = 0.999
"""Share of the inputs that are no larger than the greatest count."""
RIDGE = 1e-4
"""Weight of the squared weights, as a share of the mean squared count."""


@torch.no_grad()
def calibrate(module: SpikeGPT, tokens: Tensor) -> None:
    """Fit gains and weights of a SpikeGPT that holds a trained twin's weights, in place.

    Parameters
    ----------
    module : SpikeGPT
        With graded neurons in front of its linear maps, whose weights are still the twin's.
    tokens : LongTensor, shape [batch, sequence]
        What gains and weights are fitted on; without padding.
    """
    module.eval()
    for part in [one for one in module.modules() if isinstance(one, PreSpikingLinear)]:
        _calibrate_map(part, _input_of(part, module, tokens))


def _input_of(part: PreSpikingLinear, module: SpikeGPT, tokens: Tensor) -> Tensor:
    """Return what a map is given, shape [batch, sequence, features]."""
    seen: list[Tensor] = []
    handle = part.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    try:
        module(tokens)
    finally:
        handle.remove()
    return seen[0]


def _calibrate_map(part: PreSpikingLinear, x: Tensor) -> None:
    neuron = part.neuron
    assert isinstance(neuron, Graded)
    wanted = part.linear(x).flatten(0, -2).double()
    sizes = part.norm(x).abs().flatten()
    largest = sizes.sort().values[int(COVERED * (len(sizes) - 1))]
    assert neuron.levels is not None
    neuron.gain.fill_(float(neuron.levels * neuron.unit / largest.clamp_min(1e-6)))
    counts = part.fire(x)[0].flatten(0, -2).double()
    squares = counts.T @ counts
    squares.diagonal().add_(RIDGE * squares.diagonal().mean().clamp_min(1e-12))
    part.linear.weight.copy_(torch.linalg.solve(squares, counts.T @ wanted).T)

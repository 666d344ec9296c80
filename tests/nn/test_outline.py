"""Modules of any size are compared with tensors at the tensors' cost."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
import torch
from torch import nn

from snn_estimators.nn import READOUTS, SpikeGPT, SpikingDecoder
from snn_estimators.nn.outline import misfit


def shapes(module):
    return {name: tensor.shape for name, tensor in module.state_dict().items()}


OPTIONS = {
    "learned decay": {"attention_decay": "learned"},
    "published": SpikingDecoder.PUBLISHED,
    "concatenated": {"readout": "concatenate", "timesteps": 3, "neuron": "lif"},
    "power norm": {"normalization": "power", "learnable_threshold": True, "neuron": "lif"},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_a_module_fits_its_own_tensors(options):
    tensors = shapes(SpikingDecoder(20, **options))
    assert misfit(lambda: SpikingDecoder(20, **options), tensors) is None
    assert misfit(lambda: SpikingDecoder(21, **options), tensors) is not None


@pytest.mark.parametrize(
    "size", [{"n_layer": 100_000}, {"n_embd": 10**6}, {"vocab_size": 10**9}], ids=str
)
def test_what_is_too_large_costs_nothing(size):
    own = {"vocab_size": 20, "n_layer": 2, "n_embd": 8}
    tensors = shapes(SpikeGPT(**own))
    started = time.process_time()
    assert misfit(lambda: SpikeGPT(**{**own, **size}), tensors) is not None
    assert time.process_time() - started < 1


@pytest.mark.slow
def test_no_compiler_is_imported():
    code = (
        "import sys; from snn_estimators.nn import SpikeGPT, SpikingDecoder\n"
        "from snn_estimators.nn.outline import misfit\n"
        "assert misfit(lambda: SpikeGPT(9), {}) and misfit(lambda: SpikingDecoder(9), {})\n"
        "sys.exit(bool({'torch._dynamo', 'sympy'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_parts_without_tensors_are_counted():
    def make():
        return nn.Sequential(*(nn.Sequential(nn.Identity()) for _ in range(10**9)))

    assert "more parts" in misfit(make, {"weight": (2, 2)})


def test_the_generators_stay_where_they_are():
    before = torch.get_rng_state()
    assert misfit(lambda: SpikeGPT(20), {}) is not None
    assert torch.equal(torch.get_rng_state(), before)


class Reading(nn.Module):
    """A module that reads numbers while it is built."""

    def __init__(self) -> None:
        super().__init__()
        self.rates = torch.linspace(0, 1, 3).tolist()


def test_a_module_that_reads_numbers_cannot_be_told():
    assert misfit(Reading, {"weight": (2, 2)}) is None


def test_every_readout_has_a_width():
    for name in READOUTS:
        module = SpikingDecoder(20, readout=name, timesteps=3, max_len=4, neuron="lif")
        assert module.head.linear.in_features == (240 if name == "concatenate" else 80)

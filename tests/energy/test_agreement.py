"""Synaptic operations as other libraries count them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from published import published_decoder, published_spike_gpt
from torch import nn

from snn_estimators.energy import measure
from snn_estimators.nn import SpikeGPT, SpikingDecoder

TOKENS = torch.arange(12).reshape(2, 6)


def spiking_decoder(**options: object) -> SpikingDecoder:
    """Build a lively one, whose head sees spikes: other counters do not look behind a mean."""
    sizes = {"token_dim": 9, "position_dim": 7, "heads": 2, "blocks": 2, "timesteps": 3}
    return published_decoder(12, 6, v_threshold=0.4, **sizes, **options).eval()


def spike_gpt(**options: object) -> SpikeGPT:
    lively = {"spikes": "everywhere", "initialization": "firing", "v_threshold": 0.2}
    return published_spike_gpt(12, n_layer=2, n_embd=20, **{**lively, **options}).eval()


SPIKING = {
    "final": lambda: spiking_decoder(readout="final"),
    "concatenate": lambda: spiking_decoder(readout="concatenate", token_shift=True),
    "spike_gpt": spike_gpt,
    "ffn_pre": lambda: spike_gpt(model_type="RWKV-ffnPre"),
}
REAL = {
    "twin": lambda: published_decoder(12, 6, blocks=1, spike_degree=0).eval(),
    "rwkv": lambda: spike_gpt(spikes="none"),
    "as_published": lambda: spike_gpt(spikes="residual"),
    "sparse": lambda: spike_gpt(spikes="linear", neuron="relu"),
}


@pytest.fixture(params=SPIKING)
def spiking(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    return SPIKING[request.param]()


def weighted(table):
    return table[table["kind"].isin(["linear", "head"])].set_index("layer")


def test_layers_are_as_busy_as_the_comparison_needs(spiking: nn.Module) -> None:
    assert (weighted(measure(spiking, TOKENS))["spike_rate"] > 0).all()


def test_spikingjelly_counts_the_same_in_every_linear_layer(spiking: nn.Module) -> None:
    op_counter = pytest.importorskip("spikingjelly.activation_based.op_counter")
    counter = op_counter.SynOpCounter()
    with torch.no_grad(), op_counter.DispatchCounterMode([counter]):
        spiking(TOKENS)
    theirs = {scope: sum(ops.values()) for scope, ops in counter.get_counts().items()}
    ours = weighted(measure(spiking, TOKENS))["accumulates"] * TOKENS.numel()
    for layer, accumulates in ours.items():
        assert accumulates == pytest.approx(theirs[f"{type(spiking).__name__}.{layer}"]), layer


def test_neurobench_counts_the_same_in_all_linear_layers(spiking: nn.Module) -> None:
    models = pytest.importorskip("neurobench.models")
    workload = pytest.importorskip("neurobench.metrics.workload")
    model = models.TorchModel(spiking)
    model.register_hooks()
    metric = workload.SynapticOperations()
    with torch.no_grad():
        theirs = metric(model, model(TOKENS), (TOKENS, None))
    model.cleanup_hooks()
    ours = weighted(measure(spiking, TOKENS))["accumulates"].sum() * TOKENS.shape[1]
    assert ours == pytest.approx(theirs["Effective_ACs"])
    assert theirs["Effective_MACs"] == 0


@pytest.mark.parametrize("build", REAL.values(), ids=REAL)
def test_neurobench_calls_the_same_layers_real(build: Callable[[], nn.Module]) -> None:
    models = pytest.importorskip("neurobench.models")
    workload = pytest.importorskip("neurobench.metrics.workload")
    module = build()
    model = models.TorchModel(module)
    model.register_hooks()
    metric = workload.SynapticOperations()
    with torch.no_grad():
        theirs = metric(model, model(TOKENS), (TOKENS, None))
    model.cleanup_hooks()
    table = weighted(measure(module, TOKENS))
    dense, effective = (table[name].sum() * TOKENS.shape[1] for name in ("macs", "effective_macs"))
    assert dense == pytest.approx(theirs["Dense"])
    assert effective == pytest.approx(theirs["Effective_MACs"])
    assert theirs["Effective_ACs"] == 0


def test_sparse_real_layers_have_fewer_effective_macs() -> None:
    table = weighted(measure(REAL["sparse"](), TOKENS))
    assert 0.05 < table["effective_macs"].sum() / table["macs"].sum() < 0.6


def test_half_of_rwkvs_squared_relus_are_zero() -> None:
    table = weighted(measure(spike_gpt(spikes="none"), TOKENS))
    squares = table.filter(like="channel_mixing.value", axis="index")
    assert 0.3 < (squares["effective_macs"] / squares["macs"]).mean() < 0.7

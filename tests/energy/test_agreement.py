"""Synaptic operations as other libraries count them."""

from __future__ import annotations

import pytest
import torch

from snn_estimators.energy import measure
from snn_estimators.nn import SpikingDecoder

TOKENS = torch.arange(12).reshape(2, 6)


@pytest.fixture(params=[{"readout": "final"}, {"readout": "concatenate", "token_shift": True}])
def decoder(request: pytest.FixtureRequest) -> SpikingDecoder:
    """A lively decoder whose head sees spikes, as other counters do not look behind a mean."""
    sizes = {"token_dim": 9, "position_dim": 7, "heads": 2, "blocks": 2, "timesteps": 3}
    return SpikingDecoder(12, 6, v_threshold=0.4, **sizes, **request.param).eval()


def weighted(table):
    return table[table["kind"].isin(["linear", "head"])].set_index("layer")


def test_layers_are_as_busy_as_the_comparison_needs(decoder: SpikingDecoder) -> None:
    assert (weighted(measure(decoder, TOKENS))["spike_rate"] > 0).all()


def test_spikingjelly_counts_the_same_in_every_linear_layer(decoder: SpikingDecoder) -> None:
    op_counter = pytest.importorskip("spikingjelly.activation_based.op_counter")
    counter = op_counter.SynOpCounter()
    with torch.no_grad(), op_counter.DispatchCounterMode([counter]):
        decoder(TOKENS)
    theirs = {scope: sum(ops.values()) for scope, ops in counter.get_counts().items()}
    ours = weighted(measure(decoder, TOKENS))["accumulates"] * TOKENS.numel()
    for layer, accumulates in ours.items():
        assert accumulates == pytest.approx(theirs[f"SpikingDecoder.{layer}"]), layer


def test_neurobench_counts_the_same_in_all_linear_layers(decoder: SpikingDecoder) -> None:
    models = pytest.importorskip("neurobench.models")
    workload = pytest.importorskip("neurobench.metrics.workload")
    model = models.TorchModel(decoder)
    model.register_hooks()
    metric = workload.SynapticOperations()
    with torch.no_grad():
        theirs = metric(model, model(TOKENS), (TOKENS, None))
    model.cleanup_hooks()
    ours = weighted(measure(decoder, TOKENS))["accumulates"].sum() * TOKENS.shape[1]
    assert ours == pytest.approx(theirs["Effective_ACs"])
    assert theirs["Effective_MACs"] == 0


def test_neurobench_calls_the_same_layers_real(decoder: SpikingDecoder) -> None:
    models = pytest.importorskip("neurobench.models")
    workload = pytest.importorskip("neurobench.metrics.workload")
    twin = SpikingDecoder(12, 6, blocks=1, spike_degree=0).eval()
    model = models.TorchModel(twin)
    model.register_hooks()
    metric = workload.SynapticOperations()
    with torch.no_grad():
        theirs = metric(model, model(TOKENS), (TOKENS, None))
    model.cleanup_hooks()
    ours = weighted(measure(twin, TOKENS))["macs"].sum() * TOKENS.shape[1]
    assert ours == pytest.approx(theirs["Dense"])
    assert theirs["Effective_ACs"] == 0

"""`torch.compile` takes both models as one graph, in training and evaluation."""

from __future__ import annotations

import pytest
import torch

from snn_estimators.nn import SpikeGPT, SpikingDecoder
from snn_estimators.nn.norms import BatchNorm

MODULES = {
    "SpikeGPT": lambda: SpikeGPT(12, n_embd=8, spikes="everywhere", neuron="lif"),
    "SpikingDecoder": lambda: SpikingDecoder(
        12, 16, blocks=1, heads=2, token_dim=6, position_dim=2, neuron="relu"
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("make", MODULES.values(), ids=MODULES)
def test_a_compiled_module_is_one_graph_with_the_same_gradients(make):
    torch._dynamo.reset()
    module, tokens = make(), torch.randint(12, (2, 9))
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True)
    results = []
    for run in (module, compiled):
        module.zero_grad()
        logits = run(tokens)
        logits.square().mean().backward()
        results.append([logits, *(p.grad for p in module.parameters() if p.grad is not None)])
    for eager, ours in zip(*results, strict=True):
        torch.testing.assert_close(ours, eager, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_compiled_batch_norm_leaves_padding_out():
    torch._dynamo.reset()
    x = torch.randn(2, 3, 4, 5)
    for n_valid in (7, 1, 12):
        valid = (torch.arange(12) < n_valid).view(3, 4)
        eager, ours = BatchNorm(5), BatchNorm(5)
        compiled = torch.compile(ours, backend="eager", fullgraph=True)
        leaves = [x.clone().requires_grad_() for _ in range(2)]
        outputs = [norm(leaf, valid) for norm, leaf in zip((eager, compiled), leaves, strict=True)]
        torch.testing.assert_close(*outputs)
        gradients = [
            torch.autograd.grad(y.pow(3).sum(), leaf)
            for y, leaf in zip(outputs, leaves, strict=True)
        ]
        torch.testing.assert_close(*gradients)
        for name, buffer in eager.named_buffers():
            torch.testing.assert_close(ours.get_buffer(name), buffer)

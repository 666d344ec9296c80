"""Spiking attention: recurrent, quadratic and chunked forms are one function."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from snn_estimators.ops import (
    AttentionParameters,
    spiking_attention,
    spiking_attention_reference,
)
from snn_estimators.ops.attention import spiking_attention_chunked

DECAY = torch.tensor([0.5, 0.9])


def spikes(*shape):
    return (torch.rand(*shape) < 0.3).float()


@pytest.mark.slow
@settings(derandomize=True, deadline=None, max_examples=25)
@given(chunk_size=st.integers(1, 64), tokens=st.integers(1, 40))
def test_any_chunking_is_exact_on_spikes(chunk_size, tokens):
    q, k, v = (spikes(3, 2, tokens, 5) for _ in range(3))
    expected = spiking_attention_reference(q, k, v)
    found = spiking_attention_chunked(q, k, v, chunk_size=chunk_size)
    assert torch.equal(found.out, expected.out)
    assert torch.equal(found.state, expected.state)


@pytest.mark.parametrize("chunk_size", [1, 4, 16])
@pytest.mark.parametrize("decay", [None, DECAY], ids=["no decay", "decay"])
def test_forward_and_backward_equal_the_recurrence(chunk_size, decay):
    results = []
    inputs = [torch.randn(2, 11, 3, dtype=torch.float64) for _ in range(3)]
    start = torch.randn(2, 3, 3, dtype=torch.float64)
    for attend in (
        spiking_attention_reference,
        lambda *a: spiking_attention_chunked(*a, chunk_size=chunk_size),
    ):
        leaves = [t.clone().requires_grad_() for t in (*inputs, start)]
        rate = None if decay is None else decay.double().requires_grad_()
        out = attend(*leaves[:3], AttentionParameters(rate), leaves[3])
        (out.out.square().sum() + out.state.square().sum()).backward()
        extra = [] if rate is None else [rate.grad.clone()]
        results.append([out.out, out.state, *(t.grad for t in leaves), *extra])
        if rate is not None:
            rate.grad = None
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b)


def test_quadratic_form_agrees():
    q, k, v = (spikes(2, 9, 4) for _ in range(3))
    scores = (q @ k.mT).tril()
    assert torch.equal(spiking_attention(q, k, v).out, scores @ v)


@pytest.mark.slow
@pytest.mark.parametrize("decay", [None, DECAY])
@settings(derandomize=True, deadline=None, max_examples=15)
@given(cuts=st.lists(st.integers(1, 40), min_size=2, max_size=4))
def test_a_sequence_can_be_cut_anywhere(decay, cuts):
    q, k, v = (spikes(2, sum(cuts), 4) for _ in range(3))
    parameters, state, outs = AttentionParameters(decay), None, []
    whole = spiking_attention(q, k, v, parameters)
    for parts in zip(*(x.split(cuts, 1) for x in (q, k, v)), strict=True):
        out, state = spiking_attention(*parts, parameters, state)
        outs.append(out)
    torch.testing.assert_close(torch.cat(outs, 1), whole.out)
    torch.testing.assert_close(state, whole.state)


def test_bad_arguments_are_named():
    empty = torch.zeros(1, 0, 2)
    with pytest.raises(ValueError, match="chunk_size=0"):
        spiking_attention_chunked(empty, empty, empty, chunk_size=0)
    with pytest.raises(ValueError, match="no token"):
        spiking_attention(empty, empty, empty)
    with pytest.raises(ValueError, match=r"backend='numba'.*'auto', 'chunked', 'reference'"):
        spiking_attention(*torch.ones(3, 1, 2, 2), backend="numba")


@pytest.mark.parametrize("backend", ["auto", "chunked", "reference"])
def test_backends_agree(backend):
    q, k, v = (spikes(2, 40, 4) for _ in range(3))
    found = spiking_attention(q, k, v, backend=backend)
    assert torch.equal(found.out, (q @ k.mT).tril() @ v)

"""Attention: its two cores, their states, and the token shift."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from snn_estimators.nn import LIF
from snn_estimators.nn.decoder.attention import (
    SelfAttention,
    SoftmaxCore,
    SpikingCore,
    merge_heads,
    split_heads,
)
from snn_estimators.nn.norms import LayerNorm
from snn_estimators.nn.spiking_linear import SpikingLinear, previous_tokens

TIME, BATCH, LENGTH, WIDTH, HEADS = 2, 3, 7, 6, 2


def some_input():
    return torch.randn(TIME, BATCH, LENGTH, WIDTH, dtype=torch.float64)


def cores():
    return {
        **{f"{d}": SpikingCore(HEADS, 0.5, d, 0.0) for d in (None, "fixed", "learned")},
        "softmax": SoftmaxCore(HEADS, 0.0),
    }


@pytest.mark.parametrize("name", cores())
@pytest.mark.parametrize("token_shift", [0, 2])
def test_any_cut_of_a_sequence_equals_the_whole(name, token_shift):
    core = cores()[name]
    attention = SelfAttention(WIDTH, core, LayerNorm, LIF, token_shift=token_shift).double()
    x, state, parts = some_input(), None, []
    for part in x.split([1, 4, 2], dim=2):
        out, state = attention(part, state)
        parts.append(out)
    whole, last = attention(x)
    torch.testing.assert_close(torch.cat(parts, 2), whole)
    torch.testing.assert_close(state, last)


@pytest.mark.parametrize("decay", [None, "fixed", "learned"])
def test_spiking_attention_is_the_sum_over_the_past(decay):
    core = SpikingCore(HEADS, 0.5, decay, 0.0).double()
    q, k, v = (some_input() for _ in range(3))
    found, _ = core(q, k, v, None)
    rates = torch.tensor([1.0, 1.0] if decay is None else [0.5, 0.75], dtype=torch.float64)
    lag = (torch.arange(LENGTH)[:, None] - torch.arange(LENGTH)).clamp_min(0)
    kernel = (rates[:, None, None] ** lag).tril()
    q, k, v = (split_heads(x, HEADS) for x in (q, k, v))
    torch.testing.assert_close(found, 0.5 * merge_heads(q @ k.mT * kernel @ v))


@pytest.mark.slow
def test_dropped_scores_are_the_same_attention_on_average():
    torch.manual_seed(0)
    core, x = SpikingCore(HEADS, 0.5, "fixed", 0.3).double(), some_input()
    exact = core.eval()(x, x, x, None)[0]
    core.train()
    mean = torch.stack([core(x, x, x, None)[0] for _ in range(2000)]).mean(0)
    assert (mean - exact).abs().max() < 0.1 * exact.abs().max()


def test_softmax_attention_averages_the_past():
    v = some_input()
    silent = torch.zeros_like(v)
    found, _ = SoftmaxCore(HEADS, 0.0)(silent, silent, v, None)
    torch.testing.assert_close(found, v.cumsum(2) / torch.arange(1, LENGTH + 1)[:, None])


def test_heads_split_and_merge():
    x = some_input()
    assert split_heads(x, HEADS).shape == (TIME, BATCH, HEADS, LENGTH, WIDTH // HEADS)
    assert torch.equal(merge_heads(split_heads(x, HEADS)), x)


def test_previous_tokens_continue_over_a_cut():
    x = some_input()
    whole, last = previous_tokens(x, 3, None)
    start, past = previous_tokens(x[:, :, :1], 3, None)
    rest, end = previous_tokens(x[:, :, 1:], 3, past)
    assert torch.equal(torch.cat([start, rest], 2), whole) and torch.equal(end, last)
    for lag in (1, 2, 3):
        columns = slice(WIDTH * (lag - 1), WIDTH * lag)
        assert torch.equal(whole[:, :, lag:, columns], x[:, :, :-lag])
        assert not whole[:, :, :lag, columns].any()


def test_a_spiking_linear_map_adds_the_previous_tokens():
    layer = SpikingLinear(WIDTH, 4, LayerNorm, nn.Identity, token_shift=1).double()
    x = some_input()
    previous, _ = previous_tokens(x, 1, None)
    expected = layer.norm(layer.linear(x) + previous @ layer.shift.weight.mT)
    torch.testing.assert_close(layer(x, previous, None), expected)


def test_unknown_decays_are_named():
    with pytest.raises(ValueError, match="attention_decay='some' is unknown"):
        SpikingCore(HEADS, 1.0, "some", 0.0)

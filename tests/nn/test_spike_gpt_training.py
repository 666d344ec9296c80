"""A training step equals that of a plain model: SpikingJelly's neurons, WKV as a loop."""

from __future__ import annotations

import pytest
import torch
from published import published_spike_gpt
from spikingjelly.activation_based import functional, neuron, surrogate
from torch.nn import functional as F

from snn_estimators.nn.rwkv.mixing import ChannelMixing, TimeMixing

VOCABULARY = 17


def peer_neurons(x):
    """Fire along the tokens of x, shape [batch, sequence, width]."""
    node = neuron.LIFNode(tau=2.0, surrogate_function=surrogate.ATan(2.0), step_mode="m")
    functional.reset_net(node)
    return node(x.transpose(0, 1)).transpose(0, 1)


def mixed(x, share):
    previous = F.pad(x, (0, 0, 1, 0))[:, :-1]
    return x * share + previous * (1 - share)


def averaged(weights: TimeMixing, key, value):
    """The sums as the formula has them, without any care for overflow."""
    decay, bonus = torch.exp(-torch.exp(weights.time_decay)), weights.time_first
    above = below = torch.zeros_like(key[:, 0])
    outs = []
    for k, v in zip(key.unbind(1), value.unbind(1), strict=True):
        now = torch.exp(bonus + k)
        outs.append((above + now * v) / (below + now))
        above, below = decay * above + torch.exp(k) * v, decay * below + torch.exp(k)
    return torch.stack(outs, 1)


def peer_mixing(weights, x):
    gate = torch.sigmoid(
        F.linear(mixed(x, weights.mix_receptance), weights.receptance.linear.weight)
    )
    key = F.linear(mixed(x, weights.mix_key), weights.key.linear.weight)
    if isinstance(weights, ChannelMixing):
        return gate * F.linear(torch.relu(key) ** 2, weights.value.linear.weight)
    value = F.linear(mixed(x, weights.mix_value), weights.value.linear.weight)
    return F.linear(gate * averaged(weights, key, value), weights.output.linear.weight)


def peer_logits(module, tokens):
    x = surrogate.ATan(2.0)(F.embedding(tokens, module.embedding.weight))
    x = module.embedding_norm(x)
    for block in module.blocks:
        x = x + peer_neurons(peer_mixing(block.mixing, block.mixing_norm(x)))
        x = x + peer_neurons(peer_mixing(block.channel_mixing, block.channel_norm(x)))
        x = block.dropout(x)
    return F.linear(module.output_norm(x), module.head.linear.weight)


@pytest.mark.slow
def test_steps_of_training_equal_the_peers():
    torch.manual_seed(0)
    ours = published_spike_gpt(VOCABULARY, n_layer=3, n_embd=20, initialization="firing")
    theirs = published_spike_gpt(VOCABULARY, n_layer=3, n_embd=20)
    theirs.load_state_dict(ours.state_dict())
    tokens = torch.randint(VOCABULARY, (4, 33))
    losses = []
    for module, run in ((ours, ours), (theirs, lambda tokens: peer_logits(theirs, tokens))):
        optimizer = torch.optim.Adam(module.parameters(), lr=1e-2, betas=(0.9, 0.99), eps=1e-8)
        losses.append([])
        for step in range(5):
            torch.manual_seed(step)  # for dropout
            loss = F.cross_entropy(run(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
            optimizer.step()
            losses[-1].append(loss.item())
    assert losses[0][-1] < losses[0][0] - 0.2
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-5, atol=0)

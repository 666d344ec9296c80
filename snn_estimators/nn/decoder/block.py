"""A block of a decoder: attention and feed-forward, with residuals around them."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from snn_estimators.nn.decoder.attention import AttentionState, SelfAttention


class BlockState(NamedTuple):
    """What a block remembers of the tokens so far."""

    attention: AttentionState
    past: Tensor | None
    """Inputs of the feed-forward at the last tokens, for its token shift."""


class Block(nn.Module):
    """Attention and feed-forward, each with a residual around it.

    The three neurons are in front of the block, behind attention before it is added, and between
    the two halves: ``nn.Identity`` unless residuals are to carry spikes alone.
    """

    def __init__(
        self,
        attention: SelfAttention,
        feed_forward: nn.Module,
        input_neuron: nn.Module | None = None,
        attended_neuron: nn.Module | None = None,
        middle_neuron: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.input_neuron = input_neuron or nn.Identity()
        self.attention = attention
        self.attended_neuron = attended_neuron or nn.Identity()
        self.middle_neuron = middle_neuron or nn.Identity()
        self.feed_forward = feed_forward

    def forward(
        self, x: Tensor, state: BlockState | None = None, valid: Tensor | None = None
    ) -> tuple[Tensor, BlockState]:
        """Map x, shape [time, batch, sequence, width], and the state of the tokens before it."""
        before, past = (None, None) if state is None else state
        x = self.input_neuron(x)
        attended, after = self.attention(x, before, valid)
        x = self.middle_neuron(x + self.attended_neuron(attended))
        fed_forward, past = self.feed_forward(x, past, valid)
        return x + fed_forward, BlockState(after, past)

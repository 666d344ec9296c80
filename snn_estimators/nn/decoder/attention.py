"""Self-attention: spiking (a linear recurrence) and softmax (the non-spiking twin's)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from snn_estimators._validation import check_choices
from snn_estimators.nn.neurons import NeuronFactory
from snn_estimators.nn.norms import NormFactory
from snn_estimators.nn.spiking_linear import SpikingLinear, previous_tokens
from snn_estimators.ops import AttentionParameters, spiking_attention
from snn_estimators.ops.attention import decay_powers

ATTENTION_DECAYS = (None, "fixed", "learned")


def split_heads(x: Tensor, heads: int) -> Tensor:
    """Reshape [..., sequence, width] to [..., heads, sequence, width / heads]."""
    return x.unflatten(-1, (heads, -1)).transpose(-2, -3)


def merge_heads(x: Tensor) -> Tensor:
    """Undo `split_heads`."""
    return x.transpose(-2, -3).flatten(-2)


class SpikingCore(nn.Module):
    """Multiply queries, keys and values: ``(Q K^T) V * scale`` over the past, head by head.

    With a "fixed" decay head h = 1, 2, ... forgets by the factor 1 - 2^-h per token, a leak made of
    shifts; "learned" ones start there. Dropout acts on the token-to-token scores.
    """

    rates: Tensor

    def __init__(self, heads: int, scale: float, decay: str | None, dropout: float) -> None:
        super().__init__()
        check_choices({"attention_decay": ATTENTION_DECAYS}, attention_decay=decay)
        self.heads, self.scale, self.decay_kind = heads, scale, decay
        self.dropout = nn.Dropout(dropout)
        rates = logits = torch.empty(heads)
        if not rates.is_meta:  # where PyTorch imports its compiler to compute
            rates = 1 - 0.5 ** torch.arange(1.0, heads + 1).clamp_max(16)
            logits = torch.logit(rates)
        if decay == "fixed":
            self.register_buffer("rates", rates, persistent=False)
        elif decay == "learned":
            self.rate_logits = nn.Parameter(logits)

    @property
    def decay(self) -> Tensor | None:
        """Factor per token by which each head's memory shrinks, shape [heads]."""
        if self.decay_kind is None:
            return None
        return self.rates if self.decay_kind == "fixed" else torch.sigmoid(self.rate_logits)

    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, state: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Attend; all shapes [time, batch, sequence, width], state [..., heads, dim, dim]."""
        q, k, v = (split_heads(x, self.heads) for x in (q, k, v))
        if self.training and self.dropout.p > 0:  # scores must exist to be dropped
            within = decay_powers(q.shape[-2], self.decay, like=q).within
            out = self.dropout(q @ k.mT * within) @ v
        else:
            out, state = spiking_attention(q, k, v, AttentionParameters(self.decay), state)
        return merge_heads(out) * self.scale, state


class SoftmaxCore(nn.Module):
    """Causal softmax attention; its state is the keys and values of the past."""

    def __init__(self, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout

    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, state: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Attend; all shapes [time, batch, sequence, width]."""
        q, k, v = (split_heads(x, self.heads) for x in (q, k, v))
        if state is not None:
            k, v = torch.cat([state[0], k], dim=-2), torch.cat([state[1], v], dim=-2)
        new, past = q.shape[-2], k.shape[-2] - q.shape[-2]
        visible = torch.ones(new, past + new, dtype=torch.bool, device=q.device).tril(past)
        out = nn.functional.scaled_dot_product_attention(
            q, k, v, attn_mask=visible, dropout_p=self.dropout if self.training else 0.0
        )
        return merge_heads(out), (k, v)


class LinearCore(nn.Module):
    r"""Causal linear attention, a recurrence as spiking attention is one.

    :math:`o_i = \phi(q_i) M_i / (\phi(q_i) \cdot z_i)`, where :math:`M` adds up
    :math:`\phi(k)^\top v`, :math:`z` adds up :math:`\phi(k)`, and :math:`\phi` is ELU + 1.

    References
    ----------
    Katharopoulos et al., "Transformers are RNNs", ICML 2020.
    """

    def __init__(self, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, nn.Dropout(dropout)

    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, state: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Attend; all shapes [time, batch, sequence, width], state a matrix and a vector a head."""
        q, k, v = (split_heads(x, self.heads) for x in (q, k, v))
        q, k = nn.functional.elu(q) + 1, nn.functional.elu(k) + 1
        memory, before = (None, 0.0) if state is None else state
        out, memory = spiking_attention(q, k, v, AttentionParameters(), memory)
        sums = before + k.cumsum(-2)
        out = self.dropout(out / (q * sums).sum(-1, keepdim=True))
        return merge_heads(out), (memory, sums[..., -1:, :])


REAL_CORES: dict[str, Callable[[int, float], nn.Module]] = {
    "softmax": SoftmaxCore,
    "linear": LinearCore,
}
"""Attention of non-spiking models by name, each made from heads and dropout."""


class AttentionState(NamedTuple):
    """State of attention after the tokens so far."""

    core: Tensor | tuple[Tensor, Tensor] | None
    """The core's state: a matrix a head, or what the real cores keep."""
    past: Tensor | None
    """Inputs of the last tokens, for the token shift: [time, batch, tokens, width]."""


class SelfAttention(nn.Module):
    """Projections to queries, keys and values, a core, neurons, and the way out.

    With neurons that spike and a `SpikingCore` this is spiking self-attention; with
    ``nn.Identity`` and one of `REAL_CORES`, the non-spiking twin's.
    """

    def __init__(
        self,
        width: int,
        core: nn.Module,
        norm: NormFactory,
        neuron: NeuronFactory,
        input_neuron: NeuronFactory = nn.Identity,
        output_neuron: NeuronFactory = nn.Identity,
        token_shift: int = 0,
    ) -> None:
        super().__init__()
        self.input_neuron = input_neuron(width)
        self.query = SpikingLinear(width, width, norm, neuron, token_shift)
        self.key = SpikingLinear(width, width, norm, neuron, token_shift)
        self.value = SpikingLinear(width, width, norm, neuron, token_shift)
        self.core = core
        self.neuron = neuron(width)
        self.output = SpikingLinear(width, width, norm, output_neuron)
        self.token_shift = token_shift

    def forward(
        self, x: Tensor, state: AttentionState | None = None, valid: Tensor | None = None
    ) -> tuple[Tensor, AttentionState]:
        """Map x, shape [time, batch, sequence, width], and the state of the tokens before it.

        `valid`, shape [batch, sequence], is False where a token is padding.
        """
        x = self.input_neuron(x)
        core_state, past = (None, None) if state is None else state
        previous = None
        if self.token_shift:
            previous, past = previous_tokens(x, self.token_shift, past)
        q, k, v = (p(x, previous, valid) for p in (self.query, self.key, self.value))
        attended, core_state = self.core(q, k, v, core_state)
        return self.output(self.neuron(attended), None, valid), AttentionState(core_state, past)

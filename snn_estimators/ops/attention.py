r"""Causal spiking self-attention: a linear recurrence, because it has no softmax.

With queries, keys and values :math:`q_i, k_j, v_j` and an optional decay :math:`\lambda` per head,

.. math:: o_i = \sum_{j \le i} \lambda^{i-j} (q_i \cdot k_j)\, v_j = q_i M_i, \qquad
          M_i = \lambda M_{i-1} + k_i^\top v_i .

The first form is quadratic in the sequence, the second constant per token; `spiking_attention`
uses the first inside chunks and the second between them, so its cost is linear in the sequence and
its state, :math:`M`, is all that a continuing sequence needs. On spikes and without decay every
intermediate value is an integer, so all forms agree to the bit.

References: Zhou et al., "Spikformer", ICLR 2023 (attention without softmax); Katharopoulos et al.,
"Transformers are RNNs", ICML 2020 (the recurrence); Sun et al., "Retentive network", 2023 (decay).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from snn_estimators.ops._backends import choose_backend


class AttentionParameters(NamedTuple):
    """How heads forget."""

    decay: Tensor | None = None
    """Factor in (0, 1] by which a head's memory shrinks from token to token, shape ``[heads]``."""


class AttentionOutput(NamedTuple):
    """Result of attention, and the state that continues the sequence."""

    out: Tensor
    """Shape ``[..., heads, sequence, head_dim]``."""
    state: Tensor
    """The matrix M after the last token, shape ``[..., heads, head_dim, head_dim]``."""


_DEFAULTS = AttentionParameters()


def spiking_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    parameters: AttentionParameters = _DEFAULTS,
    state: Tensor | None = None,
    *,
    backend: str = "auto",
) -> AttentionOutput:
    """Causal attention without softmax.

    Parameters
    ----------
    q, k, v : Tensor, shape [..., heads, sequence, head_dim]
        Queries, keys and values; usually spikes.
    parameters : AttentionParameters, optional
    state : Tensor, shape [..., heads, head_dim, head_dim], optional
        Memory of the sequence so far; empty when left out.
    backend : {"auto", "chunked", "reference"}, default="auto"
        "auto" is "chunked": tokens are handled 32 at once. "reference" goes token by token.

    Returns
    -------
    AttentionOutput
        ``out`` and the last ``state``. Feeding `state` to the next call continues the sequence.

    Raises
    ------
    ValueError
        For an empty sequence or an unknown backend.

    Examples
    --------
    >>> import torch
    >>> q = k = v = torch.ones(1, 3, 1)  # one head, three tokens, one dimension
    >>> spiking_attention(q, k, v).out.ravel()
    tensor([1., 2., 3.])
    >>> spiking_attention(q, k, v, AttentionParameters(decay=torch.tensor([0.5]))).out.ravel()
    tensor([1.0000, 1.5000, 1.7500])
    """
    if q.shape[-2] == 0:
        raise ValueError("q, k and v hold no token at all.")
    plain = {"chunked": spiking_attention_chunked, "reference": spiking_attention_reference}
    attend = choose_backend(backend, (q, k, v), plain, exported=_attend_within)
    result: AttentionOutput = attend(q, k, v, parameters, state)
    return result


def spiking_attention_chunked(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    parameters: AttentionParameters = _DEFAULTS,
    state: Tensor | None = None,
    *,
    chunk_size: int = 32,
) -> AttentionOutput:
    """Attend within chunks, and from each chunk to the state before it (see `spiking_attention`).

    `chunk_size` changes the speed, not the result.
    """
    if chunk_size < 1:
        raise ValueError(f"chunk_size={chunk_size} must be at least 1.")
    outs = []
    chunks = zip(*(x.split(chunk_size, dim=-2) for x in (q, k, v)), strict=True)
    for q_c, k_c, v_c in chunks:
        out, state = _attend_within(q_c, k_c, v_c, parameters, state)
        outs.append(out)
    assert state is not None
    return AttentionOutput(outs[0] if len(outs) == 1 else torch.cat(outs, dim=-2), state)


def _attend_within(
    q: Tensor, k: Tensor, v: Tensor, parameters: AttentionParameters, state: Tensor | None
) -> AttentionOutput:
    """Attend among all tokens at once, and to the state before them."""
    weights = decay_powers(q.shape[-2], parameters.decay, like=q)
    out = (q @ k.mT * weights.within) @ v
    if state is not None:
        out = out + (q * weights.since_start) @ state
    grown = (k * weights.until_end).mT @ v
    return AttentionOutput(out, grown if state is None else state * weights.over + grown)


class DecayPowers(NamedTuple):
    """Powers of the decay inside a chunk of C tokens, shaped to multiply [..., heads, C, *]."""

    within: Tensor
    """From each token to each later one; zero towards the past. ``[(heads,) C, C]``"""
    since_start: Tensor
    """From before the chunk to each of its tokens. ``[(heads,) C, 1]``"""
    until_end: Tensor
    """From each token to the chunk's last. ``[(heads,) C, 1]``"""
    over: Tensor
    """Over the whole chunk. ``[(heads,) 1, 1]``"""


def decay_powers(size: int, decay: Tensor | None, *, like: Tensor) -> DecayPowers:
    """Tabulate the powers of `decay` that a chunk of `size` tokens needs.

    Examples
    --------
    >>> import torch
    >>> decay_powers(2, torch.tensor([0.5]), like=torch.zeros(1)).within
    tensor([[[1.0000, 0.0000],
             [0.5000, 1.0000]]])
    """
    if decay is None:
        one = torch.ones(1, 1, device=like.device, dtype=like.dtype)
        within = torch.ones(size, size, device=like.device, dtype=like.dtype).tril()
        return DecayPowers(within, one, one, one)
    step = torch.arange(size, device=like.device)
    lag = step[:, None] - step
    rate = decay.to(like.dtype)[:, None, None]
    within = (rate ** lag.clamp_min(0)).tril()
    return DecayPowers(
        within, rate ** (step[:, None] + 1), rate ** (size - 1 - step[:, None]), rate**size
    )


def spiking_attention_reference(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    parameters: AttentionParameters = _DEFAULTS,
    state: Tensor | None = None,
) -> AttentionOutput:
    """Run the recurrence token by token: the definition (see `spiking_attention`)."""
    decay = parameters.decay
    rate = 1.0 if decay is None else decay.to(q.dtype)[:, None, None]
    if state is None:
        state = q.new_zeros(*q.shape[:-2], q.shape[-1], v.shape[-1])
    outs = []
    for q_t, k_t, v_t in zip(q.unbind(-2), k.unbind(-2), v.unbind(-2), strict=True):
        state = rate * state + k_t.unsqueeze(-1) * v_t.unsqueeze(-2)
        outs.append((q_t.unsqueeze(-2) @ state).squeeze(-2))
    return AttentionOutput(torch.stack(outs, dim=-2), state)

r"""The weighted key-value average of RWKV-4: attention whose weights only decay.

Per channel, with decay :math:`\delta = e^{w} > 0` a token and bonus :math:`u` for the current one,

.. math::
    o_t &= \frac{A_{t-1} + e^{u + k_t} v_t}{B_{t-1} + e^{u + k_t}} \\
    A_t &= e^{-\delta} A_{t-1} + e^{k_t} v_t, \qquad B_t = e^{-\delta} B_{t-1} + e^{k_t} .

The sums overflow long before they mean anything, so they are kept as :math:`A = a\,e^{\epsilon}`,
:math:`B = b\,e^{\epsilon}` with the running maximum
:math:`\epsilon_t = \max(\epsilon_{t-1} - \delta, k_t)`; no exponential below has a positive
argument.

The exponent is bookkeeping: outputs and true sums do not depend on how a sum is divided between
factor and exponent, so no gradient flows through :math:`\epsilon`, and those that flow through
:math:`a` and :math:`b` are complete as long as a state is used as a whole.

Reference: Peng et al., "RWKV: reinventing RNNs for the transformer era", EMNLP 2023 (equations 16
and 19 to 28).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

EMPTY = -1e38
"""The exponent of a sum without terms: finite, so that differences stay defined."""


class WKVState(NamedTuple):
    """Sums over the tokens so far, each of shape ``[batch, channels]``."""

    numerator: Tensor
    """Of the values, scaled by ``exp(-exponent)``."""
    denominator: Tensor
    """Of the weights, scaled by ``exp(-exponent)``."""
    exponent: Tensor
    """Running maximum of the decayed keys; receives no gradient."""


class WKVOutput(NamedTuple):
    """Result of the average and the state to go on from."""

    out: Tensor
    """Shape ``[batch, sequence, channels]``."""
    state: WKVState
    """The sums after the last token."""


def wkv(
    time_decay: Tensor,
    time_first: Tensor,
    key: Tensor,
    value: Tensor,
    state: WKVState | None = None,
    *,
    backend: str = "auto",
) -> WKVOutput:
    """Average the values so far, weighted by their keys and their age.

    Parameters
    ----------
    time_decay : Tensor, shape [channels]
        Logarithm of the decay: a weight shrinks by the factor ``exp(-exp(time_decay))`` a token.
    time_first : Tensor, shape [channels]
        Bonus that is added to the key of the current token.
    key, value : Tensor, shape [batch, sequence, channels]
    state : WKVState, optional
        Sums over the tokens before; empty when left out.
    backend : {"auto", "numba", "chunked", "reference"}, default="auto"
        "auto" takes numba for float32 on the CPU, "chunked" everywhere else. "reference" goes
        token by token.

    Returns
    -------
    WKVOutput
        ``out`` and the last ``state``. Feeding `state` to the next call continues the sequence.

    Raises
    ------
    ValueError
        For an empty sequence, shapes that do not fit together, or an unknown backend.

    Examples
    --------
    >>> import torch
    >>> halve = torch.tensor([2.0]).log().log()  # a weight halves from token to token
    >>> key, value = torch.zeros(1, 3, 1), torch.tensor([[[0.0], [0.0], [1.0]]])
    >>> out, state = wkv(halve, torch.zeros(1), key, value)
    >>> out.ravel(), state.denominator.item()  # the last: 1 / (1 + 1 + 1/2)
    (tensor([0.0000, 0.0000, 0.4000]), 1.75)
    """
    return wkv_reference(time_decay, time_first, key, value, state or empty_state(key))


def empty_state(key: Tensor) -> WKVState:
    """Return the sums over no token at all, for keys of shape [batch, sequence, channels]."""
    nothing = torch.zeros_like(key[:, 0])
    return WKVState(nothing, nothing, torch.full_like(nothing, EMPTY))


def wkv_reference(
    time_decay: Tensor, time_first: Tensor, key: Tensor, value: Tensor, state: WKVState
) -> WKVOutput:
    """Run the recurrence token by token in plain PyTorch: the definition (see `wkv`)."""
    decay = time_decay.exp()
    a, b, exponent = state.numerator, state.denominator, state.exponent.detach()
    outs = []
    for k, v in zip(key.unbind(1), value.unbind(1), strict=True):
        top = torch.maximum(exponent, (time_first + k).detach())
        past, present = (exponent - top).exp(), (time_first + k - top).exp()
        outs.append((past * a + present * v) / (past * b + present))
        top = torch.maximum(exponent - decay, k).detach()
        past, present = (exponent - decay - top).exp(), (k - top).exp()
        a, b, exponent = past * a + present * v, past * b + present, top
    return WKVOutput(torch.stack(outs, 1), WKVState(a, b, exponent))

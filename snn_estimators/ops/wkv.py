r"""The weighted key-value average of RWKV-4: attention whose weights only decay.

Per channel, with decay :math:`\delta = e^{w} > 0` a token and bonus :math:`u` for the current one,

.. math::
    o_t &= \frac{A_{t-1} + e^{u + k_t} v_t}{B_{t-1} + e^{u + k_t}} \\
    A_t &= e^{-\delta} A_{t-1} + e^{k_t} v_t, \qquad B_t = e^{-\delta} B_{t-1} + e^{k_t} .

The sums would overflow, so they are kept as :math:`A = a\,e^{\epsilon}`,
:math:`B = b\,e^{\epsilon}` with the running maximum
:math:`\epsilon_t = \max(\epsilon_{t-1} - \delta, k_t)` (:math:`\delta` rounded, see
`split_decay`); no exponential below has a positive argument.

The exponent is bookkeeping: outputs and true sums do not depend on how a sum is divided between
factor and exponent, so no gradient flows through :math:`\epsilon`, and those that flow through
:math:`a` and :math:`b` are complete as long as a state is used as a whole.

Reference: Peng et al., "RWKV: reinventing RNNs for the transformer era", EMNLP 2023 (equations 16
and 19 to 28).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from snn_estimators.ops._backends import Twin, choose_backend
from snn_estimators.ops._exported import is_short, loop
from snn_estimators.ops._wkv_operator import wkv_operator

EMPTY = -1e38  # the exponent of a sum without terms: finite, so that differences stay defined
GRID = 2**16  # steps between whole numbers at which decays are rounded


class WKVParameters(NamedTuple):
    """What each channel weighs by, both of shape ``[channels]``."""

    time_decay: Tensor
    """Logarithm of the decay: a weight shrinks by the factor ``exp(-exp(time_decay))`` a token."""
    time_first: Tensor
    """Bonus that is added to the key of the current token."""


class WKVState(NamedTuple):
    """Sums over the tokens so far, each of shape ``[batch, channels]``."""

    numerator: Tensor
    """Of the values, scaled by ``exp(-exponent)``."""
    denominator: Tensor
    """Of the weights, scaled by ``exp(-exponent)``."""
    exponent: Tensor
    """Running maximum of the decayed keys; receives no gradient."""


class WKVOutput(NamedTuple):
    """Result of the average, and the state that continues the sequence."""

    out: Tensor
    """Shape ``[batch, sequence, channels]``."""
    state: WKVState
    """The sums after the last token."""


def wkv(
    key: Tensor,
    value: Tensor,
    parameters: WKVParameters,
    state: WKVState | None = None,
    *,
    backend: str = "auto",
) -> WKVOutput:
    """Average the values so far, weighted by their keys and their age.

    Parameters
    ----------
    key, value : Tensor, shape [batch, sequence, channels]
    parameters : WKVParameters
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
    >>> out, state = wkv(key, value, WKVParameters(halve, torch.zeros(1)))
    >>> out.ravel(), state.denominator.item()  # the last: 1 / (1 + 1 + 1/2)
    (tensor([0.0000, 0.0000, 0.4000]), 1.75)
    """
    _check_shapes(key, value, parameters, state)
    inputs = (key, value, *parameters, *(() if state is None else state))
    plain = {"chunked": wkv_chunked, "reference": wkv_reference}
    average = choose_backend(backend, inputs, plain, twin=_TWIN, exported=_wkv_exported)
    result: WKVOutput = average(key, value, parameters, state)
    return result


def empty_state(key: Tensor) -> WKVState:
    """Return the sums over no token at all, for keys of shape [batch, sequence, channels]."""
    nothing = key.new_zeros(key.shape[0], key.shape[2])
    lowest = max(EMPTY, torch.finfo(key.dtype).min)
    return WKVState(nothing, nothing, torch.full_like(nothing, lowest))


def _operator(
    key: Tensor, value: Tensor, parameters: WKVParameters, state: WKVState | None
) -> WKVOutput:
    start = empty_state(key) if state is None else state
    out, end = wkv_operator(key, value, parameters, start)
    return WKVOutput(out, WKVState(*end))


_TWIN = Twin("wkv", _operator)


def _check_shapes(
    key: Tensor, value: Tensor, parameters: WKVParameters, state: WKVState | None
) -> None:
    """Raise ValueError unless all shapes fit the key's."""
    if key.dim() != 3 or key.shape[1] == 0:
        raise ValueError(
            f"key needs the shape [batch, sequence, channels] with at least one token, "
            f"got {tuple(key.shape)}."
        )
    batch, _, channels = key.shape
    wanted = {
        "value": (value, key.shape),
        **{name: (part, (channels,)) for name, part in parameters._asdict().items()},
    }
    for name, part in {} if state is None else state._asdict().items():
        wanted[f"state.{name}"] = (part, (batch, channels))
    for name, (tensor, shape) in wanted.items():
        if tensor.shape != shape:
            raise ValueError(
                f"{name} has shape {tuple(tensor.shape)}, but a key of shape {tuple(key.shape)} "
                f"needs {tuple(shape)}."
            )


def split_decay(decay: Tensor) -> tuple[Tensor, Tensor]:
    """Divide the decay: the part to subtract from exponents, and the factor for the rest of it.

    Subtracting a small decay from an exponent, token after token, would round it in the same
    direction each time: in float32 the memory of slow channels would be off by up to a percent.
    Multiples of 2^-16 are subtracted exactly from exponents up to 256.
    """
    coarse = (decay.detach().double() * GRID).round().div(GRID).to(decay.dtype)
    return coarse, (coarse.double() - decay.double()).exp().to(decay.dtype)


def wkv_reference(
    key: Tensor, value: Tensor, parameters: WKVParameters, state: WKVState | None = None
) -> WKVOutput:
    """Run the recurrence token by token in plain PyTorch: the definition (see `wkv`)."""
    time_decay, time_first = parameters
    coarse, factor = split_decay(time_decay.exp())
    state = empty_state(key) if state is None else state
    state = state._replace(exponent=state.exponent.detach())
    outs = []
    for k, v in zip(key.unbind(1), value.unbind(1), strict=True):
        out, state = _one_token(k, v, state, time_first, coarse, factor)
        outs.append(out)
    return WKVOutput(torch.stack(outs, 1), state)


def _one_token(
    key: Tensor,
    value: Tensor,
    state: WKVState,
    time_first: Tensor,
    coarse: Tensor,
    factor: Tensor,
) -> tuple[Tensor, WKVState]:
    """Return the average at a token, and the state after it."""
    a, b, exponent = state
    bonus = time_first + key
    top = torch.maximum(exponent, bonus).detach()
    past, present = (exponent - top).exp(), (bonus - top).exp()
    out = (past * a + present * value) / (past * b + present)
    exponent = exponent - coarse
    top = torch.maximum(exponent, key).detach()
    past, present = (exponent - top).exp() * factor, (key - top).exp()
    return out, WKVState(past * a + present * value, past * b + present, top)


def _wkv_exported(
    key: Tensor, value: Tensor, parameters: WKVParameters, state: WKVState | None
) -> WKVOutput:
    """Run the tokens as one loop of the exported graph."""
    if is_short(key.shape[1]):
        return wkv_reference(key, value, parameters, state)
    time_decay, time_first = parameters
    coarse, factor = split_decay(time_decay.exp())

    def step(sums: tuple, token: tuple[Tensor, Tensor]) -> tuple[tuple, Tensor]:
        out, after = _one_token(*token, WKVState(*sums), time_first, coarse, factor)
        return tuple(after), out

    start = tuple(empty_state(key) if state is None else state)
    sums, out = loop(step, start, (key.movedim(1, 0), value.movedim(1, 0)))
    return WKVOutput(out.movedim(0, 1), WKVState(*sums))


def wkv_chunked(
    key: Tensor, value: Tensor, parameters: WKVParameters, state: WKVState | None = None
) -> WKVOutput:
    """Run chunks side by side, then join them: 2 sqrt(T) steps of plain PyTorch instead of T."""
    tokens = key.shape[1]
    if tokens < 16:  # joining would cost more than it saves
        return wkv_reference(key, value, parameters, state)
    time_decay, time_first = parameters
    state = empty_state(key) if state is None else state
    size = math.isqrt(tokens)
    chunks = tokens // size
    coarse, factor = split_decay(time_decay.exp())

    def aged(sums: WKVState, steps: int | Tensor) -> WKVState:
        keep = factor**steps
        return WKVState(
            keep * sums.numerator, keep * sums.denominator, sums.exponent - steps * coarse
        )

    whole = size * chunks
    k, v = (x[:, :whole].unflatten(1, (chunks, size)) for x in (key, value))
    one = key.new_ones(())
    nothing = (x[:, None].expand(-1, chunks, -1) for x in empty_state(key))
    sums = WKVState(*nothing)  # of each chunk by itself
    within = []  # before each token, of its own chunk
    for k_i, v_i in zip(k.unbind(2), v.unbind(2), strict=True):
        within.append(sums)
        sums = _merged(aged(sums, 1), WKVState(v_i, one, k_i))
    before = []  # before each chunk
    state = state._replace(exponent=state.exponent.detach())
    for c in range(chunks):
        before.append(state)
        state = _merged(aged(state, size), WKVState(*(x[:, c] for x in sums)))

    since = torch.arange(size, device=key.device)[:, None]
    earlier = aged(WKVState(*(x[:, :, None] for x in _stacked(before, 1))), since)
    seen = _merged(earlier, _stacked(within, 2))
    seen = _merged(seen, WKVState(v, one, time_first + k))
    out = (seen.numerator / seen.denominator).flatten(1, 2)
    if whole < tokens:
        rest = wkv_chunked(key[:, whole:], value[:, whole:], parameters, state)
        return WKVOutput(torch.cat([out, rest.out], 1), rest.state)
    return WKVOutput(out, state)


def _merged(x: WKVState, y: WKVState) -> WKVState:
    """Add two sums under their larger exponent."""
    top = torch.maximum(x.exponent, y.exponent).detach()
    p, q = (x.exponent - top).exp(), (y.exponent - top).exp()
    numerator = p * x.numerator + q * y.numerator
    return WKVState(numerator, p * x.denominator + q * y.denominator, top)


def _stacked(sums: list[WKVState], dim: int) -> WKVState:
    return WKVState(*(torch.stack(parts, dim) for parts in zip(*sums, strict=True)))

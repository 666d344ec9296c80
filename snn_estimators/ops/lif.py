r"""Leaky integrate-and-fire neurons along one axis: time, or the tokens of a sequence.

.. math::
    h_t &= v_{t-1} + \bigl(x_t - (v_{t-1} - v_\text{reset})\bigr) / \tau \\
    s_t &= [h_t \ge v_\text{threshold}] \\
    v_t &= (1 - s_t)\,h_t + s_t\,v_\text{reset}
        \qquad\text{or, soft, } v_t = h_t - s_t\,v_\text{threshold}

One function, two bodies: `lif_reference` is the definition, in plain PyTorch on any device and
dtype; a numba twin with its own backward runs float32 on the CPU. Spikes and membranes of the two
are equal to the bit, and equal SpikingJelly's.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from snn_estimators.ops._backends import Twin, choose_backend
from snn_estimators.ops._exported import is_short, loop
from snn_estimators.ops._lif_operator import lif_operator
from snn_estimators.ops.surrogate import SURROGATES, resolve_surrogate, spike


class LIFParameters(NamedTuple):
    """What a layer of leaky integrate-and-fire neurons is like."""

    tau: float = 2.0
    """Membrane time constant, in steps; at least 1."""
    v_threshold: float | Tensor = 1.0
    """Firing threshold, inclusive; a tensor broadcasts to the state and receives a gradient."""
    v_reset: float | None = 0.0
    """Membrane after a spike; None subtracts the threshold instead (soft reset)."""
    detach_reset: bool = False
    """Cut the gradient that flows through the spike of the reset."""
    surrogate: str = "sigmoid"
    """Derivative of a spike: a name in `SURROGATES`."""
    alpha: float | None = None
    """Slope of the surrogate; its default depends on `surrogate`."""


class LIFOutput(NamedTuple):
    """What a scan of neurons leaves behind."""

    spikes: Tensor
    """Zeros and ones, shape of the input."""
    state: Tensor
    """Membrane after the last reset, shape of the input without its time axis."""


_DEFAULTS = LIFParameters()
_TWIN = Twin("lif", lif_operator)


def lif(
    x: Tensor,
    parameters: LIFParameters = _DEFAULTS,
    state: Tensor | None = None,
    *,
    dim: int = 0,
    backend: str = "auto",
) -> LIFOutput:
    """Run leaky integrate-and-fire neurons along one axis of `x`.

    Parameters
    ----------
    x : Tensor, shape [..., time, ...]
        Input current.
    parameters : LIFParameters, optional
    state : Tensor, shape of `x` without its time axis, optional
        Membrane to start from; at rest (`v_reset`, or 0 for a soft reset) when left out.
    dim : int, default=0
        The time axis: the one along which the membranes integrate.
    backend : {"auto", "numba", "reference"}, default="auto"
        "auto" takes numba for float32 on the CPU, the reference everywhere else.

    Returns
    -------
    LIFOutput
        ``spikes`` and the last ``state``. Feeding `state` to the next call continues the scan.

    Raises
    ------
    ValueError
        For a missing or empty time axis, a state of another shape, `tau` below 1, or an unknown
        option.

    Examples
    --------
    >>> import torch
    >>> spikes, state = lif(torch.full((3, 1), 1.5))
    >>> spikes.ravel(), state  # charge 0.75, 1.125 (fires), 0.75
    (tensor([0., 1., 0.]), tensor([0.7500]))
    >>> lif(torch.full((1, 3), 1.5), LIFParameters(v_threshold=0.7), dim=1).spikes
    tensor([[1., 1., 1.]])
    """
    parameters = parameters._replace(
        alpha=resolve_surrogate(parameters.surrogate, parameters.alpha)
    )
    if not -x.dim() <= dim < x.dim():
        raise ValueError(f"dim={dim} is no axis of x, which has shape {tuple(x.shape)}.")
    dim %= x.dim()
    if x.shape[dim] == 0:
        raise ValueError(
            f"x needs a time axis of at least one step, got {tuple(x.shape)} with dim={dim}."
        )
    if not parameters.tau >= 1:
        raise ValueError(
            f"tau={parameters.tau} must be at least 1: the membrane may not leak more than all."
        )
    one_step = x.shape[:dim] + x.shape[dim + 1 :]
    if state is not None and state.shape != one_step:
        raise ValueError(
            f"state has shape {tuple(state.shape)}, one step of x has {tuple(one_step)}."
        )
    compiled = SURROGATES[parameters.surrogate].kernel is not None
    scan = choose_backend(
        backend,
        [x] if state is None else [x, state],
        {"reference": lif_reference},
        twin=_TWIN,
        lacks=None if compiled else f"surrogate={parameters.surrogate!r}",
        exported=_lif_exported,
    )
    return LIFOutput(*scan(x, parameters, state, dim=dim))


def lif_reference(
    x: Tensor,
    parameters: LIFParameters = _DEFAULTS,
    state: Tensor | None = None,
    *,
    dim: int = 0,
) -> LIFOutput:
    """Run the recurrence step by step in plain PyTorch: the definition (see `lif`)."""
    tau, v_threshold, v_reset, detach_reset, surrogate, alpha = parameters
    rest = 0.0 if v_reset is None else v_reset
    v = torch.full_like(x.select(dim, 0), rest) if state is None else state
    spikes = []
    for x_t in x.unbind(dim):
        h = v + (x_t - (v - rest)) / tau
        s = spike(h - v_threshold, surrogate, alpha)
        reset = s.detach() if detach_reset else s
        v = h - reset * v_threshold if v_reset is None else (1.0 - reset) * h + reset * rest
        spikes.append(s)
    return LIFOutput(torch.stack(spikes, dim), v)


def _lif_exported(
    x: Tensor, parameters: LIFParameters, state: Tensor | None, *, dim: int
) -> LIFOutput:
    """Run a long axis, or one of any length, as one loop of the exported graph."""
    if is_short(x.shape[dim]):
        return lif_reference(x, parameters, state, dim=dim)
    rest = 0.0 if parameters.v_reset is None else parameters.v_reset
    v = torch.full_like(x.select(dim, 0), rest) if state is None else state

    def step(state: tuple[Tensor], inputs: tuple[Tensor]) -> tuple[tuple[Tensor], Tensor]:
        spikes, v = lif_reference(inputs[0][None], parameters, state[0])
        return (v,), spikes[0]

    (v,), spikes = loop(step, (v,), (x.movedim(dim, 0),))
    return LIFOutput(spikes.movedim(0, dim), v)

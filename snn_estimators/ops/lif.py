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

from snn_estimators.ops._backends import choose_backend
from snn_estimators.ops.surrogate import resolve_surrogate, spike


class LIFOutput(NamedTuple):
    """What a scan of neurons leaves behind."""

    spikes: Tensor
    """Zeros and ones, shape of the input."""
    v: Tensor
    """Membrane after the last reset, shape of the input without its time axis: the state to go on
    from."""


def lif(
    x: Tensor,
    v: Tensor | None = None,
    *,
    dim: int = 0,
    tau: float = 2.0,
    v_threshold: float | Tensor = 1.0,
    v_reset: float | None = 0.0,
    detach_reset: bool = False,
    surrogate: str = "sigmoid",
    alpha: float | None = None,
    backend: str = "auto",
) -> LIFOutput:
    """Run leaky integrate-and-fire neurons along one axis of `x`.

    Parameters
    ----------
    x : Tensor, shape [..., time, ...]
        Input current.
    v : Tensor, shape of `x` without its time axis, optional
        Membrane to start from; at rest (`v_reset`, or 0 for a soft reset) when left out.
    dim : int, default=0
        The time axis: the one along which the membranes integrate.
    tau : float, default=2.0
        Membrane time constant, in steps; at least 1.
    v_threshold : float or Tensor that broadcasts to the shape of `v`, default=1.0
        Firing threshold, inclusive. A tensor receives a gradient.
    v_reset : float or None, default=0.0
        Membrane after a spike; None subtracts the threshold instead (soft reset).
    detach_reset : bool, default=False
        Cut the gradient that flows through the spike of the reset.
    surrogate : {"sigmoid", "atan"}, default="sigmoid"
    alpha : float, optional
        Slope of the surrogate: 4 for "sigmoid", 2 for "atan" when left out.
    backend : {"auto", "numba", "reference"}, default="auto"
        "auto" takes numba for float32 on the CPU, the reference everywhere else.

    Returns
    -------
    LIFOutput
        ``spikes`` and the last membrane ``v``. Feeding `v` to the next call continues the scan.

    Raises
    ------
    ValueError
        For a missing or empty time axis, a membrane of another shape, `tau` below 1, or an unknown
        option.

    Examples
    --------
    >>> import torch
    >>> spikes, v = lif(torch.full((3, 1), 1.5))
    >>> spikes.ravel(), v  # charge 0.75, 1.125 (fires), 0.75
    (tensor([0., 1., 0.]), tensor([0.7500]))
    >>> lif(torch.full((1, 3), 1.5), dim=1).spikes
    tensor([[0., 1., 0.]])
    """
    alpha = resolve_surrogate(surrogate, alpha)
    if not -x.dim() <= dim < x.dim():
        raise ValueError(f"dim={dim} is no axis of x, which has shape {tuple(x.shape)}.")
    dim %= x.dim()
    if x.shape[dim] == 0:
        raise ValueError(
            f"x needs a time axis of at least one step, got {tuple(x.shape)} with dim={dim}."
        )
    if not tau >= 1:
        raise ValueError(f"tau={tau} must be at least 1: the membrane may not leak more than all.")
    one_step = x.shape[:dim] + x.shape[dim + 1 :]
    if v is not None and v.shape != one_step:
        raise ValueError(f"v has shape {tuple(v.shape)}, one step of x has {tuple(one_step)}.")
    inputs = [x] if v is None else [x, v]
    scan = choose_backend(backend, "lif", inputs, {"reference": lif_reference})
    out: LIFOutput = scan(
        x,
        v,
        dim=dim,
        tau=tau,
        v_threshold=v_threshold,
        v_reset=v_reset,
        detach_reset=detach_reset,
        surrogate=surrogate,
        alpha=alpha,
    )
    return out


def lif_reference(
    x: Tensor,
    v: Tensor | None,
    *,
    dim: int,
    tau: float,
    v_threshold: float | Tensor,
    v_reset: float | None,
    detach_reset: bool,
    surrogate: str,
    alpha: float,
) -> LIFOutput:
    """Run the recurrence step by step in plain PyTorch: the definition (see `lif`)."""
    rest = 0.0 if v_reset is None else v_reset
    v = torch.full_like(x.select(dim, 0), rest) if v is None else v
    spikes = []
    for x_t in x.unbind(dim):
        h = v + (x_t - (v - rest)) / tau
        s = spike(h - v_threshold, surrogate, alpha)
        reset = s.detach() if detach_reset else s
        v = h - reset * v_threshold if v_reset is None else (1.0 - reset) * h + reset * rest
        spikes.append(s)
    return LIFOutput(torch.stack(spikes, dim), v)

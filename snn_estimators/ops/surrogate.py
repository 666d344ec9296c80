r"""Spikes whose derivative is a smooth surrogate.

The forward pass is the inclusive Heaviside step :math:`s = [u \ge 0]`. Its derivative is replaced
by one of

* ``"sigmoid"``: :math:`\alpha\,\sigma(\alpha u)\,(1 - \sigma(\alpha u))`, by default with
  :math:`\alpha = 4`;
* ``"atan"``: :math:`\frac{\alpha}{2} / (1 + (\frac{\pi}{2} \alpha u)^2)`, by default with
  :math:`\alpha = 2` (Fang et al., "Incorporating learnable membrane time constant", ICCV 2021).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

DEFAULT_ALPHA = {"sigmoid": 4.0, "atan": 2.0}


def resolve_surrogate(surrogate: str, alpha: float | None) -> float:
    """Return the sharpness to use, having checked that both arguments make sense.

    Raises
    ------
    ValueError
        If `surrogate` is unknown or `alpha` is not positive.
    """
    if surrogate not in DEFAULT_ALPHA:
        raise ValueError(
            f"surrogate={surrogate!r} is unknown; choose one of {list(DEFAULT_ALPHA)}."
        )
    alpha = DEFAULT_ALPHA[surrogate] if alpha is None else float(alpha)
    if not alpha > 0:
        raise ValueError(f"alpha={alpha} must be positive: it is the surrogate's slope.")
    return alpha


def surrogate_gradient(u: Tensor, surrogate: str, alpha: float) -> Tensor:
    """Evaluate the derivative that stands in for that of the step.

    Parameters
    ----------
    u : Tensor, any shape
        Distance of the membrane to its threshold.
    surrogate : {"sigmoid", "atan"}
    alpha : float

    Examples
    --------
    >>> import torch
    >>> surrogate_gradient(torch.zeros(1), "sigmoid", 4.0).item()
    1.0
    """
    if surrogate == "sigmoid":
        sigma = torch.sigmoid(alpha * u)
        return alpha * (1.0 - sigma) * sigma
    return (alpha / 2) / (1 + (math.pi / 2 * alpha * u).square())


class _Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, u: Tensor, surrogate: str, alpha: float) -> Tensor:
        ctx.save_for_backward(u)
        ctx.surrogate, ctx.alpha = surrogate, alpha
        return (u >= 0).to(u.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (u,) = ctx.saved_tensors
        return grad * surrogate_gradient(u, ctx.surrogate, ctx.alpha), None, None


def spike(u: Tensor, surrogate: str = "atan", alpha: float | None = None) -> Tensor:
    """Step up at zero, inclusively, with a surrogate derivative.

    Parameters
    ----------
    u : Tensor, any shape
        Distance to the threshold.
    surrogate : {"atan", "sigmoid"}, default="atan"
    alpha : float, optional
        Slope of the surrogate; its default depends on `surrogate`.

    Returns
    -------
    Tensor of zeros and ones, shape and dtype of `u`.

    Examples
    --------
    >>> import torch
    >>> spike(torch.tensor([-0.1, 0.0, 0.1]))
    tensor([0., 1., 1.])
    """
    return _Spike.apply(u, surrogate, resolve_surrogate(surrogate, alpha))

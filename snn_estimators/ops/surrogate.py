r"""Spikes whose derivative is a smooth surrogate.

The forward pass is the inclusive Heaviside step :math:`s = [u \ge 0]`. Its derivative is replaced
by one of

* ``"sigmoid"``: :math:`\alpha\,\sigma(\alpha u)\,(1 - \sigma(\alpha u))`, by default with
  :math:`\alpha = 4`;
* ``"atan"``: :math:`\frac{\alpha}{2} / (1 + (\frac{\pi}{2} \alpha u)^2)`, by default with
  :math:`\alpha = 2` (Fang et al., "Incorporating learnable membrane time constant", ICCV 2021);
* one that `register_surrogate` added.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from snn_estimators._validation import check_choices, register


class Surrogate(NamedTuple):
    """A derivative that stands in for that of the step."""

    gradient: Callable[[Tensor, float], Tensor]
    """Of the distance to the threshold and `alpha`."""
    alpha: float
    """Its slope, unless another one is asked for."""
    kernel: int | None = None
    """Number of its compiled form in `_lif_numba`; without one `lif_reference` differentiates."""


SIGMOID, ATAN = 0, 1  # the compiled forms


def _sigmoid(u: Tensor, alpha: float) -> Tensor:
    sigma = torch.sigmoid(alpha * u)
    return alpha * (1.0 - sigma) * sigma


def _atan(u: Tensor, alpha: float) -> Tensor:
    return (alpha / 2) / (1 + (math.pi / 2 * alpha * u).square())


SURROGATES = {
    "sigmoid": Surrogate(_sigmoid, alpha=4.0, kernel=SIGMOID),
    "atan": Surrogate(_atan, alpha=2.0, kernel=ATAN),
}
"""Surrogates by name; `register_surrogate` adds to them."""


def register_surrogate(
    name: str,
    gradient: Callable[[Tensor, float], Tensor],
    *,
    alpha: float = 1.0,
    replace: bool = False,
) -> None:
    """Make a surrogate known as a choice of every ``surrogate`` parameter.

    Parameters
    ----------
    name : str
    gradient : callable
        Maps the membrane's distance to its threshold, of any shape, and `alpha` to the derivative.
    alpha : float, default=1.0
        What `gradient` gets unless the user asks for another slope.
    replace : bool, default=False

    Examples
    --------
    >>> import torch
    >>> from snn_estimators.ops import SURROGATES
    >>> register_surrogate("box", lambda u, alpha: alpha * (alpha * u.abs() <= 0.5).to(u.dtype))
    >>> u = torch.tensor([-1.0, 0.25, 1.0], requires_grad=True)
    >>> spike(u, "box").sum().backward()
    >>> u.grad
    tensor([0., 1., 0.])
    >>> del SURROGATES["box"]
    """
    register(SURROGATES, "surrogate", name, Surrogate(gradient, alpha), replace=replace)


def resolve_surrogate(surrogate: str, alpha: float | None) -> float:
    """Return the slope to use; raise ValueError if it or the surrogate makes no sense."""
    check_choices({"surrogate": SURROGATES}, surrogate=surrogate)
    alpha = SURROGATES[surrogate].alpha if alpha is None else float(alpha)
    if not alpha > 0:
        raise ValueError(f"alpha={alpha} must be positive: it is the surrogate's slope.")
    return alpha


def surrogate_gradient(u: Tensor, surrogate: str, alpha: float) -> Tensor:
    """Evaluate the derivative that stands in for that of the step.

    Parameters
    ----------
    u : Tensor, any shape
        Distance of the membrane to its threshold.
    surrogate : str
        A name in `SURROGATES`.
    alpha : float

    Examples
    --------
    >>> import torch
    >>> surrogate_gradient(torch.zeros(1), "sigmoid", 4.0).item()
    1.0
    """
    return SURROGATES[surrogate].gradient(u, alpha)


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
    surrogate : str, default="atan"
        A name in `SURROGATES`.
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

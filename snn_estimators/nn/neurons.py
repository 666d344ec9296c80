"""Spiking neurons as modules."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snn_estimators.ops import LIFOutput, lif
from snn_estimators.ops.surrogate import resolve_surrogate


class LIF(nn.Module):
    """Leaky integrate-and-fire neurons along the leading axis, from rest at every call.

    Parameters
    ----------
    tau : float, default=2.0
        Membrane time constant in steps.
    v_threshold : float, default=1.0
    v_reset : float or None, default=0.0
        None resets softly, by subtraction of the threshold.
    detach_reset : bool, default=True
    surrogate : {"sigmoid", "atan"}, default="sigmoid"
    surrogate_alpha : float, optional
    learnable_threshold : bool, default=False
        Make the threshold one trained number, shared by the layer.

    Notes
    -----
    With `tau` 2 and threshold 1 a constant input of 1 charges the membrane to 1 - 2^-t: below the
    threshold, until float32 rounds up at step 25. A layer fed with zeros and ones alone is
    therefore silent at any usual number of timesteps; lower the threshold or `tau` (or learn the
    threshold) to wake it.

    Examples
    --------
    >>> import torch
    >>> LIF()(torch.ones(8, 1)).sum().item(), LIF(v_threshold=0.8)(torch.ones(8, 1)).sum().item()
    (0.0, 2.0)
    """

    def __init__(
        self,
        tau: float = 2.0,
        v_threshold: float = 1.0,
        v_reset: float | None = 0.0,
        detach_reset: bool = True,
        surrogate: str = "sigmoid",
        surrogate_alpha: float | None = None,
        learnable_threshold: bool = False,
    ) -> None:
        super().__init__()
        if not tau >= 1:
            raise ValueError(f"tau={tau} must be at least 1: a membrane cannot leak more than all.")
        if not v_threshold > (v_reset or 0.0):
            raise ValueError(
                f"v_threshold={v_threshold} must lie above the resting membrane {v_reset or 0.0}, "
                "or neurons fire without input."
            )
        self.tau = tau
        self.v_reset = v_reset
        self.detach_reset = detach_reset
        self.surrogate = surrogate
        self.surrogate_alpha = resolve_surrogate(surrogate, surrogate_alpha)
        self.v_threshold: float | nn.Parameter = (
            nn.Parameter(torch.tensor(float(v_threshold))) if learnable_threshold else v_threshold
        )

    def forward(self, x: Tensor) -> Tensor:
        """Turn currents into spikes, both of shape [time, ...]."""
        return self.scan(x, None, dim=0).spikes

    def scan(self, x: Tensor, v: Tensor | None, dim: int) -> LIFOutput:
        """Integrate along an axis, from the membrane `v` or from rest; see `snn_estimators.ops`."""
        return lif(
            x,
            v,
            dim=dim,
            tau=self.tau,
            v_threshold=self.v_threshold,
            v_reset=self.v_reset,
            detach_reset=self.detach_reset,
            surrogate=self.surrogate,
            alpha=self.surrogate_alpha,
        )

    def extra_repr(self) -> str:
        """Show what distinguishes one neuron from another."""
        threshold = self.v_threshold
        shown = threshold.item() if isinstance(threshold, Tensor) else threshold
        return f"tau={self.tau}, v_threshold={shown:g}, surrogate={self.surrogate}"


class TokenLIF(LIF):
    """Neurons whose time is the sequence: from token to token the membrane goes on.

    Parameters
    ----------
    **options
        See `LIF`.

    Examples
    --------
    >>> import torch
    >>> neurons, x = TokenLIF(v_threshold=0.8), torch.ones(1, 8, 1)
    >>> start, v = neurons(x[:, :5])
    >>> rest, v = neurons(x[:, 5:], v)
    >>> torch.cat([start, rest], 1).ravel()
    tensor([0., 0., 1., 0., 0., 1., 0., 0.])
    """

    def forward(self, x: Tensor, v: Tensor | None = None) -> LIFOutput:  # type: ignore[override]
        """Turn currents [batch, sequence, features] into spikes; `v` is [batch, features]."""
        return self.scan(x, v, dim=1)

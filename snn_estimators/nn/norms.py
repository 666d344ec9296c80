"""Normalisations over the feature axis, all called as ``norm(x, valid)``.

`valid` marks the tokens that are not padding, so that padding never enters a batch statistic.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from snn_estimators._validation import register


def real_rows(x: Tensor, valid: Tensor | None) -> Tensor:
    """Flatten [time, batch, sequence, features] to [rows, features], without padding."""
    if valid is None:
        return x.reshape(-1, x.shape[-1])
    return x[valid.expand(x.shape[:-1])]


class LayerNorm(nn.LayerNorm):
    """Layer normalisation; the statistics are each token's own."""

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """Normalise x, shape [..., features]."""
        return super().forward(x)


class BatchNorm(nn.BatchNorm1d):
    """Batch normalisation over all timesteps, sequences and positions.

    In training the positions of a batch share their statistics, later ones included; in evaluation
    the running statistics make each token independent of all others. A single position has no
    variance, so it is normalised by the running statistics in training, too.
    """

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """Normalise x, shape [time, batch, sequence, features]."""
        if self.training and valid is not None and torch.compiler.is_compiling():
            return self._normalize_weighted(x, valid)
        # Rows could not be selected without waiting for the device either.
        if not self.training or valid is None or bool(valid.all()):
            return self._normalize(x.reshape(-1, x.shape[-1])).view(x.shape)
        keep = valid.expand(x.shape[:-1])
        out = torch.zeros_like(x)
        out[keep] = self._normalize(x[keep])
        return out

    def _normalize_weighted(self, x: Tensor, valid: Tensor) -> Tensor:
        """Leave padding out by sums, as rows that depend on values cannot be compiled."""
        assert self.running_mean is not None and self.running_var is not None
        weight = valid.expand(x.shape[:-1])[..., None].to(x.dtype)
        count = weight.sum()
        mean = (x * weight).sum((0, 1, 2)) / count
        variance = ((x - mean).square() * weight).sum((0, 1, 2)) / count
        mean = torch.where(count > 1, mean, self.running_mean)
        variance = torch.where(count > 1, variance, self.running_var)
        with torch.no_grad():
            share = torch.where(count > 1, self.momentum or 0.0, 0.0)
            unbiased = variance * count / (count - 1).clamp_min(1)
            self.running_mean.add_(share * (mean - self.running_mean))
            self.running_var.add_(share * (unbiased - self.running_var))
            if self.num_batches_tracked is not None:
                self.num_batches_tracked.add_((count > 1).long())
        scaled = (x - mean) * (variance + self.eps).rsqrt() * self.weight + self.bias
        return scaled * weight

    def _normalize(self, rows: Tensor) -> Tensor:
        if not self.training or rows.shape[0] > 1:
            return super().forward(rows)
        return nn.functional.batch_norm(
            rows, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
        )


class PowerNorm(nn.Module):
    """Division by the root of a running second moment; no mean is subtracted.

    Shen et al., "PowerNorm: rethinking batch normalization in transformers", ICML 2020, algorithm
    2: in the first `warmup` training steps the moment is the batch's own, later the running one,
    and the backward pass replaces the exact gradient by its running estimate.

    The reference system updates its running moment twice a step during warm-up; here it is once.

    `momentum` is the weight of the past in both running estimates.

    Examples
    --------
    >>> import torch
    >>> norm = PowerNorm(2)
    >>> norm(torch.full((1, 1, 3, 2), 4.0))[0, 0, 0].tolist()
    [0.99999..., 0.99999...]
    """

    running_moment: Tensor
    running_gradient: Tensor
    steps: Tensor

    def __init__(
        self, features: int, eps: float = 1e-5, momentum: float = 0.9, warmup: int = 10_000
    ) -> None:
        super().__init__()
        self.eps, self.momentum, self.warmup = eps, momentum, warmup
        self.weight = nn.Parameter(torch.ones(features))
        self.bias = nn.Parameter(torch.zeros(features))
        self.register_buffer("running_moment", torch.ones(features))
        self.register_buffer("running_gradient", torch.zeros(features))
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """Normalise x, shape [time, batch, sequence, features]."""
        if not self.training:
            z = x * (self.running_moment + self.eps).rsqrt()
            return self.weight * z + self.bias
        with torch.no_grad():
            moment = real_rows(x, valid).square().mean(0)
            warming, first = self.steps < self.warmup, self.steps == 0
            used = torch.where(warming, moment, self.running_moment)
            kept = torch.where(first, 0.0, self.momentum)
            self.running_moment.copy_(kept * self.running_moment + (1 - kept) * moment)
            self.steps += 1
        scale = (used + self.eps).rsqrt()
        z = _PowerScale.apply(x, scale, self.running_gradient, self.momentum, valid)
        return self.weight * z + self.bias


class _PowerScale(torch.autograd.Function):
    """Multiply by a constant scale; let the gradient lose its running component along z."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, scale: Tensor, running: Tensor, momentum: float, valid: Tensor | None
    ) -> Tensor:
        z = x * scale
        ctx.save_for_backward(z, scale)
        ctx.running, ctx.momentum, ctx.valid = running, momentum, valid
        return z

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None, None]:
        z, scale = ctx.saved_tensors
        corrected = grad - (1 - ctx.momentum) * ctx.running * z
        ctx.running.add_(real_rows(corrected * z, ctx.valid).mean(0))
        return corrected * scale, None, None, None, None


NormFactory = Callable[[int], nn.Module]

NORMALIZATIONS: dict[str, NormFactory] = {
    "layer": LayerNorm,
    "batch": BatchNorm,
    "power": PowerNorm,
}
"""Normalisations by name, each made from a width; `register_normalization` adds to them."""


def register_normalization(name: str, factory: NormFactory, *, replace: bool = False) -> None:
    """Make a normalisation known as a choice of ``normalization``.

    The energy model counts subclasses of those above, and of ``nn.LayerNorm`` and
    ``nn.BatchNorm1d``, as it counts these; for others, see
    `snn_estimators.energy.register_counter`.

    Parameters
    ----------
    name : str
    factory : callable
        Makes a module from a width. It is called as ``norm(x, valid)``: x of shape [time, batch,
        sequence, width]; valid, None or [batch, sequence], is False where a token is padding.
    replace : bool, default=False

    Examples
    --------
    >>> from snn_estimators.nn import SpikingDecoder
    >>> register_normalization("plain", lambda width: LayerNorm(width, elementwise_affine=False))
    >>> decoder = SpikingDecoder(30, normalization="plain")
    >>> del NORMALIZATIONS["plain"]
    """
    register(NORMALIZATIONS, "normalization", name, factory, replace=replace)

"""Temporal codings: how an embedding becomes spikes over the timesteps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from snn_estimators.ops import spike


class TemporalCoding(nn.Module):
    """Gives the input its time axis."""

    def __init__(self, timesteps: int) -> None:
        super().__init__()
        self.timesteps = timesteps

    def encode(self, code: Tensor) -> Tensor:
        """Map a real code, shape [...], to [time, ...]."""
        raise NotImplementedError

    def hold(self, bits: Tensor) -> Tensor:
        """Map zeros and ones, shape [...], to [time, ...]: as a rule, the same at every step."""
        return bits.expand(self.timesteps, *bits.shape)


class Repeat(TemporalCoding):
    """The same input at every timestep: spikes where the code is not negative.

    With `real` the code itself; the first neurons turn it into spikes.
    """

    def __init__(self, timesteps: int, real: bool = False) -> None:
        super().__init__(timesteps)
        self.real = real

    def encode(self, code: Tensor) -> Tensor:
        """Map a real code, shape [...], to [time, ...]."""
        return self.hold(code if self.real else spike(code, "atan"))


class _StraightThrough(torch.autograd.Function):
    """Exactly the second argument, with the gradient of the first."""

    @staticmethod
    def forward(ctx: Any, smooth: Tensor, hard: Tensor) -> Tensor:
        return hard.view_as(hard)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None


class Rate(TemporalCoding):
    r"""Intensity :math:`\sigma(\text{code})` is the share of timesteps with a spike.

    In training each timestep draws for itself; in evaluation the spikes are spread evenly, so that
    the output is a function of the input. The gradient passes straight through.

    Examples
    --------
    >>> import torch
    >>> Rate(4).eval().encode(torch.zeros(1)).ravel()  # intensity one half
    tensor([0., 1., 0., 1.])
    """

    def encode(self, code: Tensor) -> Tensor:
        """Map a real code, shape [...], to spikes, shape [time, ...]."""
        intensity = torch.sigmoid(code).expand(self.timesteps, *code.shape)
        with torch.no_grad():
            if self.training:
                spikes = torch.bernoulli(intensity)
            else:
                step = torch.arange(1, self.timesteps + 1, device=code.device)
                step = step.view(-1, *[1] * code.dim())
                spikes = (intensity * step).floor() - (intensity * (step - 1)).floor()
        return _StraightThrough.apply(intensity, spikes)


class Latency(TemporalCoding):
    r"""Time to first spike: the greater :math:`\sigma(\text{code})`, the earlier its only spike.

    Step t of T fires for the intensities between 1 - t/(T+1) and 1 - (t-1)/(T+1); the weakest
    intensities never fire.

    Examples
    --------
    >>> import torch
    >>> Latency(3).encode(torch.tensor([4.0, 0.0, -4.0])).T
    tensor([[1., 0., 0.],
            [0., 1., 0.],
            [0., 0., 0.]])
    """

    def encode(self, code: Tensor) -> Tensor:
        """Map a real code, shape [...], to spikes, shape [time, ...]."""
        step = torch.arange(1, self.timesteps + 1, device=code.device, dtype=code.dtype)
        bound = (1 - step / (self.timesteps + 1)).view(-1, *[1] * code.dim())
        has_fired = spike(torch.sigmoid(code) - bound, "atan")
        return torch.cat([has_fired[:1], has_fired[1:] - has_fired[:-1]])

    def hold(self, bits: Tensor) -> Tensor:
        """Map zeros and ones, shape [...], to [time, ...]: a one fires first and only once."""
        silence = torch.zeros_like(bits).expand(self.timesteps - 1, *bits.shape)
        return torch.cat([bits[None], silence])


TEMPORAL_CODINGS: dict[str, Callable[[int], TemporalCoding]] = {
    "repeat": Repeat,
    "rate": Rate,
    "latency": Latency,
}
"""Temporal codings by name, each made from a number of timesteps."""

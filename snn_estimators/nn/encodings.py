"""From token ids to spikes: codes for tokens and positions, and temporal coding.

A *code* maps ids to vectors and says whether these are zeros and ones already (`binary`). The same
codes serve tokens and positions; `InputEncoding` puts one of each together and hands real-valued
ones to a *temporal coding*, which makes the time axis.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from snn_estimators.ops import spike


class Code(nn.Module):
    """Maps ids, shape [...], to vectors, shape [..., width]."""

    width: int
    binary: bool
    """Whether the vectors are zeros and ones already."""

    def forward(self, ids: Tensor) -> Tensor:
        """Map ids to their vectors."""
        raise NotImplementedError


class OneHotCode(Code):
    """One column an id."""

    binary = True

    def __init__(self, size: int) -> None:
        super().__init__()
        self.width = size

    def forward(self, ids: Tensor) -> Tensor:
        """Map ids, shape [...], to zeros and ones, shape [..., width]."""
        return F.one_hot(ids, self.width).to(torch.get_default_dtype())


class BinaryCode(Code):
    """The id's binary digits, lowest first; every id has a code of its own.

    The reference system strips leading zeros and pads on the other side, so that 1, 2, 4, ... share
    one code there.

    Examples
    --------
    >>> import torch
    >>> BinaryCode(5)(torch.tensor([4, 1]))
    tensor([[0., 0., 1.],
            [1., 0., 0.]])
    """

    binary = True

    def __init__(self, size: int) -> None:
        super().__init__()
        self.width = max(1, math.ceil(math.log2(size)))

    def forward(self, ids: Tensor) -> Tensor:
        """Map ids, shape [...], to zeros and ones, shape [..., width]."""
        digits = torch.arange(self.width, device=ids.device)
        return ((ids[..., None] >> digits) & 1).to(torch.get_default_dtype())


class LearnedCode(Code):
    """A trained table of real vectors."""

    binary = False

    def __init__(self, size: int, width: int, std: float = 1e-5) -> None:
        super().__init__()
        self.width = width
        self.table = nn.Embedding(size, width)
        nn.init.normal_(self.table.weight, std=std)

    def forward(self, ids: Tensor) -> Tensor:
        """Look ids, shape [...], up: shape [..., width]."""
        return self.table(ids)


class SinusoidalCode(Code):
    r"""Sines (even columns) and cosines (odd) of :math:`i / 10000^{c / width}` for column c.

    After Vaswani et al., "Attention is all you need", 2017, with one frequency a column as in the
    reference system (the paper has one a pair).
    """

    binary = False

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, ids: Tensor) -> Tensor:
        """Map ids, shape [...], to values in [-1, 1], shape [..., width]."""
        column = torch.arange(self.width, device=ids.device, dtype=torch.float32)
        phase = ids[..., None].to(torch.float32) / (1e4 ** (column / self.width))
        wave = torch.where(column.long() % 2 == 0, phase.sin(), phase.cos())
        return wave.to(torch.get_default_dtype())


class TemporalCoding(nn.Module):
    """Gives the input its time axis.

    Parameters
    ----------
    timesteps : int
    """

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
    """The same input at every timestep: spikes where the code is not negative, or the code itself.

    Parameters
    ----------
    timesteps : int
    real : bool, default=False
        Hand on real numbers; the first neurons turn them into spikes.
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


class JointOneHot(nn.Module):
    """One column for each pair of token and position."""

    def __init__(self, vocab_size: int, max_len: int, temporal: TemporalCoding) -> None:
        super().__init__()
        self.vocab_size = vocab_size
        self.code = OneHotCode(vocab_size * max_len)
        self.width = self.code.width
        self.temporal = temporal

    def forward(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """Encode tokens at positions, as `InputEncoding` does."""
        code = self.code(tokens.clamp_min(0) + self.vocab_size * positions)
        return self.temporal.hold(code * (tokens >= 0)[..., None])


class InputEncoding(nn.Module):
    """Token code beside position code, or their sum, over time.

    Parameters
    ----------
    token, position : codes
    temporal : Repeat, Rate or Latency
    combine : bool, default=False
        Add the two codes (both real, of one width) instead of concatenating them.
    position_bias : float, default=0.0
        Subtracted from a position code beside the token's, to make fewer of its bits one.
    """

    def __init__(
        self,
        token: Code,
        position: Code,
        temporal: TemporalCoding,
        combine: bool = False,
        position_bias: float = 0.0,
    ) -> None:
        super().__init__()
        self.token, self.position, self.temporal = token, position, temporal
        self.combine, self.position_bias = combine, position_bias
        self.width = token.width if combine else token.width + position.width

    def forward(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """Encode tokens at positions.

        Parameters
        ----------
        tokens : LongTensor, shape [batch, sequence]
            Negative ids are padding: their input is zero.
        positions : LongTensor, shape [sequence]

        Returns
        -------
        Tensor, shape [time, batch, sequence, width]
        """
        real = (tokens >= 0)[..., None]
        token, position = self.token(tokens.clamp_min(0)), self.position(positions)
        if self.combine:
            return self.temporal.encode(token + position) * real
        if self.position_bias:
            position = position - self.position_bias
        parts = [
            self._over_time(self.token, token),
            self._over_time(self.position, position.expand(*tokens.shape, -1)),
        ]
        return torch.cat(parts, dim=-1) * real

    def _over_time(self, code: Code, values: Tensor) -> Tensor:
        return self.temporal.hold(values) if code.binary else self.temporal.encode(values)


def build_encoding(
    *,
    spiking: bool,
    vocab_size: int,
    max_len: int,
    encoding: str,
    position_encoding: str,
    token_dim: int,
    position_dim: int,
    combine_position: bool,
    position_bias: float,
    float_embedding: bool,
    embedding_std: float,
    timesteps: int,
    temporal_coding: str,
    **_: Any,
) -> InputEncoding | JointOneHot:
    """Build the input of a decoder from its options (see `SpikingDecoder`).

    With ``spiking=False`` the input is the twin's: learned tokens plus sinusoids or learned
    positions, real-valued, as wide as the spiking model's.
    """
    temporal: TemporalCoding
    match temporal_coding:
        case "repeat":
            temporal = Repeat(timesteps, real=float_embedding)
        case "rate":
            temporal = Rate(timesteps)
        case _:
            temporal = Latency(timesteps)

    def position_code(width: int) -> Code:
        match position_encoding:
            case "linear":
                return OneHotCode(max_len)
            case "binary":
                return BinaryCode(max_len)
            case "static":
                return SinusoidalCode(width)
            case _:
                return LearnedCode(max_len, width, embedding_std)

    def token_code() -> Code:
        match encoding:
            case "two-hot":
                return OneHotCode(vocab_size)
            case "binary":
                return BinaryCode(vocab_size)
            case _:
                return LearnedCode(vocab_size, token_dim, embedding_std)

    built: InputEncoding | JointOneHot
    if encoding == "one-hot":
        built = JointOneHot(vocab_size, max_len, temporal)
    else:
        position = position_code(token_dim if combine_position else position_dim)
        bias = position_bias if position_encoding == "static" else 0.0
        built = InputEncoding(token_code(), position, temporal, combine_position, bias)
    if spiking:
        return built
    learned = position_encoding == "learned"
    position = LearnedCode(max_len, built.width, 1.0) if learned else SinusoidalCode(built.width)
    token = LearnedCode(vocab_size, built.width, 1.0)
    return InputEncoding(token, position, Repeat(timesteps, real=True), combine=True)

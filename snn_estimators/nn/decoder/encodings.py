"""From token ids to spikes: codes for tokens and positions, and what puts them together.

A *code* maps ids to vectors and declares whether these are zeros and ones already (`binary`). The
same codes serve tokens and positions; `InputEncoding` puts one of each together and hands
real-valued ones to a temporal coding, which makes the time axis. A *joint* code maps pairs of token
and position, and stands alone.

`register_encoding` and `register_position_encoding` add codes to the choices of a decoder.
"""

from __future__ import annotations

import math
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from snn_estimators._validation import register
from snn_estimators.nn.decoder.temporal import TemporalCoding


class CodeOptions(NamedTuple):
    """What a code may depend on."""

    size: int
    """Number of different ids."""
    width: int = 1
    """Width that the user asks for; codes of a fixed width ignore it."""
    std: float = 1e-5
    """Deviation of initial weights."""
    positions: int = 1
    """Longest sequence, for joint codes."""


class Code(nn.Module):
    """Base of codes: maps ids, shape [...], to vectors, shape [..., width].

    Subclasses set `binary`, and their `width` unless it is the one that the user asks for.

    Parameters
    ----------
    options : CodeOptions
    """

    binary: ClassVar[bool]
    """Whether the vectors are zeros and ones already."""

    def __init__(self, options: CodeOptions) -> None:
        super().__init__()
        self.width = options.width

    def forward(self, ids: Tensor) -> Tensor:
        """Map ids to their vectors."""
        raise NotImplementedError


class JointCode(nn.Module):
    """Base of codes of zeros and ones for pairs of token and position.

    Parameters
    ----------
    options : CodeOptions
    """

    binary: ClassVar[bool] = True

    def __init__(self, options: CodeOptions) -> None:
        super().__init__()
        self.width = options.width

    def forward(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """Map tokens [batch, sequence] at positions [sequence] to [batch, sequence, width]."""
        raise NotImplementedError


class OneHotCode(Code):
    """One column an id."""

    binary = True

    def __init__(self, options: CodeOptions) -> None:
        super().__init__(options)
        self.width = options.size

    def forward(self, ids: Tensor) -> Tensor:
        """Map ids, shape [...], to zeros and ones, shape [..., width]."""
        return F.one_hot(ids, self.width).to(torch.get_default_dtype())


class BinaryCode(Code):
    """The id's binary digits, lowest first; every id has a code of its own.

    Those of the reference system are not distinct; see `PublishedBinaryCode`.

    Examples
    --------
    >>> import torch
    >>> BinaryCode(CodeOptions(5))(torch.tensor([4, 1]))
    tensor([[0., 0., 1.],
            [1., 0., 0.]])
    """

    binary = True

    def __init__(self, options: CodeOptions) -> None:
        super().__init__(options)
        self.width = max(1, math.ceil(math.log2(options.size)))

    def forward(self, ids: Tensor) -> Tensor:
        """Map ids, shape [...], to zeros and ones, shape [..., width]."""
        digits = torch.arange(self.width, device=ids.device)
        return (torch.bitwise_right_shift(ids[..., None], digits) & 1).to(torch.get_default_dtype())


class PublishedBinaryCode(BinaryCode):
    """The id's binary digits as in the published SpikeDecoder, for its checkpoints.

    There the highest digit that is one comes first, and zeros fill up the other side, so that 1, 2,
    4, ... share one code, and so do 3, 6, 12, ...

    Examples
    --------
    >>> import torch
    >>> PublishedBinaryCode(CodeOptions(8))(torch.tensor([1, 2, 5]))
    tensor([[1., 0., 0.],
            [1., 0., 0.],
            [1., 0., 1.]])
    """

    def forward(self, ids: Tensor) -> Tensor:
        """Map ids, shape [...], to zeros and ones, shape [..., width]."""
        columns = torch.arange(self.width, device=ids.device)
        n_digits = (torch.bitwise_right_shift(ids[..., None], columns) > 0).sum(-1, keepdim=True)
        digit = n_digits - 1 - columns  # of the column; below 0 it is filled up
        bits = torch.bitwise_right_shift(ids[..., None], digit.clamp_min(0)) & 1
        return (bits * (digit >= 0)).to(torch.get_default_dtype())


class LearnedCode(Code):
    """A trained table of real vectors."""

    binary = False

    def __init__(self, options: CodeOptions) -> None:
        super().__init__(options)
        self.table = nn.Embedding(options.size, options.width)
        nn.init.normal_(self.table.weight, std=options.std)

    def forward(self, ids: Tensor) -> Tensor:
        """Look ids, shape [...], up: shape [..., width]."""
        return self.table(ids)


class SinusoidalCode(Code):
    r"""Sines (even columns) and cosines (odd) of :math:`i / 10000^{c / width}` for column c.

    After Vaswani et al., "Attention is all you need", 2017, with one frequency a column as in the
    reference system (the paper has one a pair).
    """

    binary = False

    def forward(self, ids: Tensor) -> Tensor:
        """Map ids, shape [...], to values in [-1, 1], shape [..., width]."""
        column = torch.arange(self.width, device=ids.device, dtype=torch.float32)
        phase = ids[..., None].to(torch.float32) / (1e4 ** (column / self.width))
        wave = torch.where(column.long() % 2 == 0, phase.sin(), phase.cos())
        return wave.to(torch.get_default_dtype())


class JointOneHotCode(JointCode):
    """One column for each pair of token and position."""

    def __init__(self, options: CodeOptions) -> None:
        super().__init__(options)
        self.vocab_size, self.width = options.size, options.size * options.positions

    def forward(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """Map tokens at positions to zeros and ones, shape [batch, sequence, width]."""
        pairs = tokens + self.vocab_size * positions
        return F.one_hot(pairs, self.width).to(torch.get_default_dtype())


ENCODINGS: dict[str, type[Code] | type[JointCode]] = {
    "one-hot": JointOneHotCode,
    "two-hot": OneHotCode,
    "binary": BinaryCode,
    "binary-published": PublishedBinaryCode,
    "learned": LearnedCode,
}
"""Codes of tokens by name; `register_encoding` adds to them."""

POSITION_ENCODINGS: dict[str, type[Code]] = {
    "linear": OneHotCode,
    "binary": BinaryCode,
    "binary-published": PublishedBinaryCode,
    "static": SinusoidalCode,
    "learned": LearnedCode,
}
"""Codes of positions by name; `register_position_encoding` adds to them."""


def register_encoding(
    name: str, code: type[Code] | type[JointCode], *, replace: bool = False
) -> None:
    """Make a code of tokens known as a choice of ``encoding``.

    Its output is what the energy model observes; linear maps inside of it are counted as any, other
    layers with weights need `snn_estimators.energy.register_counter`.

    Parameters
    ----------
    name : str
    code : subclass of Code or JointCode
        Called with `CodeOptions`: the vocabulary's size, ``token_dim``, ``embedding_std`` and
        ``max_len``.
    replace : bool, default=False

    Examples
    --------
    >>> from snn_estimators.nn import SpikingDecoder
    >>> class Thermometer(Code):
    ...     binary = True
    ...     def __init__(self, options):
    ...         super().__init__(options)
    ...         self.width = options.size
    ...     def forward(self, ids):
    ...         return (torch.arange(self.width) <= ids[..., None]).float()
    >>> register_encoding("thermometer", Thermometer)
    >>> SpikingDecoder(5, max_len=4, encoding="thermometer", blocks=1).width  # 5 + position_dim
    35
    >>> del ENCODINGS["thermometer"]
    """
    register(ENCODINGS, "encoding", name, code, replace=replace)


def register_position_encoding(name: str, code: type[Code], *, replace: bool = False) -> None:
    """Make a code of positions known as a choice of ``position_encoding``.

    Parameters
    ----------
    name, code, replace
        As in `register_encoding`; the size is ``max_len``, the width ``position_dim``.
    """
    register(POSITION_ENCODINGS, "position_encoding", name, code, replace=replace)


class JointEncoding(nn.Module):
    """A joint code over time."""

    def __init__(self, code: JointCode, temporal: TemporalCoding) -> None:
        super().__init__()
        self.code, self.temporal, self.width = code, temporal, code.width

    def forward(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """Encode tokens at positions, as `InputEncoding` does."""
        code = self.code(tokens.clamp_min(0), positions)
        return self.temporal.hold(code * (tokens >= 0)[..., None])


class InputEncoding(nn.Module):
    """Token code beside position code, or with `combine` their sum, over time.

    A `position_bias` is subtracted from a position code beside the token's, to make fewer of its
    bits one.
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
        """Map tokens [batch, sequence] at positions [sequence] to [time, batch, sequence, width].

        Negative ids are padding: their input is zero.
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

"""Token ids as modules take them: checks, and which of them are padding.

Reading a value waits for the device that holds it, and cannot be compiled or exported. So values
are looked at on the CPU alone, and outside of `torch.compile` and `torch.export`; there a bad id is
the embedding's own error. The estimators check ids before they reach any device.
"""

from __future__ import annotations

import torch
from torch import Tensor


def _is_readable(tokens: Tensor) -> bool:
    return tokens.device.type == "cpu" and not torch.compiler.is_compiling()


def check_tokens(tokens: Tensor, vocab_size: int) -> None:
    """Raise ValueError unless there are tokens, [batch, sequence], of this vocabulary.

    Negative ids are padding.
    """
    if tokens.dim() != 2 or 0 in tokens.shape:
        raise ValueError(
            f"tokens must have the shape [batch, sequence] and hold at least one, got "
            f"{tuple(tokens.shape)}."
        )
    if _is_readable(tokens) and int(tokens.max()) >= vocab_size:
        raise ValueError(f"token id {int(tokens.max())} is not below vocab_size={vocab_size}.")


def check_no_padding(tokens: Tensor) -> None:
    """Raise ValueError if there is padding, which no state can skip."""
    if _is_readable(tokens) and bool((tokens < 0).any()):
        raise ValueError("tokens hold padding, which a stream cannot skip; stream them one by one.")


def padding_mask(tokens: Tensor) -> Tensor | None:
    """Return which tokens are no padding, or None where it is known that none is."""
    valid = tokens >= 0
    return None if _is_readable(tokens) and bool(valid.all()) else valid

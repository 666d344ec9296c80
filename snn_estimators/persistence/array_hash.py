"""What arrays and tensors hold, and modules besides them."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["attributes_of_module", "digest_of_array", "identity_of_tensor"]

_OF_ANY_MODULE = frozenset(vars(nn.Module()))


def identity_of_tensor(value: Tensor) -> list[Any]:
    """Return what tells a tensor from others; where it is makes no difference.

    Raises
    ------
    TypeError
        If it is sparse, or has no content (yet).

    Examples
    --------
    >>> one, frozen = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2), requires_grad=False)
    >>> identity_of_tensor(one) == identity_of_tensor(frozen)
    False
    """
    try:
        plain = value.detach().cpu().resolve_conj().resolve_neg().contiguous()
        told = digest_of_array(plain.reshape(-1).view(torch.uint8).numpy())
    except (RuntimeError, NotImplementedError) as error:
        raise TypeError(f"nobody can tell a tensor of {value.layout}: {error}") from error
    return [str(value.dtype), list(value.shape), told, value.requires_grad]


def digest_of_array(array: np.ndarray[Any, Any]) -> str:
    """Return the SHA-256 of an array's shape and bytes.

    Examples
    --------
    >>> digest_of_array(np.arange(4)) == digest_of_array(np.arange(4).reshape(2, 2))
    False
    """
    total = hashlib.sha256(repr(array.shape).encode())
    total.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return total.hexdigest()


def attributes_of_module(module: nn.Module) -> dict[str, Any]:
    """Return a module's attributes; hooks by their order, not by PyTorch's running numbers.

    Whether it is in training mode makes no difference to a fit, which puts it there.

    Examples
    --------
    >>> module = nn.ReLU()
    >>> hook = module.register_forward_hook(print)
    >>> attributes_of_module(module)
    {'_forward_hooks': {0: <built-in function print>}, 'inplace': False}
    """
    inside = {k: v for k, v in vars(module).items() if k not in _OF_ANY_MODULE or v}
    inside.pop("training", None)
    hooks = {k: v for k, v in inside.items() if k in _OF_ANY_MODULE and "hooks" in k}
    numbers = sorted({number for some in hooks.values() for number in some})
    for name, some in hooks.items():
        inside[name] = {numbers.index(number): hook for number, hook in some.items()}
    return inside

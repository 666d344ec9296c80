"""Which body runs: the compiled twin where it can, a plain one everywhere else."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


@functools.cache
def _compiled(name: str) -> Callable[..., Any] | None:
    """Return the compiled twin, or None where numba cannot be imported."""
    try:
        module = importlib.import_module(f"snn_estimators.ops._{name}_numba")
    except ImportError:
        return None
    twin: Callable[..., Any] = getattr(module, f"{name}_numba")
    return twin


def choose_backend(
    backend: str,
    name: str,
    inputs: Sequence[Tensor],
    plain: Mapping[str, Callable[..., Any]],
) -> Callable[..., Any]:
    """Choose a body of the function `name`.

    "auto" takes numba if all `inputs` are float32 on the CPU, else the first of the `plain` ones.

    Raises
    ------
    ValueError
        If `backend` is unknown, or asks for numba where it cannot run.
    """
    if backend in plain:
        return plain[backend]
    if backend not in ("auto", "numba"):
        known = ["auto", "numba", *plain]
        raise ValueError(f"backend={backend!r} is unknown; choose one of {known}.")
    strangers = [x for x in inputs if x.device.type != "cpu" or x.dtype != torch.float32]
    twin = None if strangers else _compiled(name)
    if twin is not None:
        return twin
    if backend == "numba":
        x = (strangers or inputs)[0]
        raise ValueError(
            f"backend='numba' needs numba and float32 tensors on the CPU, got {x.dtype} on "
            f"{x.device}; use backend='auto'."
        )
    return next(iter(plain.values()))

"""Which body of an operator runs: the compiled twin where it can, a plain one everywhere else."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from snn_estimators._validation import suggest


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
    inputs: Sequence[Tensor],
    plain: Mapping[str, Callable[..., Any]],
    *,
    twin: str | None = None,
    lacks: str | None = None,
) -> Callable[..., Any]:
    """Choose a body of an operator, or raise ValueError if that `backend` cannot run.

    "auto" takes numba if the operator has a `twin` there that `lacks` nothing, all `inputs` are
    float32 on the CPU and nothing is being compiled or exported; else the first of the `plain`
    ones.
    """
    if backend in plain:
        return plain[backend]
    known = ["auto", *(["numba"] if twin else []), *plain]
    if backend not in known:
        raise ValueError(f"backend={backend!r} is unknown; {suggest(backend, known)}")
    unsupported = [x for x in inputs if x.device.type != "cpu" or x.dtype != torch.float32]
    usable = twin and not unsupported and not lacks and not torch.compiler.is_compiling()
    compiled = _compiled(twin) if twin and usable else None
    if compiled is not None:
        return compiled
    if backend == "numba":
        x = (unsupported or inputs)[0]
        raise ValueError(
            f"backend='numba' has no form of {lacks}; use backend='auto'."
            if lacks
            else f"backend='numba' needs numba and float32 tensors on the CPU, outside of "
            f"torch.compile, got {x.dtype} on {x.device}; use backend='auto'."
        )
    return next(iter(plain.values()))

"""Which body of an operator runs: the compiled twin where it can, a plain one everywhere else.

Numba's kernels cannot be traced. `torch.compile` sees them as `torch.library` operators, opaque and
with a gradient; `torch.export` sees a plain form, so that what it writes needs nothing but PyTorch.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from snn_estimators._validation import suggest

_HAS_NUMBA = importlib.util.find_spec("numba") is not None


class Twin(NamedTuple):
    """The compiled body of an operator, in `snn_estimators.ops._NAME_numba`."""

    name: str
    operator: Callable[..., Any]
    """The same as a `torch.library` operator, for what is being compiled."""


@functools.cache
def kernels(name: str) -> ModuleType | None:
    """Return the module of an operator's compiled twin, or None where numba cannot be imported."""
    try:
        return importlib.import_module(f"snn_estimators.ops._{name}_numba")
    except ImportError:
        return None


@functools.cache
def _kernel(name: str) -> Callable[..., Any] | None:
    return getattr(kernels(name), f"{name}_numba", None)


def choose_backend(
    backend: str,
    inputs: Sequence[Tensor],
    plain: Mapping[str, Callable[..., Any]],
    *,
    twin: Twin | None = None,
    lacks: str | None = None,
    exported: Callable[..., Any] | None = None,
) -> Callable[..., Any]:
    """Choose a body of an operator, or raise ValueError if that `backend` cannot run.

    "auto" takes numba if the operator has a `twin` there that `lacks` nothing, all `inputs` are
    float32 on the CPU and nothing is being exported; else, while exporting, `exported`; else the
    first of the `plain` ones.
    """
    if backend in plain:
        return plain[backend]
    known = ["auto", *(["numba"] if twin else []), *plain]
    if backend not in known:
        raise ValueError(f"backend={backend!r} is unknown; {suggest(backend, known)}")
    unsupported = [x for x in inputs if x.device.type != "cpu" or x.dtype != torch.float32]
    if twin and not unsupported and not lacks:
        if not torch.compiler.is_compiling():
            if (body := _kernel(twin.name)) is not None:
                return body
        elif _HAS_NUMBA and not torch.compiler.is_exporting():
            return twin.operator
    if backend == "numba":
        x = (unsupported or inputs)[0]
        raise ValueError(
            f"backend='numba' has no form of {lacks}; use backend='auto'."
            if lacks
            else f"backend='numba' needs numba and float32 tensors on the CPU, outside of "
            f"torch.export, got {x.dtype} on {x.device}; use backend='auto'."
        )
    if exported and torch.compiler.is_exporting():
        return exported
    return next(iter(plain.values()))

"""What the compiled twins share: how they are compiled, and an exponential that vectorises."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numba
import numpy as np

F = np.float32
LOG2_E = F(1.4426950408889634)
LN_2 = F(0.6931471805599453)


def jit(kernel: Callable[..., None] | None = None, *, contract: bool = True) -> Any:
    """Compile, and keep the result on disk where there is a place to write to.

    ``fastmath`` is limited to flags under which spikes stay equal to the bit: products may be
    `contract`-ed with sums where no rounding depends on it.
    """
    if kernel is None:
        return partial(jit, contract=contract)
    flags = {"contract", "nsz"} if contract else {"nsz"}
    options = {"nogil": True, "fastmath": flags, "error_model": "numpy"}
    try:
        return numba.njit(cache=True, **options)(kernel)
    except RuntimeError:  # numba finds no writable folder: compile again in each process
        return numba.njit(**options)(kernel)


@numba.njit(inline="always")
def exp_minus(a):  # type: ignore[no-untyped-def]
    """Approximate exp(-a) for a >= 0 within 2e-7, in arithmetic that vectorises (np.exp does not).

    exp(-a) = 2^-n * 2^-f with n whole and f in [-1/2, 1/2]; 2^-f by its Taylor series. From 87 on
    the result stays at 2e-38. What is not a number stays none.
    """
    y = a * LOG2_E
    y = F(125.0) if y > F(125.0) else y
    n = np.int32(y + F(0.5))
    z = (F(n) - y) * LN_2
    p = F(1 / 120) + z * (F(1 / 720) + z * F(1 / 5040))
    p = F(1.0) + z * (F(1.0) + z * (F(1 / 2) + z * (F(1 / 6) + z * (F(1 / 24) + z * p))))
    return p * np.int32((np.int32(127) - n) << np.int32(23)).view(np.float32)

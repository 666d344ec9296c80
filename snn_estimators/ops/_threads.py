"""Share a compiled kernel among as many threads as PyTorch may use.

A separate pool rather than numba's: numba's OpenMP layer kills processes that fork after it has
run, and its fallback layer cannot be entered from two threads at once.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

_WORTH_A_THREAD = 1 << 16  # elements below which handing work over costs more than it saves
_pool: tuple[int, ThreadPoolExecutor] | None = None


def split_among_threads(kernel: Callable[..., None], items: int, cost: int, *args: Any) -> None:
    """Call ``kernel(lo, hi, *args)`` so that the ranges cover ``[0, items)``.

    `kernel` must release the GIL and write only what belongs to its range; an item stands for
    `cost` elements of work.
    """
    if items == 0:
        return
    threads = min(torch.get_num_threads(), max(1, items * cost // _WORTH_A_THREAD))
    if threads == 1:
        kernel(0, items, *args)
        return
    bounds = [items * i // threads for i in range(threads + 1)]
    ranges = list(itertools.pairwise(bounds))
    others = [_threads().submit(kernel, lo, hi, *args) for lo, hi in ranges[1:]]
    kernel(*ranges[0], *args)
    for other in others:
        other.result()


def _threads() -> ThreadPoolExecutor:
    """Return this process's pool: threads do not survive a fork, so a child makes its own."""
    global _pool
    if _pool is None or _pool[0] != os.getpid():
        _pool = (os.getpid(), ThreadPoolExecutor(os.cpu_count() or 1, "snn-estimators"))
    return _pool[1]

"""Which GPU of this machine a process of a sweep may use: each is claimed by a lock on a file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from snn_estimators.persistence.file_lock import try_lock

__all__ = ["claimed_gpu", "gpu_order"]

_last_gpu: int | None = None


def gpu_order(number: int, n_gpus: int) -> list[str]:
    """Name the GPUs in the order in which a task should try to get one: round robin.

    Examples
    --------
    >>> [gpu_order(number, 2)[0] for number in range(3)]
    ['cuda:0', 'cuda:1', 'cuda:0']
    >>> gpu_order(4, 3)
    ['cuda:1', 'cuda:2', 'cuda:0']
    """
    return [f"cuda:{(number + step) % n_gpus}" for step in range(n_gpus)]


@contextmanager
def claimed_gpu(number: int, n_gpus: int, folder: Path) -> Iterator[str]:
    """Keep a GPU, such as ``"cuda:1"``, from the other processes while the block runs.

    A process returns to the GPU that it had before, as long as that is free: what it once allocated
    there would lie idle. In a process that had none yet, the task's `number` says where to begin.
    With more processes than GPUs some share one. The locks are files in `folder`.
    """
    global _last_gpu
    order = gpu_order(number if _last_gpu is None else _last_gpu, n_gpus)
    with ExitStack() as stack:
        free = (name for name in order if stack.enter_context(try_lock(folder / name)))
        device = next(free, order[0])
        _last_gpu = int(device.partition(":")[2])
        yield device

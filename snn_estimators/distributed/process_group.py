"""What the processes of one data-parallel training exchange.

All of them run the same program. Wherever they meet, each first reports whether it is still well,
so that a failure in one of them ends the training in all, and none waits for what will not come.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

__all__ = ["ProcessGroup", "Tally", "find_accelerator"]

_Result = TypeVar("_Result")


def find_accelerator() -> Any:
    """Return an `accelerate.Accelerator`, as the launcher or the script has set it up.

    Raises
    ------
    ImportError
        If accelerate is not installed.
    RuntimeError
        If the launcher started several processes, and accelerate does not know; if it started more
        than there are GPUs.
    ValueError
        If the script's own accelerator accumulates gradients.
    """
    try:
        from accelerate import Accelerator, PartialState
        from accelerate.state import GradientState
        from accelerate.utils import DistributedDataParallelKwargs
    except ImportError as error:
        raise ImportError(
            "DataParallel needs accelerate: pip install 'snn-estimators[accelerate]'."
        ) from error
    n_steps = GradientState().num_steps  # of all accelerators, and the one below is to reset it
    if n_steps != 1:
        raise ValueError(
            f"gradient_accumulation_steps={n_steps} is not supported: create the Accelerator "
            "without it."
        )
    if not PartialState._shared_state:  # which has its devices otherwise
        _check_devices()
    # Without a GPU accelerate joins processes only if asked for the CPU.
    accelerator = Accelerator(
        cpu=not torch.cuda.is_available(),
        # That is `ProcessGroup.broadcast`'s, at a time when all processes are known to be well.
        kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],
    )
    n_launched = int(os.environ.get("WORLD_SIZE", 1)) if "LOCAL_RANK" in os.environ else 1
    if accelerator.num_processes != n_launched:
        raise RuntimeError(
            f"{n_launched} processes were launched, but the accelerator knows of "
            f"{accelerator.num_processes}: on CPUs create it by Accelerator(cpu=True), or leave "
            "that to DataParallel."
        )
    return accelerator


def _check_devices() -> None:
    n_here = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    wants_cpu = os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes")
    if torch.cuda.is_available() and not wants_cpu and n_here > torch.cuda.device_count():
        raise RuntimeError(
            f"{n_here} processes were launched on {torch.cuda.device_count()} GPU(s): launch one "
            'a GPU, or train on CPUs by CUDA_VISIBLE_DEVICES="".'
        )


@dataclass
class Tally:
    """What one process adds to the sum over all, and what the sum is afterwards."""

    loss: float = 0.0
    interrupts: float = 0.0


class ProcessGroup:
    """The processes of one training, seen from one of them.

    Parameters
    ----------
    accelerator : accelerate.Accelerator

    Attributes
    ----------
    count, index : int
        How many there are, and which is this one; process 0 is the one that writes.
    """

    def __init__(self, accelerator: Any) -> None:
        self._accelerator = accelerator
        self.count: int = accelerator.num_processes
        self.index: int = accelerator.process_index
        self._known: BaseException | None = None  # what all of them are failing with
        self._is_cut_off = False
        # Had before it is needed: reporting that memory has run out must take none.
        if self.count > 1:
            self._sums = torch.zeros(4, dtype=torch.float64, device=accelerator.device)

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and draws seeds."""
        return self.index == 0

    @contextmanager
    def synchronize(self) -> Iterator[Tally]:
        """Leave a block when all processes have come to its end; fail in all if it does in one.

        Yields
        ------
        Tally
            To be filled in the block; holds the sums over all processes after it.

        Raises
        ------
        RuntimeError
            If another process failed; the block's own exception if this one did.
        KeyboardInterrupt
            If that is what happened in any process, and nothing worse.
        """
        tally, failure = Tally(), None
        try:
            yield tally
        except (Exception, KeyboardInterrupt, SystemExit) as error:
            if error is self._known or self._is_cut_off:
                raise
            failure = error
        if self.count == 1:
            if failure is not None:
                raise failure
            return
        is_interrupt = isinstance(failure, KeyboardInterrupt)
        is_error = failure is not None and not is_interrupt
        if failure is not None and is_error:
            failure.add_note(f"(in process {self.index} of the training)")
        try:
            tally.loss, tally.interrupts, n_stopped, n_failed = self._sum(
                [tally.loss, tally.interrupts, float(is_interrupt), float(is_error)]
            )
        except RuntimeError as lost:
            if failure is None:
                raise
            raise failure from lost
        if n_failed:
            reports = self._gather(_describe(failure) if is_error else None)
            failure = failure if is_error else RuntimeError(_first(reports))
        elif n_stopped and not is_interrupt:
            failure = KeyboardInterrupt()
        if failure is not None:
            self._known = failure
            raise failure

    def from_main(self, action: Callable[[], _Result]) -> _Result:
        """Call something in process 0 alone, and return its result in all."""
        with self.synchronize():
            result = [action() if self.is_main else None]
        if self.count > 1:
            torch.distributed.broadcast_object_list(result)
        return result[0]  # type: ignore[return-value]

    def broadcast(self, tensors: list[Tensor]) -> None:
        """Overwrite tensors by those of process 0."""
        if not tensors:
            return
        with self.synchronize():
            joined = torch.cat([tensor.double().flatten() for tensor in tensors])
        torch.distributed.broadcast(joined, 0)
        parts = joined.split([tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))

    def any_differ(self, value: Any) -> bool:
        """Return whether processes have different values of something."""
        with self.synchronize():
            pass
        return any(other != value for other in self._gather(value))

    def any_true(self, value: bool) -> bool:
        """Return whether something is true in any of the processes."""
        with self.synchronize():
            pass
        return any(self._gather(value))

    @contextmanager
    def exposed(self) -> Iterator[None]:
        """Run a block in which processes meet where they cannot report that they failed.

        If it fails, the others learn of it when this process ends, as it has to.
        """
        try:
            yield
        except BaseException:
            self._is_cut_off = self.count > 1
            raise

    def _sum(self, values: list[float]) -> list[float]:
        try:
            self._sums.copy_(torch.tensor(values, dtype=torch.float64))
            torch.distributed.all_reduce(self._sums)
            return self._sums.tolist()
        except RuntimeError as error:
            self._is_cut_off = True
            raise RuntimeError(
                f"Process {self.index} of the training cannot reach another one "
                f"({str(error).partition(chr(10))[0]}): that has failed, and said why, or it has "
                "ended without coming here. Call fit, partial_fit and save_pretrained in every "
                "process."
            ) from error

    def _gather(self, value: Any) -> list[Any]:
        values = [value] * self.count
        if self.count > 1:
            torch.distributed.all_gather_object(values, value)
        return values


def _describe(error: BaseException | None) -> str:
    return f"{type(error).__name__}: {error}"


def _first(reports: list[str | None]) -> str:
    index = next(i for i, words in enumerate(reports) if words is not None)
    return f"The training ended in all processes, as process {index} failed: {reports[index]}"

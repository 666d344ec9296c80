"""Devices, and the states of PyTorch's random generators."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock
from typing import TypeAlias

import torch
from torch import Tensor

__all__ = [
    "Device",
    "GeneratorStates",
    "check_device",
    "generator_states",
    "private_generators",
    "resolve_device",
    "set_generator_states",
]

Device: TypeAlias = str | torch.device | None
GeneratorStates: TypeAlias = tuple[Tensor, list[Tensor]]
"""Of the CPU's generator, and of that of the GPU that a net uses, if it uses one."""

_GENERATORS = RLock()


def resolve_device(device: Device) -> torch.device:
    """Return the device that a `device` parameter means; "auto" is the GPU if there is one."""
    if device is None or device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(device)


def check_device(device: Device) -> None:
    """Raise ValueError for a device that PyTorch does not know, or that is not here.

    Examples
    --------
    >>> check_device("meta")
    Traceback (most recent call last):
    ...
    ValueError: device must be "auto", "cpu" or the name of another that is here, got 'meta': ...
    """
    reason = "it holds no numbers"
    try:
        if resolve_device(device).type != "meta":
            torch.empty(0, device=resolve_device(device))
            return
    except (AssertionError, RuntimeError, TypeError) as error:
        reason = str(error).partition("\n")[0]
    raise ValueError(
        f'device must be "auto", "cpu" or the name of another that is here, got {device!r}: '
        f"{reason}"
    )


@contextmanager
def private_generators(device: Device, start: int | GeneratorStates) -> Iterator[None]:
    """Run with PyTorch's generators at a seed or in given states, and restore the global ones.

    The generators belong to the process: other threads that want them wait.
    """
    gpus = _gpus(device)
    with _GENERATORS, torch.random.fork_rng(devices=gpus):
        if isinstance(start, int):
            torch.default_generator.manual_seed(start)
            for gpu in gpus:
                with torch.cuda.device(gpu):
                    torch.cuda.manual_seed(start)
        else:
            set_generator_states(device, start)
        yield


def set_generator_states(device: Device, states: GeneratorStates) -> None:
    """Put the generators of the CPU and of a GPU into given states."""
    torch.set_rng_state(states[0])
    for gpu, state in zip(_gpus(device), states[1], strict=False):
        torch.cuda.set_rng_state(state, gpu)


def generator_states(device: Device) -> GeneratorStates:
    """Return the states of the generators of the CPU and of a GPU."""
    return torch.get_rng_state(), [torch.cuda.get_rng_state(gpu) for gpu in _gpus(device)]


def _gpus(device: Device) -> list[torch.device]:
    found = resolve_device(device)
    return [found] if found.type == "cuda" else []

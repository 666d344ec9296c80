"""Devices, and the states of PyTorch's random generators."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock
from typing import TypeAlias

import torch
from torch import Tensor

from snn_estimators._validation import short

__all__ = [
    "Device",
    "GeneratorStates",
    "check_device",
    "check_device_name",
    "generator_states",
    "has_device",
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


def check_device_name(device: Device) -> torch.device:
    """Return the device that a `device` parameter means; raise ValueError if it is no name."""
    try:
        if not isinstance(device, str | torch.device | None):
            raise TypeError(f"a {type(device).__name__}")
        return resolve_device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(
            'device must be "auto" or a name that PyTorch knows, such as "cuda:0", got '
            f'{short(device)}: give device="cpu".'
        ) from error


def check_device(device: Device) -> torch.device:
    """Return the device that a `device` parameter means; raise ValueError if it is not there."""
    found = check_device_name(device)
    if not has_device(found):
        count = torch.cuda.device_count()
        raise ValueError(
            f"device={short(device)} is not there, as PyTorch finds {count or 'no'} "
            f'CUDA GPU{"s"[: count != 1]} here: give device="cpu".'
        )
    return found


def has_device(device: Device) -> bool:
    """Return whether there is such a device.

    CUDA is not initialised: a process that was forked afterwards could not use it.
    """
    try:
        found = resolve_device(device)
    except (RuntimeError, TypeError):  # no name of a device
        return False
    if found.type == "cuda":
        return (found.index or 0) < torch.cuda.device_count()
    if found.type == "meta":  # tensors without values
        return False
    try:
        torch.empty(1, device=found)
    except (AssertionError, ImportError, RuntimeError):
        return False
    return True


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

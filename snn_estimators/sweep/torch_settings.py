"""PyTorch's settings of the process that a sweep runs in, taken over by its workers.

They are part of what a fit is, as `settings_of_process` tells, and other processes begin with the
defaults.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from operator import attrgetter

import torch

from snn_estimators.persistence.cache_key import settings_of_process

__all__ = ["Settings", "like_process", "process_settings"]

Settings = Mapping[str, str | None]

_WARNS = "deterministic, or warns"
_FLAGS = {"True": True, "False": False}


def process_settings(device: str) -> dict[str, str | None]:
    """Return this process's settings, such that another can be set to them.

    Parameters
    ----------
    device : str
        Kind of device, such as ``"cpu"``, whose settings are wanted, too.

    Returns
    -------
    dict of str

    Examples
    --------
    >>> process_settings("cpu")["matmul precision"]
    'highest'
    """
    warns = str(torch.is_deterministic_algorithms_warn_only_enabled())
    return {_WARNS: warns} | settings_of_process(torch.device(device))


@contextmanager
def like_process(wanted: Settings, device: str) -> Iterator[None]:
    """Run a block with another process's settings, and put this one's back.

    Parameters
    ----------
    wanted : mapping
        From `process_settings` there.
    device : str
        The one of that call.

    Raises
    ------
    RuntimeError
        If a setting cannot be taken over.

    Examples
    --------
    >>> doubles = process_settings("cpu") | {"default dtype": "torch.float64"}
    >>> with like_process(doubles, "cpu"):
    ...     torch.zeros(1).dtype
    torch.float64
    >>> torch.zeros(1).dtype
    torch.float32
    """
    own = process_settings(device)
    with ExitStack() as stack:
        stack.callback(_take_over, own, device, None)
        _take_over(wanted, device, stack)
        now = process_settings(device)
        for name, value in wanted.items():
            if value is not None and now.get(name) != value:
                raise RuntimeError(
                    f"PyTorch's setting {name!r} is {value} where the sweep runs and "
                    f"{now.get(name)} in its worker, which cannot take it over: set n_jobs=1, or "
                    "leave the setting alone"
                )
        yield


def _take_over(wanted: Settings, device: str, stack: ExitStack | None) -> None:
    """Set what differs; the order matters, as some settings bring others along.

    The default device and autocast are blocks, which the stack ends; without a stack they stay.
    """
    if process_settings(device) == wanted:  # as in the sweep's own process
        return
    for name, value in wanted.items():
        if value is None or process_settings(device).get(name) == value:
            continue
        try:
            block = _block(name, value)
            if block is None:
                _set(name, value, wanted)
            elif stack is not None:
                stack.enter_context(block)
        except (AttributeError, RuntimeError, TypeError, ValueError):
            continue  # unknown to this version or machine: the caller sees that it differs


def _set(name: str, value: str, wanted: Settings) -> None:
    setters: dict[str, Callable[[], object]] = {
        "default dtype": lambda: torch.set_default_dtype(_dtype(value)),
        "matmul precision": lambda: torch.set_float32_matmul_precision(value),
        "denormals": lambda: torch.set_flush_denormal(not _FLAGS[value]),
        "cuda.preferred_blas_library": lambda: torch.backends.cuda.preferred_blas_library(
            value.rpartition(".")[2].lower()
        ),
    }
    if name in ("deterministic", _WARNS):
        torch.use_deterministic_algorithms(
            _FLAGS[str(wanted["deterministic"])], warn_only=_FLAGS[str(wanted[_WARNS])]
        )
    elif name in setters:
        setters[name]()
    elif name.endswith("_sdp_enabled"):
        getattr(torch.backends.cuda, f"enable_{name[5:].removesuffix('_enabled')}")(_FLAGS[value])
    else:
        owner, _, last = f"backends.{name}".rpartition(".")
        setattr(attrgetter(owner)(torch), last, _FLAGS.get(value, value))


def _block(name: str, value: str) -> AbstractContextManager[object] | None:
    """Return what sets a setting for a block; None for those that are set for good."""
    if name == "default device":
        return torch.device(value)
    _, is_autocast, place = name.partition("autocast on ")
    if not is_autocast:
        return None
    if value == "False":
        return torch.autocast(place, enabled=False)
    return torch.autocast(place, dtype=_dtype(value))


def _dtype(name: str) -> torch.dtype:
    return getattr(torch, name.removeprefix("torch."))

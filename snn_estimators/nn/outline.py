"""Whether a module fits given tensors, found out at a cost that the tensors bound.

Before weights are loaded, the module that they belong to is built on PyTorch's meta device, which
computes shapes alone. It is given up as soon as it asks for tensors that the weights have not: a
module of 100,000 layers for the weights of one costs no more than a few layers.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as registration
from torch.overrides import TorchFunctionMode

__all__ = ["BeyondError", "difference", "misfit", "outline"]

_TO_SPARE = 100
"""Parameters beyond the given tensors: some are replaced while a module is built."""

_RANDOM = frozenset(
    {"bernoulli_", "exponential_", "log_normal_", "normal_", "random_", "uniform_"}
)  # on the meta device they fill nothing, and import a compiler


class BeyondError(ValueError):
    """A module asks for more than the tensors that are given."""


class _FillNothing(TorchFunctionMode):
    """Leaves out what initializes tensors: `torch.nn.init` and the random fills."""

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        home = getattr(function, "__module__", None)
        is_filling = home == "torch.nn.init" or getattr(function, "__name__", "") in _RANDOM
        return (*args, kwargs.get("tensor"))[0] if is_filling else function(*args, **kwargs)


@contextmanager
def _bounded(shapes: Counter[tuple[int, ...]]) -> Iterator[None]:
    """Count what this thread's modules register; raise `BeyondError` beyond the given shapes."""
    thread, left, to_spare = threading.get_ident(), shapes.copy(), _TO_SPARE
    parts = 10 * (shapes.total() + _TO_SPARE)  # modules, many of which have no parameters

    def on_parameter(module: nn.Module, name: str, parameter: Tensor | None) -> None:
        nonlocal to_spare
        if parameter is None or threading.get_ident() != thread:
            return
        shape = tuple(parameter.shape)
        if left[shape]:
            left[shape] -= 1
            return
        to_spare -= 1
        if to_spare < 0:
            raise BeyondError(f"there are more tensors here, such as {name} of shape {shape}")

    def on_module(module: nn.Module, name: str, part: nn.Module | None) -> None:
        nonlocal parts
        if threading.get_ident() == thread:
            parts -= 1
            if parts < 0:
                raise BeyondError(f"there are more parts here than tensors there, such as {name}")

    hooks = (
        registration.register_module_parameter_registration_hook(on_parameter),
        registration.register_module_module_registration_hook(on_module),
    )
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def outline(
    make: Callable[[], nn.Module], tensors: Mapping[str, Sequence[int]]
) -> dict[str, tuple[int, ...]] | None:
    """Return the shapes of a module's state dict, found out at a cost that given tensors bound.

    Parameters
    ----------
    make : callable
        Builds the module; what it raises is passed on. It is called on the meta device.
    tensors : mapping of str to shape
        What is to become the state dict; its names are not compared.

    Returns
    -------
    dict or None
        None if the module reads numbers while it is built, as a user-defined one may.

    Raises
    ------
    BeyondError
        If the module asks for many more tensors than there are.
    """
    shapes = Counter(tuple(shape) for shape in tensors.values())
    try:
        with _bounded(shapes), torch.device("meta"), _FillNothing():
            own = make().state_dict()
    except (RuntimeError, TypeError) as error:
        if "meta tensor" in str(error) or "meta device" in str(error):
            return None
        raise
    return {name: tuple(tensor.shape) for name, tensor in own.items()}


def misfit(make: Callable[[], nn.Module], tensors: Mapping[str, Sequence[int]]) -> str | None:
    """Return how a module differs from tensors of given shapes, before it takes any memory.

    Parameters
    ----------
    make, tensors
        As in `outline`.

    Returns
    -------
    str or None
        A phrase; None if they fit, or if that cannot be told.

    Examples
    --------
    >>> misfit(lambda: nn.Linear(3, 2), {"weight": (2, 4), "bias": (2,)})
    'weight has shape (2, 4) there and (2, 3) here'
    >>> misfit(lambda: nn.Sequential(*(nn.Linear(9, 9) for _ in range(10**9))), {"weight": (9, 9)})
    'there are more tensors here, such as bias of shape (9,)'
    """
    try:
        own = outline(make, tensors)
    except BeyondError as error:
        return str(error)
    return None if own is None else difference(own, tensors)


def difference(own: Mapping[str, Sequence[int]], given: Mapping[str, Sequence[int]]) -> str | None:
    """Return a phrase on the first difference in names and shapes, None if there is none.

    Examples
    --------
    >>> difference({"weight": (2, 3)}, {"weight": (2, 3), "bias": (2,)})
    '1 tensors are in one of them only, such as bias'
    """
    odd = sorted(own.keys() ^ given.keys())
    if odd:
        return f"{len(odd)} tensors are in one of them only, such as {odd[0]}"
    for name, shape in given.items():
        if tuple(own[name]) != tuple(shape):
            return f"{name} has shape {tuple(shape)} there and {tuple(own[name])} here"
    return None

"""PyTorch's settings of the process that change the numbers of a fit.

Five of them are part of what a fit is (`torch_settings`), and workers of a sweep take them over
(`use_torch_settings`). All others should be PyTorch's defaults; `changed_switch` names one that is
not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from operator import attrgetter
from typing import Any

import torch

__all__ = ["Settings", "changed_switch", "torch_settings", "use_torch_settings"]

Settings = Mapping[str, str | None]

_DTYPE, _DEVICE = "default dtype", "default device"
_PRECISION, _DETERMINISTIC = "float32 matmul precision", "deterministic algorithms"
_AUTOCAST = "autocast on "


def torch_settings(device: str) -> dict[str, str | None]:
    """Return the five settings that matter: dtype, device, precision, determinism, autocast.

    The device is the type of the one that is computed on. A setting that this version or machine
    does not know is None. The number of threads is not among them: it changes the last bits at
    most, and workers of a search should find what others have done.
    """
    queries: dict[str, Callable[[], Any]] = {
        _DTYPE: torch.get_default_dtype,
        _DEVICE: torch.get_default_device,
        _PRECISION: torch.get_float32_matmul_precision,
        _DETERMINISTIC: torch.get_deterministic_debug_mode,
    }
    for place in sorted({"cpu", device}):
        queries[_AUTOCAST + place] = lambda place=place: (  # type: ignore[misc]
            torch.is_autocast_enabled(place) and torch.get_autocast_dtype(place)
        )
    return {name: _answer(query) for name, query in queries.items()}


def _answer(query: Callable[[], Any]) -> str | None:
    try:
        return str(query())
    except (AttributeError, RuntimeError):  # unknown here, or set in two ways that contradict
        return None


@contextmanager
def use_torch_settings(wanted: Settings, device: str) -> Iterator[None]:
    """Run a block with the settings of another process, and restore this one's.

    They are those of `torch_settings` there. One that cannot be taken over raises RuntimeError.

    Examples
    --------
    >>> doubles = torch_settings("cpu") | {"default dtype": "torch.float64"}
    >>> with use_torch_settings(doubles, "cpu"):
    ...     torch.zeros(1).dtype
    torch.float64
    >>> torch.zeros(1).dtype
    torch.float32
    """
    before = torch_settings(device)
    with ExitStack() as stack:
        stack.callback(_set, before, device)
        _set(wanted, device)
        for name, value in wanted.items():
            is_block = name == _DEVICE or name.startswith(_AUTOCAST)
            if is_block and value is not None and torch_settings(device).get(name) != value:
                with suppress(AttributeError, RuntimeError):
                    stack.enter_context(_block(name, value))
        now = torch_settings(device)
        for name, value in wanted.items():
            if value is not None and now.get(name) != value:
                raise RuntimeError(
                    f"PyTorch's setting {name!r} is {value} where the sweep runs and "
                    f"{now.get(name)} in its worker, which cannot take it over: set n_jobs=1, or "
                    "leave the setting alone"
                )
        yield


def _set(wanted: Settings, device: str) -> None:
    """Set what is global, if it differs."""
    setters: dict[str, Callable[[str], object]] = {
        _DTYPE: lambda value: torch.set_default_dtype(_dtype(value)),
        _PRECISION: torch.set_float32_matmul_precision,
        _DETERMINISTIC: lambda value: torch.use_deterministic_algorithms(
            value != "0", warn_only=value == "1"
        ),
    }
    now = torch_settings(device)
    for name, setter in setters.items():
        value = wanted.get(name)
        if value is not None and value != now[name]:
            with suppress(AttributeError, RuntimeError, TypeError, ValueError):
                setter(value)  # `use_torch_settings` checks whether it worked


def _block(name: str, value: str) -> AbstractContextManager[object]:
    """Return what sets the default device or autocast for a block."""
    if name == _DEVICE:
        return torch.device(value)
    place = name.removeprefix(_AUTOCAST)
    if value == "False":
        return torch.autocast(place, enabled=False)
    return torch.autocast(place, dtype=_dtype(value))


def _dtype(name: str) -> torch.dtype:
    return getattr(torch, name.removeprefix("torch."))


# Switches that should be PyTorch's defaults

_IEEE = ("none", "ieee")  # no reduced precision, neither here nor wherever this one comes from
_SWITCHES: dict[str, tuple[object, ...]] = {
    **dict.fromkeys(("fp32_precision", "mkldnn.fp32_precision"), _IEEE),
    **dict.fromkeys(("mkldnn.conv.fp32_precision", "mkldnn.rnn.fp32_precision"), _IEEE),
    **{"mkldnn.enabled": (True,), "mkldnn.deterministic": (False,)},
    **dict.fromkeys(("cuda.flash_sdp_enabled", "cuda.mem_efficient_sdp_enabled"), (True,)),
    "cuda.math_sdp_enabled": (True,),
}
_SWITCHES_OF_GPUS: dict[str, tuple[object, ...]] = {
    "cuda.preferred_blas_library": ("_BlasBackend.Default", "_BlasBackend.Cublas"),
    "cuda.matmul.allow_fp16_reduced_precision_reduction": (True,),
    "cuda.matmul.allow_bf16_reduced_precision_reduction": (True,),
    **{"cuda.matmul.allow_fp16_accumulation": (False,), "cuda.cudnn_sdp_enabled": (True,)},
    **{"cudnn.enabled": (True,), "cudnn.benchmark": (False,), "cudnn.deterministic": (False,)},
    **{"cudnn.allow_tf32": (True,), "cudnn.fp32_precision": _IEEE},
    **dict.fromkeys(("cudnn.conv.fp32_precision", "cudnn.rnn.fp32_precision"), ("tf32",)),
}
_BY_PRECISION: dict[str | None, tuple[tuple[object, ...], ...]] = {
    "highest": (_IEEE, _IEEE, (False,)),
    "high": (("tf32",), ("tf32",), (True,)),
    "medium": (("bf16",), ("tf32",), (True,)),
}
"""What `torch.set_float32_matmul_precision` sets these three to."""
_OTHERWISE = "not as torch.set_float32_matmul_precision sets it"
_MATMUL = ("mkldnn.matmul.fp32_precision", "cuda.matmul.fp32_precision", "cuda.matmul.allow_tf32")


def changed_switch(device: str) -> str | None:
    """Name a switch of PyTorch that is not at its default, besides the five of `torch_settings`.

    Examples
    --------
    >>> changed_switch("cpu")
    >>> with torch.backends.cudnn.flags(enabled=True, deterministic=True):
    ...     changed_switch("cuda")
    "torch.backends.cudnn.deterministic=True (PyTorch's default is False)"
    """
    if float(torch.tensor(1e-40, dtype=torch.float32, device="cpu") * 1.0) == 0:
        return "torch.set_flush_denormal(True) (PyTorch's default is False)"
    precision = _answer(torch.get_float32_matmul_precision)
    matmul = dict(zip(_MATMUL, _BY_PRECISION.get(precision, ((), (), ())), strict=True))
    switches = matmul | _SWITCHES | _SWITCHES_OF_GPUS
    for name, defaults in switches.items():
        if device == "cpu" and (name in _SWITCHES_OF_GPUS or name in _MATMUL[1:]):
            continue
        value = _answer(lambda name=name: _switch(name))  # type: ignore[misc]
        if value is not None and value not in map(str, defaults):
            call = "()" if name.endswith(("_enabled", "_library")) else ""
            reason = f"PyTorch's default is {defaults[0]}" if name not in _MATMUL else _OTHERWISE
            return f"torch.backends.{name}{call}={value} ({reason})"
    return None


def _switch(name: str) -> Any:
    value = attrgetter(name)(torch.backends)
    return value() if callable(value) else value

"""The weights of a saved model: what they fit is known from their header, before they are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from snn_estimators._files import OtherKindError, read_file, require
from snn_estimators.nn.outline import difference, misfit
from snn_estimators.persistence.hashing import hash_bytes

__all__ = ["check_fit", "load_weights", "read_shapes", "read_tensors"]


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shapes in the header of a safetensors file; raise ValueError if it is damaged."""
    require(path)
    try:
        with safe_open(path, "numpy") as weights:
            names = weights.keys()
            return {name: tuple(weights.get_slice(name).get_shape()) for name in names}
    except (SafetensorError, OSError) as error:
        raise _damaged(path, error) from error


def check_fit(make: Callable[[], nn.Module], path: Path, kind: str) -> None:
    """Raise `OtherKindError` unless the module to be made has the tensors of a safetensors file.

    Its cost does not depend on what `make` asks for; see `snn_estimators.nn.outline`.
    """
    _raise_misfit(misfit(make, read_shapes(path)), path, kind)


def load_weights(module: nn.Module, path: Path, sha256: str) -> None:
    """Read a safetensors file into a module, with a ValueError unless each tensor fits.

    If the file is whole, it is an `OtherKindError`. The hash of the file must be the saved one.
    """
    # The file is opened once: the second time it may be another writer's, or missing.
    content = read_file(path)
    weights = _parse(content, path)
    own = {name: tensor.shape for name, tensor in module.state_dict().items()}
    given = {name: tensor.shape for name, tensor in weights.items()}
    _raise_misfit(difference(own, given), path, type(module).__name__)
    if hash_bytes(content) != sha256:
        raise ValueError(f"{path} is damaged: it is not what was saved with its config.json.")
    module.load_state_dict(weights)


def read_tensors(path: Path) -> Mapping[str, Tensor]:
    """Read a safetensors file, with a ValueError that names it if it is damaged."""
    return _parse(read_file(path), path)


def _parse(content: bytes, path: Path) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load(content)
    except SafetensorError as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> ValueError:
    return ValueError(f"{path} is damaged or no safetensors file: {error}.")


def _raise_misfit(phrase: str | None, path: Path, kind: str) -> None:
    if phrase is not None:
        raise OtherKindError(f"{path} does not fit a {kind} with these parameters: {phrase}.")

"""Files with the tensors of a checkpoint; nothing in them is executed."""

from __future__ import annotations

import os
import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError

from snn_estimators._torch_files import check_archive

__all__ = ["read_checkpoint"]


def read_checkpoint(path: str | os.PathLike[str]) -> dict[Any, Any]:
    """Read a file of tensors: what ``torch.save`` writes, today or long ago, or safetensors.

    The content decides about the kind, not the name. Nothing in the file is executed.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    dict
        What the file holds: a state dict, or one beside other plain things, on the CPU.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is damaged, or holds anything beyond tensors and plain values.

    Examples
    --------
    >>> import tempfile, torch
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     torch.save({"emb.weight": torch.zeros(3, 2)}, f"{folder}/model.pth")
    ...     list(read_checkpoint(f"{folder}/model.pth"))
    ['emb.weight']
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    content = _read_safetensors(path) if _is_safetensors(path) else _read_pickle(path)
    if not isinstance(content, Mapping):
        raise ValueError(f"{path} holds a {type(content).__name__}, not a dictionary of tensors.")
    return dict(content)


def _is_safetensors(path: Path) -> bool:
    """Return whether a file begins with the size of a JSON header and the header."""
    with path.open("rb") as file:
        return path.suffix == ".safetensors" or file.read(9)[8:] == b"{"


def _read_safetensors(path: Path) -> Any:
    try:
        return safetensors.torch.load_file(path)
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{path} is damaged or no safetensors file: {error}.") from error


def _read_pickle(path: Path) -> Any:
    check_archive(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of PyTorch, about formats that raise an error below
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f", a {named[1]}" if named else ""
        raise ValueError(
            f"{path} holds more than tensors{what}, and reading that would execute it: save the "
            "state_dict alone, torch.save(model.state_dict(), path), where you trust the file."
        ) from error
    except Exception as error:  # of many kinds, such as struct.error for a header cut short
        reason = str(error) or type(error).__name__
        raise ValueError(f"{path} is damaged or no PyTorch file: {reason}.") from error

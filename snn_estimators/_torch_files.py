"""PyTorch's files take no more memory than they take on the disk."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from snn_estimators._files import require

__all__ = ["check_archive", "check_storages"]


def check_archive(path: Path) -> None:
    """Raise ValueError for a file of ``torch.save`` that unpacks to more than its own size."""
    require(path)
    if not zipfile.is_zipfile(path):  # the older format is read as it is
        return
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, NotImplementedError, UnicodeError) as error:
        raise ValueError(f"{path} is damaged: {error}.") from error
    if unpacked > path.stat().st_size:
        raise ValueError(
            f"{path} is damaged: it unpacks to {unpacked:,} bytes, more than PyTorch has saved."
        )


def check_storages(tensors: Mapping[str, Tensor]) -> None:
    """Raise ValueError for tensors that show their numbers many times over.

    A tensor with strides of zero may be of any size, and so may many tensors of one storage.

    Examples
    --------
    >>> check_storages({"weight": torch.zeros(1).expand(30_000, 30_000)})
    Traceback (most recent call last):
    ...
    ValueError: weight holds 4 bytes, but its shape (30000, 30000) needs 3,600,000,000: save ...
    """
    stored: dict[int, int] = {}
    needed = 0
    for name, tensor in tensors.items():
        if tensor.layout is not torch.strided or tensor.device.type == "meta":
            raise ValueError(f"{name} is no dense tensor of numbers: save one, tensor.to_dense().")
        storage, size = tensor.untyped_storage(), tensor.numel() * tensor.element_size()
        if size > storage.nbytes():
            raise ValueError(
                f"{name} holds {storage.nbytes()} bytes, but its shape {tuple(tensor.shape)} needs "
                f"{size:,}: save tensor.contiguous()."
            )
        stored[storage.data_ptr()] = storage.nbytes()
        needed += size
    if needed > 2 * sum(stored.values()):  # a tied matrix is there twice
        raise ValueError(
            f"The tensors hold {sum(stored.values()):,} bytes, but their shapes need {needed:,}: "
            "save a clone of each."
        )

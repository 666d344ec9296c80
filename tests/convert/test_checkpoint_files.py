"""Files of any age and kind give the same tensors; code in them never runs."""

from __future__ import annotations

import argparse
import os

import pytest
import safetensors.torch
import torch

from snn_estimators.convert import read_checkpoint

WEIGHTS = {"emb.weight": torch.arange(6.0).reshape(3, 2), "steps": torch.tensor(7)}


def write_zip(content, path):
    torch.save(content, path)


def write_legacy(content, path):
    torch.save(content, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize("write", [write_zip, write_legacy, safetensors.torch.save_file])
@pytest.mark.parametrize("name", ["model.pth", "model.bin", "model"])
def test_files_of_any_kind_and_name_are_read(write, name, tmp_path):
    write(WEIGHTS, tmp_path / name)
    found = read_checkpoint(tmp_path / name)
    assert found.keys() == WEIGHTS.keys()
    assert all(torch.equal(found[key], tensor) for key, tensor in WEIGHTS.items())


@pytest.mark.parametrize("write", [write_zip, write_legacy])
def test_plain_values_beside_tensors_are_read(write, tmp_path):
    write({"model": WEIGHTS, "epoch": 3, "args": {"lr": 0.1}}, tmp_path / "model.pth")
    assert read_checkpoint(tmp_path / "model.pth")["args"] == {"lr": 0.1}


class Malice:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("write", [write_zip, write_legacy])
def test_code_in_a_file_never_runs(write, tmp_path):
    trap, path = tmp_path / "executed", tmp_path / "model.pth"
    write({**WEIGHTS, "x": Malice(trap)}, path)
    with pytest.raises(ValueError, match="holds more than tensors"):
        read_checkpoint(path)
    assert not trap.exists()


def test_objects_beside_tensors_are_named(tmp_path):
    torch.save({"model": WEIGHTS, "args": argparse.Namespace(lr=1)}, tmp_path / "model.pth")
    with pytest.raises(ValueError, match=r"more than tensors, a argparse\.Namespace, and .* alone"):
        read_checkpoint(tmp_path / "model.pth")


def test_damaged_files_are_named(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(safetensors.torch.save(WEIGHTS)[:-5])
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged or no safetensors file"):
        read_checkpoint(path)
    torch.save(WEIGHTS, path)
    with pytest.raises(ValueError, match=r"damaged or no safetensors file"):
        read_checkpoint(path)
    with pytest.raises(FileNotFoundError, match="There is no file"):
        read_checkpoint(tmp_path / "nowhere")

"""Checkpoints of others take no more memory than their files."""

from __future__ import annotations

import resource
import time
import zipfile

import pytest
import torch

from snn_estimators.convert import from_spikedecoder, from_spikegpt
from snn_estimators.estimators import SpikeGPTLM


@pytest.fixture(autouse=True)
def _bounded():
    """Check that a test takes a moment and little memory."""
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    yield
    assert time.process_time() - started < 3
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kilobytes


EXPANDED = {
    "strides of zero": {"emb.weight": torch.zeros(1).expand(30_000, 30_000)},
    "half": {"emb.weight": torch.zeros(1).half().expand(30_000, 30_000)},
    "sparse": {"emb.weight": torch.zeros(3, 3).to_sparse()},
    "meta": {"emb.weight": torch.empty(30_000, 30_000, device="meta")},
}
_shared = torch.zeros(1000)
EXPANDED["one storage"] = {f"blocks.{i}.w": _shared.view(10, 100) for i in range(50)}


@pytest.mark.parametrize("tensors", EXPANDED.values(), ids=EXPANDED)
def test_tensors_larger_than_their_numbers(tmp_path, tensors):
    path = tmp_path / "model.pth"
    torch.save(tensors, path)
    with pytest.raises(ValueError, match=r"model.pth holds no SpikeGPT: .*: save "):
        SpikeGPTLM.from_reference(path, tokenizer=None)


@pytest.mark.parametrize("convert", [from_spikegpt, lambda t: from_spikedecoder(t, {})])
def test_tensors_in_memory(convert):
    with pytest.raises(ValueError, match=r"holds 4 bytes|config lacks"):
        convert({"emb.weight": torch.zeros(1).expand(30_000, 30_000), "blocks.0.x": _shared})


@pytest.mark.slow
def test_layers_by_name():
    tensors = {f"blocks.{i}.x": torch.zeros(1) for i in range(20_000)}
    with pytest.raises(ValueError, match=r"more tensors here, .*the sizes are those of emb.weight"):
        from_spikegpt({"emb.weight": torch.zeros(9, 8), **tensors})


def test_a_sparse_checkpoint(tmp_path):
    path = tmp_path / "model.pth"
    torch.save({"emb.weight": torch.zeros(3, 3)}, path)
    with path.open("r+b") as file:
        file.truncate(10**11)
    with pytest.raises(ValueError, match="of its 100,000,000,000 bytes all but"):
        SpikeGPTLM.from_reference(path, tokenizer=None)


def test_a_checkpoint_that_unpacks_to_more(tmp_path):
    plain, packed = tmp_path / "plain.pth", tmp_path / "packed.pth"
    torch.save({"emb.weight": torch.zeros(3000, 1000)}, plain)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(packed, "w") as target:
        for entry in source.infolist():
            target.writestr(entry, source.read(entry), zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match=r"it unpacks to 12,.* more than PyTorch has saved"):
        SpikeGPTLM.from_reference(packed, tokenizer=None)

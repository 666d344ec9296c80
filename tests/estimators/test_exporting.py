"""Exported files give the logits of the module, without the library."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from sklearn.exceptions import NotFittedError

from snn_estimators.estimators import SpikeDecoderLM, SpikeGPTLM
from snn_estimators.nn import SpikeGPT
from snn_estimators.nn.streaming import StreamedStep

VOCAB = 12
MODELS = {
    "SpikeGPT": lambda: SpikeGPTLM(tokenizer=None, module__vocab_size=VOCAB, module__n_embd=8),
    "published SpikeGPT": lambda: SpikeGPTLM(
        tokenizer=None,
        module__vocab_size=VOCAB,
        module__n_embd=8,
        module__spikes="residual",
        module__initialization="firing",
        module__v_reset=-0.25,
    ),
    "SpikeDecoder": lambda: SpikeDecoderLM(
        tokenizer=None,
        module__vocab_size=VOCAB,
        module__max_len=32,
        module__blocks=1,
        module__heads=2,
        module__token_dim=6,
        module__position_dim=2,
        module__attention_decay="learned",
        module__neuron="power-of-two",
    ),
}
TOLERANCES = {"torch": 1e-5, "onnx": 1e-4}


# An export takes seconds: each kind of model in each form, and each form of file for both.
SEQUENCES = [("SpikeGPT", "onnx"), ("published SpikeGPT", "torch"), ("SpikeDecoder", "onnx")]
STEPS = [("SpikeGPT", "torch"), ("published SpikeGPT", "onnx"), ("SpikeDecoder", "onnx")]


def fitted_model(name):
    ids = np.random.default_rng(0).integers(VOCAB, size=(4, 40))
    model = MODELS[name]().set_params(max_epochs=1, random_state=0, verbose=0)
    model.fit(ids).module_.eval()
    return model


def reader(path, format):
    """Load a file into a function of arrays, without the library."""
    if format == "torch":
        return torch.export.load(path).module()
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(path)

    def run(*inputs):
        flat = [
            x for value in inputs for x in (value.values() if isinstance(value, dict) else [value])
        ]
        names = [port.name for port in session.get_inputs()]
        feed = {name: x.numpy() for name, x in zip(names, flat, strict=True)}
        outputs = [torch.from_numpy(x) for x in session.run(None, feed)]
        if len(outputs) == 1:
            return outputs[0]
        state = dict(zip(inputs[2], outputs[2:], strict=True))
        return outputs[0], outputs[1], state

    return run


def tokens(n_sequences, n_tokens):
    return torch.randint(VOCAB, (n_sequences, n_tokens))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "format"), SEQUENCES)
@torch.no_grad()
def test_sequences_of_any_number_and_length_get_the_same_logits(name, format, tmp_path):
    if format == "onnx":
        pytest.importorskip("onnxscript")
    model = fitted_model(name)
    network = reader(model.export(tmp_path / "model.pt2", format), format)
    padded = tokens(2, 12)
    padded[1, 7:] = -1
    for batch in (tokens(1, 1), tokens(3, 32), padded):
        expected = model.module_(batch)
        real = batch >= 0
        assert (network(batch) - expected)[real].abs().max() <= TOLERANCES[format]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "format"), STEPS)
@torch.no_grad()
def test_one_step_after_another_gives_the_logits_of_the_stream(name, format, tmp_path):
    if format == "onnx":
        pytest.importorskip("onnxscript")
    model = fitted_model(name)
    path = model.export(tmp_path / "model.pt2", format, streaming=True)
    step, text = reader(path, format), tokens(3, 10)
    expected, _ = model.module_.stream(text)
    position = torch.tensor(0)
    state = {
        name: torch.full_like(x, 7.0)  # forgotten at position 0
        for name, x in StreamedStep(model.module_).start(3).items()
    }
    for index in range(10):
        logits, position, state = step(text[:, index : index + 1], position, state)
        difference = (logits[:, 0] - expected[:, index]).abs().max()
        assert difference <= TOLERANCES[format]
    assert position == 10


def test_softmax_attention_has_no_step(fitted, tmp_path):
    twin = fitted.twin(max_epochs=1).fit(["the cat sat on the mat."])
    with pytest.raises(ValueError, match=r"SpikingDecoder cannot be exported as a step.*grows"):
        twin.export(tmp_path / "twin", streaming=True)
    assert not list(tmp_path.iterdir())


def test_bad_requests_are_refused_before_any_work(fitted, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"format='pickle' is unknown.*\['torch', 'onnx'\]"):
        fitted.export(tmp_path / "model", "pickle")
    with pytest.raises(NotFittedError):
        SpikeGPTLM().export(tmp_path / "model")
    with pytest.raises(FileNotFoundError, match=r"in a folder that is not there: make .*first"):
        fitted.export(tmp_path / "nowhere" / "model")
    with pytest.raises(IsADirectoryError, match="is a folder: name a file in it"):
        fitted.export(tmp_path)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"package onnx: pip install 'snn-estimators\[onnx\]'"):
        fitted.export(tmp_path / "model", "onnx")


def test_a_failed_export_leaves_the_older_file(fitted, tmp_path, monkeypatch):
    path = tmp_path / "model"
    path.write_text("older")

    def fail(*args, **kwargs):
        raise RuntimeError("no")

    monkeypatch.setattr(torch.export, "save", fail)
    monkeypatch.setattr(torch.export, "export", fail)
    with pytest.raises(RuntimeError):
        fitted.export(path)
    assert path.read_text() == "older"
    assert list(tmp_path.iterdir()) == [path]


def test_a_step_begins_a_text_with_zeros():
    module = SpikeGPT(VOCAB, n_embd=8).eval()
    step, text = StreamedStep(module), tokens(2, 1)
    logits, position, _ = step(text, torch.tensor(0), step.start(2))
    assert torch.equal(logits, module.stream(text)[0])
    assert position == 1

"""Fitted language models as files that run without this library: PyTorch's, or ONNX."""

from __future__ import annotations

import copy
import importlib
import io
import os
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.export import Dim, ExportedProgram

from snn_estimators._files import write_file
from snn_estimators._validation import check_choices, check_flags
from snn_estimators.nn.streaming import StreamedStep
from snn_estimators.persistence.model_files import plain

__all__ = ["Exporting"]

FORMATS = {"format": ("torch", "onnx")}
_EXAMPLE = (2, 20)  # sequences and tokens that the module is traced with


class Exporting:
    """The method that writes a fitted model's module as a file of its own."""

    def export(
        self: Any, path: str | os.PathLike[str], format: str = "torch", *, streaming: bool = False
    ) -> Path:
        """Write the network in evaluation mode as one file that needs nothing of this library.

        It maps token ids, whole numbers of 64 bits and shape [batch, sequence], to the logits of
        the tokens that follow, [batch, sequence, vocabulary]. Batch and sequence are of any size,
        the latter up to the window's length where the network encodes positions; negative ids are
        padding, on the right. The tokenizer is no part of the file.

        With `streaming` it is one step of generation: tokens, shape [batch, 1], the position of
        that token, shape [], and a state go in; logits, the next position and the next state come
        out, to be the next call's. Position 0 begins a text, whatever the state then holds, so a
        state of zeros will do. A network that encodes positions has none from the window's length
        on: start again there, from the last tokens.

        Parameters
        ----------
        path : str or path
            The file; one that is there is replaced, whole or not at all. Its folder must exist.
        format : {"torch", "onnx"}, default="torch"
            "torch" is read by ``torch.export.load(path).module()``, "onnx" by
            ``onnxruntime.InferenceSession(path)`` and others. To write ONNX takes the packages
            onnx and onnxscript: ``pip install 'snn-estimators[onnx]'``.
        streaming : bool, default=False
            Write one step instead. Its state is a dict of tensors, shape [batch, ...]; in ONNX,
            inputs ``state.NAME`` and outputs ``next.NAME``.

        Returns
        -------
        Path

        Raises
        ------
        ValueError
            For an unknown format, or a step of softmax attention, whose state grows.
        NotFittedError
            Before `fit`.
        FileNotFoundError, ImportError
            If the folder is not there, or a package is missing.

        Examples
        --------
        >>> import tempfile, torch
        >>> from snn_estimators import SpikeGPTLM
        >>> options = {"module__n_embd": 8, "max_epochs": 1, "random_state": 0, "verbose": 0}
        >>> model = SpikeGPTLM(**options).fit(["to be or not to be"])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = model.export(f"{folder}/model.pt2")
        ...     network = torch.export.load(path).module()
        >>> network(torch.tensor([[1, 2, 3]])).shape
        torch.Size([1, 3, 8])
        """
        check_choices(FORMATS, format=format)
        check_flags(streaming=streaming)
        self.check_is_fitted()
        path = _check_target(path)
        if format == "onnx":
            _require_onnx()
        module = copy.deepcopy(plain(self.module_)).cpu().eval()
        if streaming:
            step = StreamedStep(module)
            names = list(step.batch_dims)
            program = _trace_step(step)
            inputs = ["tokens", "position", *(f"state.{name}" for name in names)]
            outputs = ["logits", "next_position", *(f"next.{name}" for name in names)]
        else:
            program, inputs, outputs = _trace_sequence(module), ["tokens"], ["logits"]
        as_onnx = format == "onnx"
        write_file(path, _as_onnx(program, inputs, outputs) if as_onnx else _as_torch(program))
        return path


def _check_target(path: str | os.PathLike[str]) -> Path:
    """Raise an error unless a file can be written there."""
    target = Path(path)
    if target.is_dir():
        raise IsADirectoryError(f"path={str(path)!r} is a folder: name a file in it.")
    if not target.parent.is_dir():
        raise FileNotFoundError(
            f"path={str(path)!r} is in a folder that is not there: make {str(target.parent)!r} "
            "first."
        )
    return target


def _require_onnx() -> None:
    for package in ("onnx", "onnxscript"):
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise ImportError(
                f"format='onnx' needs the package {package}: pip install 'snn-estimators[onnx]'."
            ) from error


def _trace_sequence(module: Any) -> ExportedProgram:
    n_sequences, n_tokens = _EXAMPLE
    limit = module.position_limit
    tokens = torch.zeros(n_sequences, min(n_tokens, limit or n_tokens), dtype=torch.long)
    length = Dim("sequence", min=1, max=limit) if limit else Dim("sequence", min=1)
    shapes = {0: Dim("batch", min=1), 1: length if tokens.shape[1] > 1 else None}
    return _trace(module, (tokens,), (shapes,))


def _trace_step(step: StreamedStep) -> ExportedProgram:
    n_sequences, batch = _EXAMPLE[0], Dim("batch", min=1)
    tokens = torch.zeros(n_sequences, 1, dtype=torch.long)
    state = step.start(n_sequences)
    shapes: tuple[Any, ...] = ({0: batch}, {}, {name: {0: batch} for name in state})
    return _trace(step, (tokens, torch.tensor(0), state), shapes)


def _trace(module: nn.Module, inputs: tuple[Any, ...], shapes: tuple[Any, ...]) -> ExportedProgram:
    module.requires_grad_(False)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of PyTorch, about its own insides
        return torch.export.export(module, inputs, dynamic_shapes=shapes, strict=False)


def _as_torch(program: ExportedProgram) -> bytes:
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    return buffer.getvalue()


def _as_onnx(program: ExportedProgram, inputs: list[str], outputs: list[str]) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        converted = torch.onnx.export(
            program, dynamo=True, verbose=False, input_names=inputs, output_names=outputs
        )
    assert converted is not None
    return converted.model_proto.SerializeToString()

"""One step of a stream as a module of tensors alone, which can be exported."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from snn_estimators.nn.neurons import TokenLIF
from snn_estimators.ops.wkv import EMPTY

States = dict[str, Tensor]
"""A stream's state by names, each of shape [batch, ...]."""


class StreamedStep(nn.Module):
    """Map a token, its position and a state to logits, the next position and the next state.

    At position 0 nothing is remembered, whatever the state holds; `start` makes one of zeros.

    Parameters
    ----------
    module : Module
        A `SpikingDecoder`, `SpikeGPT`, or any module with such a method `stream`.

    Raises
    ------
    ValueError
        If the state grows with every token, as that of softmax attention does.

    Examples
    --------
    >>> from snn_estimators.nn import SpikeGPT
    >>> step = StreamedStep(SpikeGPT(30, n_embd=16).eval())
    >>> tokens, position, state = torch.tensor([[3]]), torch.tensor(0), step.start(1)
    >>> logits, position, state = step(tokens, position, state)
    >>> logits.shape, position
    (torch.Size([1, 1, 30]), tensor(1))
    """

    def __init__(self, module: Any) -> None:
        super().__init__()
        self.module = module
        tokens, state = _stream_zeros(module, 2)
        with torch.no_grad():
            later = pytree.tree_leaves(module.stream(tokens, state)[1])
        wider = pytree.tree_leaves(_stream_zeros(module, 3)[1])
        self.leaves, self.spec = pytree.tree_flatten_with_path(state)
        self.batch_dims: dict[str, int] = {}
        for (path, leaf), after, more in zip(self.leaves, later, wider, strict=True):
            if not isinstance(leaf, Tensor):
                continue
            if after.shape != leaf.shape:
                raise ValueError(
                    f"{type(module).__name__} cannot be exported as a step: its state grows with "
                    "every token, as that of softmax attention does; export whole sequences."
                )
            sizes = zip(leaf.shape, more.shape, strict=True)
            self.batch_dims[_name(path)] = next(i for i, (a, b) in enumerate(sizes) if a != b)
        neurons = (part for part in module.modules() if isinstance(part, TokenLIF))
        self.rest = next((float(neuron.v_reset or 0.0) for neuron in neurons), 0.0)

    def start(self, n_sequences: int) -> States:
        """Return a state to begin with, for so many sequences."""
        state = self._flat(pytree.tree_unflatten([leaf for _, leaf in self.leaves], self.spec))
        return {name: x.new_zeros(n_sequences, *x.shape[1:]) for name, x in state.items()}

    def forward(
        self, tokens: Tensor, position: Tensor, state: States
    ) -> tuple[Tensor, Tensor, States]:
        """Map tokens, shape [batch, 1], at a position, shape []."""
        leaves = [self._leaf(_name(path), leaf, position, state) for path, leaf in self.leaves]
        logits, after = self.module.stream(tokens, pytree.tree_unflatten(leaves, self.spec))
        return logits, position + 1, self._flat(after)

    def _leaf(self, name: str, leaf: Any, position: Tensor, state: States) -> Any:
        """Return what stands at a place of the module's own state."""
        if name == "position":
            return position
        if name not in self.batch_dims:
            return leaf
        given = state[name].movedim(0, self.batch_dims[name])
        empty = self.rest if "membrane" in name else EMPTY if name.endswith("exponent") else 0.0
        return torch.where(position == 0, empty, given)

    def _flat(self, state: Any) -> States:
        named = {_name(path): leaf for path, leaf in pytree.tree_flatten_with_path(state)[0]}
        return {name: named[name].movedim(dim, 0) for name, dim in self.batch_dims.items()}


def _stream_zeros(module: Any, n_sequences: int) -> tuple[Tensor, Any]:
    """Return a token for each sequence, and the state after it."""
    device = next(module.parameters()).device
    tokens = torch.zeros(n_sequences, 1, dtype=torch.long, device=device)
    with torch.no_grad():
        return tokens, module.stream(tokens, None)[1]


def _name(path: Any) -> str:
    """Return a place in a state as text, such as blocks[0].mixing.last."""
    return pytree.keystr(path).removeprefix(".")

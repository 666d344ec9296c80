"""A module that hands a layer the values that each token stands for."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import torch
from torch import Tensor, nn

from snn_estimators.energy import measure
from snn_estimators.nn import Neuron, UpdateCost


class Emits(Neuron):
    """Neurons that emit their input, and declare what it is."""

    stateful = False

    def __init__(self, levels: int | None = 1, unit: float = 1.0, signed: bool = False) -> None:
        super().__init__()
        self.levels, self.unit, self.signed = levels, unit, signed

    def forward(self, x: Tensor) -> Tensor:
        return x.clone()

    def update_cost(self) -> UpdateCost:
        return UpdateCost(accumulates=1)


class Spelled(nn.Module):
    """Neurons that emit `values[token]` at every timestep, and a layer that sees it."""

    def __init__(
        self, layer: nn.Module, values: Sequence[Sequence[float]], times: int = 1, **code: object
    ) -> None:
        super().__init__()
        self.neuron, self.layer, self.times = Emits(**code), layer, times
        self.register_buffer("values", torch.tensor(values, dtype=torch.float64))
        self.double()

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.values[tokens].expand(self.times, *tokens.shape, -1)
        return self.layer(self.neuron(x))


def sums(module: Spelled, **options: object) -> pd.DataFrame:
    """Measure one sequence of all tokens; return sums over it, a row a layer."""
    tokens = torch.arange(len(module.values))[None]
    table = measure(module, tokens, **options).set_index("layer")
    shares = ["kind", "spike_rate", "mean_count", "events", "length"]
    numbers = table.columns.difference(shares)
    table[numbers] *= tokens.numel()
    return table

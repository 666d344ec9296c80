"""Options that several commands of the command line share, and how they are read."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

__all__ = [
    "Clean",
    "Cost",
    "Device",
    "Epochs",
    "LanguageModelName",
    "Length",
    "Limit",
    "Preset",
    "Seed",
    "Set",
    "Steps",
    "read_settings",
]

Limit = Annotated[int | None, typer.Option(min=1, help="Use the first N characters alone.")]
Clean = Annotated[
    bool, typer.Option("--clean/--raw", help="Reduce text to SpikeDecoder's 30 symbols first.")
]
Length = Annotated[int, typer.Option(min=2, help="Context length in tokens.")]
Epochs = Annotated[int | None, typer.Option(min=1, help="Passes over the training text.")]
Steps = Annotated[int | None, typer.Option(min=1, help="Optimizer steps; overrides --epochs.")]
Preset = Annotated[str | None, typer.Option(help="A preset of the model to start from.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the random numbers.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Fix a parameter, e.g. blocks=2; repeatable."),
]
# Those of `LANGUAGE_MODELS`, whose import takes too long for a line of help.
LanguageModelName = StrEnum("LanguageModelName", ["spikedecoder", "spikegpt"])
# Those of `COSTS`, for the same reason.
Cost = StrEnum("Cost", ["synaptic", "total", "total_with_memory", "weight_reads"])


def read_settings(fixed: list[str] | None, epochs: int | None, steps: int | None) -> dict[str, Any]:
    """Read --set, --epochs and --steps into parameters, by their short names."""
    from snn_estimators.model_selection.grids import parse_grid

    settings: dict[str, Any] = {}
    if epochs is not None:
        settings |= {"max_epochs": epochs, "max_steps": None}
    if steps is not None:
        settings["max_steps"] = steps
    for name, values in parse_grid(fixed or []).items():
        if len(values) != 1:
            raise ValueError(f"--set {name} takes one value, got {values}: use --grid in a sweep")
        settings[name] = values[0]
    return settings

"""Sweeps: a grid, corpora and seeds, cross-validated by workers into tables that survive a kill."""

from snn_estimators.sweep.defaults import DEFAULT_GRIDS, prepare_text, sweep_model
from snn_estimators.sweep.outputs import SweepResult, TablesNotWrittenError
from snn_estimators.sweep.sweep import Sweep, SweepInterrupted

__all__ = [
    "DEFAULT_GRIDS",
    "Sweep",
    "SweepInterrupted",
    "SweepResult",
    "TablesNotWrittenError",
    "prepare_text",
    "sweep_model",
]

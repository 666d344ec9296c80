"""Model selection: scores for scikit-learn's searches, grids, tidy tables and plots."""

from __future__ import annotations

from snn_estimators._files import check_writable
from snn_estimators.model_selection.baselines import baselines
from snn_estimators.model_selection.effects import main_effects
from snn_estimators.model_selection.grids import check_grid
from snn_estimators.model_selection.plots import plot_effects, plot_pareto
from snn_estimators.model_selection.provenance import describe_corpus, describe_run
from snn_estimators.model_selection.report import present, write_tables
from snn_estimators.model_selection.scoring import language_model_scores
from snn_estimators.model_selection.seeds import compare_with_best
from snn_estimators.model_selection.tables import pareto_front, results_table

__all__ = [
    "baselines",
    "check_grid",
    "check_writable",
    "compare_with_best",
    "describe_corpus",
    "describe_run",
    "language_model_scores",
    "main_effects",
    "pareto_front",
    "plot_effects",
    "plot_pareto",
    "present",
    "results_table",
    "write_tables",
]

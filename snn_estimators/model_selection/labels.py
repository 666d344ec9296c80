"""How tables and plots name metrics."""

from __future__ import annotations

__all__ = ["LABELS"]

LABELS = {
    "rank": "#",
    "bits_per_character": "bits/char",
    "accuracy": "accuracy (%)",
    "unknown_rate": "unknown (%)",
    "energy_per_token_nj": "energy (nJ/token)",
    "total_energy_per_token_nj": "total energy (nJ/token)",
    "energy_with_memory_per_token_nj": "with memory (nJ/token)",
    "weight_reads_per_token": "weights read/token",
    "relative_energy": "energy (% of ANN)",
    "relative_total": "total (% of ANN)",
    "relative_with_memory": "with memory (% of ANN)",
    "spike_rate": "spike rate (%)",
    "n_parameters": "parameters",
    "ann_n_parameters": "parameters of ANN",
    "context_length": "context",
    "tokens_per_second": "tokens/s",
    "fit_time": "fit (s)",
    "difference": "Δ perplexity",
    "difference_se": "s.e. of Δ",
    "p_value": "p",
    "pareto": "Pareto",
}
"""Labels of metrics whose names need one; shares are meant in percent."""

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
    "relative_energy": "energy (% of ANN)",
    "spike_rate": "spike rate (%)",
    "n_parameters": "parameters",
    "tokens_per_second": "tokens/s",
    "fit_time": "fit (s)",
    "difference": "Δ perplexity",
    "difference_se": "s.e. of Δ",
    "p_value": "p",
    "pareto": "Pareto",
}
"""Labels of metrics whose names need one; shares are meant in percent."""

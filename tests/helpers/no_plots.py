"""Plots that take no time, for tests of everything around them."""

from __future__ import annotations

from snn_estimators.model_selection import report

PNG = b"\x89PNG\r\n\x1a\n"


def skip_plots(monkeypatch):
    """Have `write_tables` write the first bytes of a picture instead of drawing it."""
    for name in ("plot_pareto", "plot_effects"):
        monkeypatch.setattr(report, name, lambda table: None)
    monkeypatch.setattr(report, "_png", lambda figure: PNG)

"""The command line in this process, and texts for it."""

from __future__ import annotations

import sys

import pytest
from no_plots import skip_plots

from snn_estimators import cli

TALE = "The cat sat on the mat. A dog ran to the tree! " * 12


@pytest.fixture(autouse=True)
def _no_plots(monkeypatch):
    skip_plots(monkeypatch)


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the command line in this process; return exit code, output and errors."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["snn-estimators", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return end.value.code or 0, *capsys.readouterr()

    return run


@pytest.fixture
def tale(tmp_path):
    path = tmp_path / "tale.txt"
    path.write_text(TALE, encoding="utf-8")
    (tmp_path / "song.txt").write_text("Row, row, row your boat, gently down! " * 12)
    return path


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SNN_ESTIMATORS_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "models"


@pytest.fixture
def no_fit(monkeypatch):
    from snn_estimators.sweep import sweep

    monkeypatch.setattr(sweep.Runner, "run", lambda *_: pytest.fail("a fit was started"))

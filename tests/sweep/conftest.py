"""Fixtures of tiny sweeps."""

from __future__ import annotations

import shutil

import pytest
from no_plots import skip_plots
from tiny_sweep import TALE, TINY

from snn_estimators.sweep import Sweep, sweep, sweep_model


@pytest.fixture(autouse=True)
def _no_plots(request, monkeypatch):
    """Draw nothing, but in tests that ask for `real_plots`."""
    if "real_plots" not in request.fixturenames:
        skip_plots(monkeypatch)


@pytest.fixture
def real_plots():
    """Draw the plots in this test."""


@pytest.fixture
def tiny():
    return sweep_model(**TINY)


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """The folder and the result of a sweep of one and two heads, which tests never change."""
    output = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        skip_plots(patch)
        options = {"estimator": sweep_model(**TINY), "length": 16, "n_jobs": 1, "baselines": False}
        return output, Sweep({"heads": [1, 2]}, TALE, output=output, **options).run()


@pytest.fixture
def kept(finished, tmp_path):
    """A copy of that folder, to be changed, and the result."""
    return shutil.copytree(finished[0], tmp_path / "kept"), finished[1]


@pytest.fixture
def make(tiny):
    """Make a sweep of tiny models over a tale, in this process."""

    def make(grid, corpora=TALE, **options):
        options = {"estimator": tiny, "length": 16, "n_jobs": 1, "baselines": False} | options
        return Sweep(grid, corpora, **options)

    return make


@pytest.fixture
def no_fit(monkeypatch):
    """Fail the test if a fit is started: errors have to come first."""
    monkeypatch.setattr(sweep.Runner, "run", lambda *_: pytest.fail("a fit was started"))


@pytest.fixture
def steps(monkeypatch, tiny):
    """Count the training steps of this process."""
    taken = []
    real = type(tiny).train_step

    def train_step(self, *args, **kwargs):
        taken.append(self.random_state)
        return real(self, *args, **kwargs)

    monkeypatch.setattr(type(tiny), "train_step", train_step)
    return taken

"""The front of the package: every public name is there, and importing it is cheap."""

from __future__ import annotations

import subprocess
import sys

import pytest

import snn_estimators


@pytest.mark.parametrize("name", snn_estimators.__all__)
def test_public_names_are_found(name):
    assert getattr(snn_estimators, name) is not None
    assert name in dir(snn_estimators)


@pytest.mark.parametrize("room", ["convert", "energy", "model_selection", "nn", "ops", "text"])
def test_rooms_are_reached_by_attribute(room):
    code = f"import snn_estimators; snn_estimators.{room}.__doc__[0]"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_unknown_names_are_refused():
    with pytest.raises(AttributeError, match="no attribute 'SpikeEncoder'"):
        snn_estimators.SpikeEncoder  # noqa: B018


def test_importing_the_package_does_not_import_torch():
    code = "import sys, snn_estimators, snn_estimators.cli; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)

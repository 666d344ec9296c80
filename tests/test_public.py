"""The front of the package: every public name is there, and importing it is cheap."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys

import pytest

import snn_estimators


@pytest.mark.parametrize("name", snn_estimators.__all__)
def test_public_names_are_found(name):
    assert getattr(snn_estimators, name) is not None
    assert name in dir(snn_estimators)


@pytest.mark.slow
def test_rooms_are_reached_by_attribute_and_leave_pyplot_alone():
    upwards = "ops nn text energy convert persistence estimators distributed model_selection sweep"
    assert set(upwards.split()) == set(snn_estimators._ROOMS)
    code = (
        f"import snn_estimators as s; [getattr(s, room).__doc__[0] for room in {upwards.split()}]\n"
        "import sys, snn_estimators.model_selection.plots\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_docstring_is_a_map_of_every_room():
    text = snn_estimators.__doc__
    assert all(f"``{room}``" in text for room in (*snn_estimators._ROOMS, "cli"))
    for room, name in re.findall(r"`(\w+)\.(\w+)`", text):
        assert name in importlib.import_module(f"snn_estimators.{room}").__all__, f"{room}.{name}"


def test_unknown_names_are_refused():
    with pytest.raises(AttributeError, match="no attribute 'SpikeEncoder'"):
        snn_estimators.SpikeEncoder  # noqa: B018


@pytest.mark.slow
def test_importing_the_package_does_not_import_torch():
    code = "import sys, snn_estimators, snn_estimators.cli; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)

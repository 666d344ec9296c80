"""Kills, damage and full disks cost a search no fit: every fault of `faults.py` once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL and fork")
def test_faults_cost_no_fit(tmp_path):
    script = Path(__file__).with_name("faults.py")
    subprocess.run(
        [sys.executable, script, "--quick", "--output", tmp_path],
        check=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
    )
    table = pd.read_csv(tmp_path / "results.csv")
    assert len(table) == 7
    assert (table[["lost", "repeated", "differing"]] == 0).all(axis=None)
    for file in ("results.md", "run.json"):
        assert (tmp_path / file).stat().st_size > 0

"""Kills, damage and full disks cost a search no fit: every fault of `faults.py` once."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest
from warm_process import run_script, running


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL and fork")
def test_faults_cost_no_fit(tmp_path):
    script = Path(__file__).with_name("faults.py")
    said = tmp_path / "said.txt"
    with running(run_script, script, "--quick", "--output", tmp_path, output=said) as process:
        process.join()
    assert process.exitcode == 0, said.read_text()
    table = pd.read_csv(tmp_path / "results.csv")
    assert len(table) == 7
    assert (table[["lost", "repeated", "differing"]] == 0).all(axis=None)
    for file in ("results.md", "run.json"):
        assert (tmp_path / file).stat().st_size > 0

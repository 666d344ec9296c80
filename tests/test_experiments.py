"""Every experiment runs from the command line and leaves its tables."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[1]
ROWS = {
    "timesteps_heads_encoding": 24,
    "embeddings": 15,
    "spike_degree": 6,
    "context_ablation": 8,
    "beyond_bigrams": 10,
}


@pytest.mark.parametrize("name", ROWS)
def test_quick_run_leaves_a_table(name, tmp_path):
    subprocess.run(
        [
            *(sys.executable, ROOT / "experiments" / f"{name}.py", "--quick", "--jobs", "1"),
            *("--output", tmp_path),
        ],
        check=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
    )
    table = pd.read_csv(tmp_path / "results.csv")
    assert len(table) == ROWS[name]
    assert table["perplexity"].gt(1).all()
    for file in ("results.md", "results.tex", "run.json", "pareto.png", "effects.png"):
        assert (tmp_path / file).stat().st_size > 0


def test_every_experiment_is_tried_here():
    scripts = {p.stem for p in (ROOT / "experiments").glob("[!_]*.py")}
    assert scripts - {"update_readme", "benchmark_lif", "benchmark_decoder"} == set(ROWS)

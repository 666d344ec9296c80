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
    "spikegpt_quality": 8,
    "spikedecoder_spikegpt": 6,
}
OTHERS = {"update_readme", "movie_reviews", "benchmark_lif", "benchmark_decoder"}
OTHERS |= {"benchmark_spikegpt", "benchmark_sweep", "benchmark_data_parallel", "faults"}


def run(name, output, *options):
    """Run an experiment in a few steps, and return its table."""
    subprocess.run(
        [
            *(sys.executable, ROOT / "experiments" / f"{name}.py", "--quick", "--jobs", "1"),
            *("--output", output, *options),
        ],
        check=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
    )
    return pd.read_csv(output / "results.csv")


@pytest.mark.parametrize("name", ROWS)
def test_quick_run_leaves_a_table(name, tmp_path):
    table = run(name, tmp_path)
    assert len(table) == ROWS[name]
    assert table["perplexity"].gt(1).all()
    for file in ("results.md", "results.tex", "run.json", "pareto.png", "effects.png"):
        assert (tmp_path / file).stat().st_size > 0


def test_movie_reviews(shared, tmp_path):
    table = run("movie_reviews", tmp_path, "--data", shared / "data")
    assert len(table) == 8
    assert table["accuracy"].between(0.3, 1).all()
    assert abs(table.set_index("model").loc["majority vote", "accuracy"] - 0.5) < 0.01
    for file in ("results.md", "run.json"):
        assert (tmp_path / file).stat().st_size > 0


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX's")
def test_faults(tmp_path):
    table = run("faults", tmp_path)
    assert len(table) == 7
    assert (table[["lost", "repeated", "differing"]] == 0).all(axis=None)
    for file in ("results.md", "run.json"):
        assert (tmp_path / file).stat().st_size > 0


def test_every_experiment_is_tried_here():
    scripts = {p.stem for p in (ROOT / "experiments").glob("[!_]*.py")}
    assert scripts - OTHERS == set(ROWS)

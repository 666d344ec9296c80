"""What a sweep costs beside the same fits in plain loops, and what a second process gains.

The plain loops fit and score one model after another; they check, cache, plot and log nothing. The
sweep does all that, in the same process and by turns with the loops, so that a busy machine slows
both alike; both use one thread. Then the same sweep in one process and in two, on workers
that have been started before (an import of PyTorch takes seconds, once a worker).
"""

from __future__ import annotations

import sys
import tempfile
import time
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from _experiment import write_benchmark
from sklearn.base import clone
from sklearn.model_selection import ParameterGrid

from snn_estimators import WindowKFold, language_model_scores, split_windows
from snn_estimators.sweep import Sweep, prepare_text, sweep_model

QUICK = "--quick" in sys.argv
ROUNDS = 1 if QUICK else 3
LENGTH, FOLDS, CHARACTERS = 64, 2, 40_000
GRID = {"module__timesteps": [1, 2, 4]}
FITS = FOLDS * len(ParameterGrid(GRID))


def model(steps: int, **parameters: Any) -> Any:
    """Return what is cloned for each candidate."""
    return sweep_model(length=LENGTH, max_steps=3 if QUICK else steps).set_params(**parameters)


MODELS = {
    "small": model(200, module__blocks=1, batch_size=8),
    "default": model(100, batch_size=16),
}


def plain_loops(model: Any) -> None:
    """Cross-validate the grid with three loops and nothing else."""
    windows = split_windows(prepare_text("python-docs", limit=CHARACTERS), LENGTH + 1)
    for candidate in ParameterGrid(GRID):
        for train, test in WindowKFold(FOLDS, length=LENGTH + 1).split(windows):
            one = clone(model).set_params(**candidate).fit([windows[i] for i in train])
            language_model_scores(one, [windows[i] for i in test])


def sweep(model: Any, n_jobs: int = 1) -> float:
    """Do the same, and write fits, tables and plots; return the milliseconds of a step."""
    with tempfile.TemporaryDirectory() as folder:
        options = {"length": LENGTH, "limit": CHARACTERS, "folds": FOLDS}
        output = Path(folder, "out")
        result = Sweep(GRID, estimator=model, n_jobs=n_jobs, output=output, **options).run()
    return 1000 * result.fits["fit_time"].mean() / model.max_steps


def overhead() -> pd.DataFrame:
    """Time loops and sweeps by turns, by the wall clock and in processor time."""
    rows = []
    for name, model in MODELS.items():
        plain_loops(model)  # caches, compiled kernels
        step, spent = 0.0, dict.fromkeys(product((plain_loops, sweep), CLOCKS), 0.0)
        for turn in range(ROUNDS):
            for who in (plain_loops, sweep)[:: 1 if turn % 2 == 0 else -1]:
                began = {clock: read() for clock, read in CLOCKS.items()}
                step = who(model) or step
                for clock, read in CLOCKS.items():
                    spent[who, clock] += (read() - began[clock]) / ROUNDS
        for clock in CLOCKS:
            loops, whole = spent[plain_loops, clock], spent[sweep, clock]
            rows.append((name, clock, FITS, step, loops, whole, 100 * (whole / loops - 1)))
    names = ["model", "clock", "fits", "step (ms)", "plain loops (s)", "sweep (s)", "overhead (%)"]
    return pd.DataFrame(rows, columns=names)


def two_jobs() -> pd.DataFrame:
    """Time a sweep in one process and in two, by turns."""
    seconds, model = {1: 0.0, 2: 0.0}, MODELS["default"]
    sweep(model, 2)  # starts the workers, which stay
    for _ in range(ROUNDS):
        for jobs in seconds:
            began = time.perf_counter()
            sweep(model, jobs)
            seconds[jobs] += (time.perf_counter() - began) / ROUNDS
    row = (seconds[1], seconds[2], seconds[1] / seconds[2])
    return pd.DataFrame([row], columns=["one job (s)", "two jobs (s)", "times as fast"])


CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}

if __name__ == "__main__":
    torch.set_num_threads(1)
    start = time.perf_counter()
    tables = [overhead(), two_jobs()]
    if QUICK:
        print(*tables, sep="\n\n")
    else:
        write_benchmark(__file__, tables, time.perf_counter() - start)

"""What a sweep costs beside the same fits in plain loops, and what a second process gains.

The plain loops fit and score one model after another; nothing is checked, kept, drawn or told.
The sweep does all that, in the same process and by turns with the loops, so that a busy machine
slows both alike; both use one thread. Then the same sweep in one process and in two, on workers
that have been started before (an import of PyTorch takes seconds, once a worker).
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import torch
from _experiment import write_benchmark
from sklearn.base import clone
from sklearn.model_selection import ParameterGrid

from snn_estimators import WindowKFold, language_model_scores, split_windows
from snn_estimators.model_selection import Sweep, prepare_text, sweep_model

QUICK = "--quick" in sys.argv
STEPS, ROUNDS = (3, 1) if QUICK else (100, 2)
LENGTH, FOLDS, CHARACTERS = 64, 2, 40_000
GRID = {"module__timesteps": [1, 2, 4]}
MODEL = sweep_model(length=LENGTH, batch_size=16, max_steps=STEPS)
FITS = FOLDS * len(ParameterGrid(GRID))


def plain_loops() -> None:
    """Cross-validate the grid with three loops and nothing else."""
    windows = split_windows(prepare_text("python-docs", limit=CHARACTERS), LENGTH + 1)
    for candidate in ParameterGrid(GRID):
        for train, test in WindowKFold(FOLDS, length=LENGTH + 1).split(windows):
            model = clone(MODEL).set_params(**candidate).fit([windows[i] for i in train])
            language_model_scores(model, [windows[i] for i in test])


def sweep(n_jobs: int = 1) -> float:
    """Do the same, and leave store, tables and plots; return the milliseconds of a step."""
    with tempfile.TemporaryDirectory() as folder:
        options = {"length": LENGTH, "limit": CHARACTERS, "folds": FOLDS}
        output = Path(folder, "out")
        result = Sweep(GRID, estimator=MODEL, n_jobs=n_jobs, output=output, **options).run()
    return 1000 * result.fits["fit_time"].mean() / STEPS


def overhead() -> pd.DataFrame:
    """Time loops and sweeps by turns, by the wall clock and in processor time."""
    step = 0.0
    spent = {(who, clock): 0.0 for who in (plain_loops, sweep) for clock in CLOCKS}
    for turn in range(ROUNDS):
        for who in (plain_loops, sweep)[:: 1 if turn % 2 == 0 else -1]:
            began = {name: read() for name, read in CLOCKS.items()}
            step = who() or step
            for name, read in CLOCKS.items():
                spent[who, name] += read() - began[name]
    rows = []
    for clock in CLOCKS:
        loops, whole = spent[plain_loops, clock] / ROUNDS, spent[sweep, clock] / ROUNDS
        rows.append((clock, FITS, step, loops, whole, 100 * (whole / loops - 1)))
    names = ["clock", "fits", "step (ms)", "plain loops (s)", "sweep (s)", "overhead (%)"]
    return pd.DataFrame(rows, columns=names)


def two_jobs() -> pd.DataFrame:
    """Time a sweep in one process and in two, by turns."""
    seconds = {1: 0.0, 2: 0.0}
    sweep(2)  # starts the workers, which stay
    for _ in range(ROUNDS):
        for jobs in seconds:
            began = time.perf_counter()
            sweep(jobs)
            seconds[jobs] += (time.perf_counter() - began) / ROUNDS
    row = (seconds[1], seconds[2], seconds[1] / seconds[2])
    return pd.DataFrame([row], columns=["one job (s)", "two jobs (s)", "times as fast"])


CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}

if __name__ == "__main__":
    torch.set_num_threads(1)
    start = time.perf_counter()
    plain_loops()  # caches, compiled kernels
    tables = [overhead(), two_jobs()]
    if QUICK:
        print(*tables, sep="\n\n")
    else:
        write_benchmark(__file__, tables, time.perf_counter() - start)

"""Fault injection: does a search with a memory lose, repeat or change a fit?

``python tests/faults.py`` (4 minutes on two cores) writes the table in ``results/faults/``;
``--quick`` tries every fault once, as ``tests/test_faults.py`` does.

A small search, six fits that save their state every five steps, is killed at random moments (by
SIGKILL, which cannot be caught), finds its files damaged or the disk full, or shares its memory
with another search; then it is run (again) to its end. Counted over all searches of a kind:

* lost: fits without a score at the end;
* repeated: fits of which more was trained again than the steps since their last saved state;
* differing: scores that are not those of an undisturbed search, to the last bit;
* made up: fits trained again because the fault destroyed their files, as it must be;
* steps again: the share of training steps that was done twice, as kills come between two saves.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import random
import resource
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from itertools import groupby
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from sklearn.model_selection import GridSearchCV, KFold
from skorch.callbacks import Callback

from snn_estimators import SpikeDecoderLM
from snn_estimators.model_selection import check_writable, describe_run

QUICK = "--quick" in sys.argv
RATES = (0.01, 0.02) if QUICK else (0.01, 0.02, 0.03)
STEPS, EPOCH, SAVED = (12, 6, 3) if QUICK else (30, 10, 5)
"""Of a fit, of an epoch, between two saved states."""
TEXTS = [f"the cat sat on the mat and saw {n} dogs run." for n in range(9)]  # odd: folds differ
FITS = 2 * len(RATES)


class StepLog(Callback):
    """Append a line for every step: the process, the number of the step, and the fit."""

    def __init__(self, path: str) -> None:
        self.path = path

    def on_train_begin(self, net: Any, X: Any = None, **kwargs: Any) -> None:
        """Identify the fit by its learning rate, and its fold by its size."""
        self.fit_ = f"{net.lr} {len(X.documents)}"

    def on_batch_end(self, net: Any, training: bool = False, **kwargs: Any) -> None:
        """Log a step."""
        step = EPOCH * (len(net.history) - 1) + len(net.history[-1, "batches"])
        write_line(self.path, f"{os.getpid()} {step} {self.fit_}\n")


def write_line(path: str, line: str) -> None:
    """Append a line in one piece."""
    with open(path, "ab", buffering=0) as file:
        file.write(line.encode())


def search(folder: Path, *, backwards: bool = False, number: int = 0) -> None:
    """Run the search in this process, and write its scores."""
    log = str(folder / "log.txt")

    def score(model: SpikeDecoderLM, X: Any, y: Any = None) -> float:
        write_line(log, f"{os.getpid()} {STEPS + 1} {model.lr} {len(TEXTS) - len(X)}\n")
        return model.score(X)

    model = SpikeDecoderLM(
        module__max_len=16, module__blocks=1, module__heads=1, module__token_dim=12,
        module__position_dim=4, module__timesteps=2, module__mlp_dropout=0.1, max_steps=STEPS,
        steps_per_epoch=EPOCH, batch_size=4, save_every_n_steps=SAVED, callbacks=[StepLog(log)],
        memory=folder / "memory", random_state=0,
    )  # fmt: skip
    rates = RATES[::-1] if backwards else RATES
    found = GridSearchCV(model, {"lr": rates}, cv=KFold(2), scoring=score, refit=False)
    warnings.simplefilter("ignore")  # about the damage, which is on purpose
    found.fit(TEXTS)
    splits = [found.cv_results_[f"split{fold}_test_score"].tolist() for fold in (0, 1)]
    scores = {f"{rate} {fold}": splits[fold][i] for i, rate in enumerate(rates) for fold in (0, 1)}
    (folder / f"scores{number}.json").write_text(json.dumps(scores))


def start(*args: Any, **settings: Any) -> BaseProcess:
    """Start the search in a fork of this process, which has imported everything already."""
    process = multiprocessing.get_context("fork").Process(target=search, args=args, kwargs=settings)
    process.start()
    return process


def finish(*args: Any, **settings: Any) -> None:
    """Run the search to its end."""
    process = start(*args, **settings)
    process.join()
    assert process.exitcode == 0


def kill_after(process: BaseProcess, seconds: float) -> bool:
    """Kill a process unless it ends before, and return whether it was killed."""
    process.join(seconds)
    process.kill()
    process.join()
    return process.exitcode != 0


def files(folder: Path) -> list[Path]:
    """Return the files of finished fits."""
    found = (folder / "memory").glob("fits/*.safetensors")
    return sorted(file for file in found if ".unfinished" not in file.name)


# Faults: each disturbs a search in a folder, and returns how many finished fits it destroyed


def killed_once(folder: Path, seconds: float) -> int:
    """Kill the search at a random moment."""
    while not kill_after(start(folder), random.uniform(0, seconds)):
        pass
    return 0


def killed_again_and_again(folder: Path, seconds: float) -> int:
    """Kill the search at random moments until it comes to its end between two of them."""
    while kill_after(start(folder), random.uniform(0, seconds / 2)):
        pass
    return 0


def damaged(folder: Path, seconds: float, damage: Callable[[bytes], bytes]) -> int:
    """Damage the file of one of the finished fits."""
    finish(folder)
    file = random.choice(files(folder))
    file.write_bytes(damage(file.read_bytes()))
    return 1


def cut_short(data: bytes) -> bytes:
    """Drop the end of a file, as a disk may when the power fails."""
    return data[: random.randrange(len(data))]


def bit_flipped(data: bytes) -> bytes:
    """Flip a single bit."""
    place = random.randrange(len(data))
    return data[:place] + bytes([data[place] ^ 1 << random.randrange(8)]) + data[place + 1 :]


def full_disk(folder: Path, seconds: float) -> int:
    """Limit files to 16 kB, less than a state needs: writing fails as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16_000, hard))
    try:
        finish(folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not files(folder)
    return FITS


def two_searches(folder: Path, seconds: float) -> int:
    """Run two searches at once, which begin at opposite ends of the grid."""
    others = [start(folder, number=1), start(folder, number=2, backwards=True)]
    for other in others:
        other.join()
    return 0


def two_searches_one_killed(folder: Path, seconds: float) -> int:
    """Kill one of two searches."""
    other = start(folder, number=1, backwards=True)
    kill_after(start(folder), random.uniform(0, seconds))
    other.join()
    return 0


def damaged_by(damage: Callable[[bytes], bytes]) -> Callable[[Path, float], int]:
    """Make a fault of a kind of damage."""
    return lambda folder, seconds: damaged(folder, seconds, damage)


FAULTS: dict[str, tuple[Callable[[Path, float], int], int]] = {
    "killed once": (killed_once, 50),
    "killed again and again": (killed_again_and_again, 10),
    "a file cut short": (damaged_by(cut_short), 10),
    "a bit flipped": (damaged_by(bit_flipped), 10),
    "full disk": (full_disk, 5),
    "two searches at once": (two_searches, 10),
    "two searches, one killed": (two_searches_one_killed, 10),
}
"""What goes wrong, and how often that is tried."""


# Counting


def counts(fault: Callable[[Path, float], int], seconds: float, expected: dict) -> dict[str, int]:
    """Disturb a search by a fault, run it to its end, and count the outcome."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        taken = fault(folder, seconds)
        finish(folder)
        log = (folder / "log.txt").read_text().splitlines()
        scores = [json.loads(file.read_text()) for file in folder.glob("scores*.json")]
    lines = [line.split(" ", 2) for line in log]
    fits = [
        [(pid, int(step)) for pid, step, own in lines if own == fit]
        for fit in {x[2] for x in lines}
    ]
    again = sum(map(was_repeated, fits))
    n_steps = sum(step <= STEPS for fit in fits for _, step in fit)
    values = [
        (found.get(fit, math.nan), score) for found in scores for fit, score in expected.items()
    ]
    return {
        "fits": FITS * len(scores),
        "lost": sum(math.isnan(value) for value, _ in values),
        "repeated": max(0, again - taken),
        "differing": sum(value != score for value, score in values),
        "made up": min(taken, again),
        "steps": STEPS * len(fits),
        "again": n_steps - STEPS * (len(fits) + again),
    }


def was_repeated(lines: list[tuple[str, int]]) -> bool:
    """Return whether a fit trained steps before its last saved state, or in two processes at once.

    After the last step comes a line for each time that the fit was scored.
    """
    before = 0
    for _, step in lines:
        if step <= STEPS and step <= (before - 1) // SAVED * SAVED:
            return True
        before = max(before, step)
    takers = [pid for pid, _ in groupby(pid for pid, step in lines if step <= STEPS)]
    return len(set(takers)) < len(takers)


def count_all() -> pd.DataFrame:
    """Try every kind of fault, and tabulate the counts."""
    with tempfile.TemporaryDirectory() as name:
        search(Path(name))  # compiles the kernels
        expected = json.loads(Path(name, "scores0.json").read_text())
    with tempfile.TemporaryDirectory() as name:
        started = time.perf_counter()
        finish(Path(name))
        seconds = time.perf_counter() - started
    rows = []
    for kind, (fault, tries) in FAULTS.items():
        total: Counter[str] = Counter()
        tries = 1 if QUICK else tries
        for _ in range(tries):
            total.update(counts(fault, seconds, expected))
        again = f"{100 * total.pop('again') / total.pop('steps'):.1f} %"
        rows.append({"fault": kind, "searches": tries, **total, "steps again": again})
        print(rows[-1], flush=True)
    return pd.DataFrame(rows)


def main() -> None:
    """Write the counts as ``results.csv``, ``results.md`` and ``run.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", default="results/faults", help="(%(default)s)")
    parser.add_argument("--quick", action="store_true", help="try each fault once, on less")
    options = parser.parse_args()
    folder = check_writable(options.output)
    started = time.perf_counter()
    torch.set_num_threads(1)  # forks share no pool of threads
    random.seed(0)
    table = count_all()
    run = describe_run(
        parameters={"threads": 1},
        seed=0,
        duration=time.perf_counter() - started,
        command=["python", *sys.argv],
    )
    (folder / "results.csv").write_text(table.to_csv(index=False))
    (folder / "results.md").write_text(table.to_markdown(index=False) + "\n")
    (folder / "run.json").write_text(json.dumps(run, indent=2) + "\n")


if __name__ == "__main__":
    main()

"""Faults on purpose, and whether a search with a memory loses, repeats or changes a fit.

A small search, six fits that save themselves every five steps, is killed at random moments (by
SIGKILL, which nothing can catch), finds its files damaged or the disk full, or shares its memory
with another search; then it is run (again) to its end. Counted over all searches of a kind:

* lost: fits without a score at the end;
* repeated: fits of which more was trained again than the steps since their newest whole state;
* differing: scores that are not those of an undisturbed search, to the last bit;
* made up: fits trained again because the fault took their files, as it must be;
* steps again: the share of training steps that was done twice, for kills come between two saves.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import random
import resource
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
from _experiment import parse_arguments, write_benchmark, write_files
from sklearn.model_selection import GridSearchCV, KFold
from skorch.callbacks import Callback

from snn_estimators import SpikeDecoderLM
from snn_estimators.model_selection import check_writable

RATES = (0.01, 0.02, 0.03)
STEPS, EPOCH, SAVED = 30, 10, 5  # of a fit, of an epoch, between two states
TEXTS = [f"the cat sat on the mat and saw {n} dogs run." for n in range(9)]  # odd: folds differ
FITS = 2 * len(RATES)


class Notes(Callback):
    """Leaves a line for every step: who took it, which one it was, and of which fit."""

    def __init__(self, path: str) -> None:
        self.path = path

    def on_train_begin(self, net: Any, X: Any = None, **kwargs: Any) -> None:
        """Tell the fit by its rate and its fold by its size."""
        self.fit_ = f"{net.lr} {len(X.documents)}"

    def on_batch_end(self, net: Any, training: bool = False, **kwargs: Any) -> None:
        """Note a step."""
        step = EPOCH * (len(net.history) - 1) + len(net.history[-1, "batches"])
        write_line(self.path, f"{os.getpid()} {step} {self.fit_}\n")


def write_line(path: str, line: str) -> None:
    """Append a line in one piece."""
    with open(path, "ab", buffering=0) as file:
        file.write(line.encode())


def search(folder: Path, *, backwards: bool = False, number: int = 0) -> None:
    """Run the search, in a process of its own, and leave its scores."""
    notes = str(folder / "notes.txt")

    def score(model: SpikeDecoderLM, X: Any, y: Any = None) -> float:
        write_line(notes, f"{os.getpid()} {STEPS + 1} {model.lr} {len(TEXTS) - len(X)}\n")
        return model.score(X)

    model = SpikeDecoderLM(
        module__max_len=16, module__blocks=1, module__heads=1, module__token_dim=12,
        module__position_dim=4, module__timesteps=2, module__mlp_dropout=0.1, max_steps=STEPS,
        steps_per_epoch=EPOCH, batch_size=4, save_every_n_steps=SAVED, callbacks=[Notes(notes)],
        memory=folder / "memory", random_state=0,
    )  # fmt: skip
    rates = RATES[::-1] if backwards else RATES
    found = GridSearchCV(model, {"lr": rates}, cv=KFold(2), scoring=score, refit=False)
    warnings.simplefilter("ignore")  # of damage, which is meant
    found.fit(TEXTS)
    splits = [found.cv_results_[f"split{fold}_test_score"].tolist() for fold in (0, 1)]
    scores = {f"{rate} {fold}": splits[fold][i] for i, rate in enumerate(rates) for fold in (0, 1)}
    (folder / f"scores{number}.json").write_text(json.dumps(scores))


def start(*args: Any, **settings: Any) -> BaseProcess:
    """Let a fork of this process search; it has imported everything already."""
    process = multiprocessing.get_context("fork").Process(target=search, args=args, kwargs=settings)
    process.start()
    return process


def finish(*args: Any, **settings: Any) -> None:
    """Search to the end."""
    process = start(*args, **settings)
    process.join()
    assert process.exitcode == 0


def kill_after(process: BaseProcess, seconds: float) -> bool:
    """Kill a process, unless it is over before; tell whether it was killed."""
    process.join(seconds)
    process.kill()
    process.join()
    return process.exitcode != 0


def files(folder: Path) -> list[Path]:
    """Return the files of finished fits."""
    found = (folder / "memory").glob("fits/*.safetensors")
    return sorted(file for file in found if ".unfinished" not in file.name)


# Faults: each makes the search go wrong in a folder, and returns how many fits it took away


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
    """Lose the end, as a disk may when the power fails."""
    return data[: random.randrange(len(data))]


def bit_flipped(data: bytes) -> bytes:
    """Turn over a single bit."""
    place = random.randrange(len(data))
    return data[:place] + bytes([data[place] ^ 1 << random.randrange(8)]) + data[place + 1 :]


def full_disk(folder: Path, seconds: float) -> int:
    """Have the kernel refuse to write more than 16 kB into a file, less than a state needs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16_000, hard))
    try:
        finish(folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not files(folder)
    return FITS


def two_searches(folder: Path, seconds: float) -> int:
    """Run two searches at once, which begin at opposite ends."""
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
    """Return a fault."""
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
    """Let a fault happen to a search, run it to its end, and count what came of it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        taken = fault(folder, seconds)
        finish(folder)
        notes = (folder / "notes.txt").read_text().splitlines()
        scores = [json.loads(file.read_text()) for file in folder.glob("scores*.json")]
    lines = [line.split(" ", 2) for line in notes]
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
    """Tell whether steps of a fit were taken that lie before its newest state, or by two at once.

    After the last step comes a line for each time that the fit was scored.
    """
    before = 0
    for _, step in lines:
        if step <= STEPS and step <= (before - 1) // SAVED * SAVED:
            return True
        before = max(before, step)
    takers = [pid for pid, _ in groupby(pid for pid, step in lines if step <= STEPS)]
    return len(set(takers)) < len(takers)


def main() -> None:
    """Try every kind of fault, and write the counts."""
    options = parse_arguments(__file__, __doc__)
    check_writable(options.output)
    began = time.perf_counter()
    torch.set_num_threads(1)  # forks share no pool of threads
    random.seed(0)
    with tempfile.TemporaryDirectory() as name:
        search(Path(name))  # compiles what is to be compiled
        expected = json.loads(Path(name, "scores0.json").read_text())
    with tempfile.TemporaryDirectory() as name:
        start_time = time.perf_counter()
        finish(Path(name))
        seconds = time.perf_counter() - start_time
    rows = []
    for kind, (fault, tries) in FAULTS.items():
        total: Counter[str] = Counter()
        tries = 1 if options.quick else tries
        for _ in range(tries):
            total.update(counts(fault, seconds, expected))
        again = f"{100 * total.pop('again') / total.pop('steps'):.1f} %"
        rows.append({"fault": kind, "searches": tries, **total, "steps again": again})
        print(rows[-1], flush=True)
    table = pd.DataFrame(rows)
    write_files(options.output, {"results.csv": table.to_csv(index=False)})
    write_benchmark(__file__, [table], time.perf_counter() - began, options.output)


if __name__ == "__main__":
    main()

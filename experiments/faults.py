"""Faults on purpose, and whether a search with a memory loses, repeats or changes a fit.

A small search, six fits that save themselves every five steps, is killed at random moments (by
SIGKILL, which nothing can catch), finds its files damaged or the disk full, or shares its memory
with another search; then it is run (again) to its end. Counted over all searches of a kind:

* lost: fits without a score at the end;
* repeated: fits trained again, though they had been finished and their files were whole;
* differing: scores that are not those of an undisturbed search, to the last bit;
* made up: fits trained again because the fault took their files, as it must be;
* steps again: the share of training steps that was done twice, for kills come between two saves.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import random
import resource
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from _experiment import parse_arguments, write_benchmark
from sklearn.model_selection import GridSearchCV, KFold
from skorch.callbacks import Callback

from snn_estimators import SpikeDecoderLM
from snn_estimators.model_selection import check_writable

RATES = (0.01, 0.02, 0.03)
STEPS = 30
TEXTS = [f"the cat sat on the mat and saw {n} dogs run." for n in range(9)]  # odd: folds differ
FITS = 2 * len(RATES)


class Notes(Callback):
    """Leaves a line for every step: which fit it belongs to."""

    def __init__(self, path: str) -> None:
        self.path = path

    def on_train_begin(self, net: Any, X: Any = None, **kwargs: Any) -> None:
        """Tell the fit by its rate and its fold by its size."""
        self.fit_ = f"step {net.lr} {len(X.documents)}\n"

    def on_batch_end(self, net: Any, training: bool = False, **kwargs: Any) -> None:
        """Note a step."""
        write_line(self.path, self.fit_)


def write_line(path: str, line: str) -> None:
    """Append a line in one piece."""
    with open(path, "ab", buffering=0) as file:
        file.write(line.encode())


def search(folder: Path, *, backwards: bool = False, number: int = 0) -> None:
    """Run the search, in a process of its own, and leave its scores."""
    notes = str(folder / "notes.txt")

    def score(model: SpikeDecoderLM, X: Any, y: Any = None) -> float:
        write_line(notes, f"done {model.lr} {len(TEXTS) - len(X)}\n")
        return model.score(X)

    model = SpikeDecoderLM(
        module__max_len=16, module__blocks=1, module__heads=1, module__token_dim=12,
        module__position_dim=4, module__timesteps=2, module__mlp_dropout=0.1, max_steps=STEPS,
        steps_per_epoch=10, batch_size=4, save_every_n_steps=5, callbacks=[Notes(notes)],
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


def counts(fault: Callable[[Path, float], int], seconds: float, expected: dict) -> Iterator[Any]:
    """Let a fault happen to a search, run it to its end, and yield what came of it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        taken = fault(folder, seconds)
        finish(folder)
        notes = (folder / "notes.txt").read_text().splitlines()
        scores = [json.loads(file.read_text()) for file in folder.glob("scores*.json")]
    done: set[str] = set()
    again: set[str] = set()
    for line in notes:
        kind, fit = line.split(" ", 1)
        if kind == "done":
            done.add(fit)
        elif fit in done:
            again.add(fit)
    steps = Counter(line.split(" ", 1)[1] for line in notes if line.startswith("step"))
    again |= {fit for fit, n in steps.items() if n >= 2 * STEPS}
    values = [
        (found.get(fit, math.nan), score) for found in scores for fit, score in expected.items()
    ]
    yield "fits", FITS * len(scores)
    yield "lost", sum(math.isnan(value) for value, _ in values)
    yield "repeated", max(0, len(again) - taken)
    yield "differing", sum(value != score for value, score in values)
    yield "made up", min(taken, len(again))
    yield "steps", sum(min(n, STEPS) for n in steps.values())
    yield "again", sum(n - STEPS for fit, n in steps.items() if fit not in again)


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
            total.update(dict(counts(fault, seconds, expected)))
        again = f"{100 * total.pop('again') / total.pop('steps'):.1f} %"
        rows.append({"fault": kind, "searches": tries, **total, "steps again": again})
        print(rows[-1], flush=True)
    table = pd.DataFrame(rows)
    table.to_csv(Path(options.output, "results.csv"), index=False)
    write_benchmark(__file__, [table], time.perf_counter() - began, options.output)


if __name__ == "__main__":
    main()

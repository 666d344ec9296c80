"""Check the four estimators on a GPU against the CPU: the same results, and in what time.

Each estimator takes one training step, is fitted, scored, measured in energy, generates or
predicts, is saved and loaded (on either device), and is searched by `GridSearchCV`: first on the
CPU, then on the device. A failure is a row of the table and stops nothing; any failed row makes the
exit code 1. It needs no more than ``pip install .`` brings, and less than 5 minutes.

The results can be compared because initial weights and batches are drawn by the CPU's generator
for either device, and dropout, which each device draws by itself, is 0. What remains is the
rounding of sums, which now and then tips a neuron over its threshold. The bounds, in nats a token
(language models) or a document (classifiers): 1e-3 at the initial weights, and for one set of
weights scored on both devices; 0.05 after training on each; 0.01 for spike rates. (On one CPU,
another order of the sums changes a trained loss by up to 0.0024 and a rate by 0.0002.)

    python experiments/gpu_check.py                   # writes results/gpu_check/
    python experiments/gpu_check.py --device cpu      # tries the script itself
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from _experiment import write_results
from sklearn.base import clone
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV

from snn_estimators import (
    SpikeDecoderClassifier,
    SpikeDecoderLM,
    SpikeGPTClassifier,
    SpikeGPTLM,
    split_windows,
)
from snn_estimators.energy import summarize
from snn_estimators.model_selection import check_writable, describe_run
from snn_estimators.sweep import prepare_text

LENGTH, TRAINING, HELD_OUT = 64, 200, 20  # of a window, and how many of them
SAME_WEIGHTS, TRAINED, SHARE = 1e-3, 0.05, 0.01

SHARED = {"tokenizer": "char", "batch_size": 16, "lr": 5e-3, "random_state": 0}
DECODER = {"module__max_len": LENGTH, "module__blocks": 2, "module__float_embedding": True}
DECODER |= {"module__embedding_std": 1.0}
GPT = {"module__n_layer": 2, "module__n_embd": 64, "module__ctx_len": LENGTH}
GPT |= {"module__dropout": 0.0, "module__initialization": "firing"}
MODELS = (
    SpikeDecoderLM(**DECODER, **SHARED),
    SpikeGPTLM(**GPT, **SHARED),
    SpikeDecoderClassifier(**DECODER, **SHARED),
    SpikeGPTClassifier(**GPT, **SHARED),
)


@dataclass
class Trial:
    """An estimator on one device, and what it learns and is measured on."""

    estimator: Any
    folder: Path
    train: tuple[list[str], np.ndarray | None]
    test: tuple[list[str], np.ndarray | None]

    def loss(self, model: Any) -> float:
        """Return nats a token, or nats a document of a classifier."""
        X, y = self.test
        return -model.score(X) if y is None else log_loss(y, model.predict_proba(X))

    # The checks: each returns the number that is compared between the devices

    def first_step(self) -> float:
        """Take one step: its loss is that of the initial weights."""
        model = clone(self.estimator).set_params(max_steps=1).fit(*self.train)
        return model.history[-1, "train_loss"]

    def fit(self) -> float:
        """Train."""
        self.estimator.fit(*self.train)
        return self.estimator.history[-1, "train_loss"]

    def score(self) -> float:
        """Score held-out text."""
        self.estimator.score(*self.test)
        return self.loss(self.estimator)

    def energy(self) -> float:
        """Count spikes and operations."""
        return float(summarize(self.estimator.energy(self.test[0]))["spike_rate"])

    def generate(self) -> float | None:
        """Write text, streamed and at once; a classifier predicts."""
        if self.test[1] is not None:
            return float(np.mean(self.estimator.predict(self.test[0]) == self.test[1]))
        pieces = self.estimator.generate("the ", 50, random_state=0, stream=True)
        text = self.estimator.generate("the ", 50, random_state=0)
        agree("streamed text", "".join(pieces), text)
        agree("length of the text", len(text), 50)
        return None

    def save_and_load(self) -> float:
        """Save, load on the same device and on the CPU, and score again."""
        self.estimator.save_pretrained(self.folder)
        saved = self.loss(self.estimator)
        for device, bound in (("cpu", SAME_WEIGHTS), (self.estimator.device, 1e-6)):
            model = type(self.estimator).from_pretrained(self.folder, device=device)
            where = next(model.module_.parameters()).device.type
            agree("device of the weights", where, torch.device(device).type)
            loss = self.loss(model)
            agree(f"loss after loading on {device}", loss, saved, bound)
        return loss

    def search(self) -> float:
        """Search two learning rates in two folds."""
        model = clone(self.estimator).set_params(max_steps=min(5, self.estimator.max_steps))
        search = GridSearchCV(model, {"lr": [1e-3, 1e-2]}, cv=2, error_score="raise")
        X, y = self.train
        search.fit(X[:40], None if y is None else y[:40])
        return self.loss(search.best_estimator_)


CHECKS: dict[str, tuple[Callable[[Trial], float | None], float]] = {
    "first step": (Trial.first_step, SAME_WEIGHTS),
    "fit": (Trial.fit, TRAINED),
    "score": (Trial.score, TRAINED),
    "energy": (Trial.energy, SHARE),
    "generate": (Trial.generate, 0.1),
    "save and load": (Trial.save_and_load, TRAINED),
    "search": (Trial.search, TRAINED),
}
"""What is tried, and by how much its number may differ between the devices."""


def agree(what: str, value: Any, expected: Any, bound: float = 0.0) -> None:
    """Raise ValueError unless two values agree."""
    if value != expected and not (bound and abs(value - expected) <= bound):
        raise ValueError(f"{what} is {value!r} instead of {expected!r} (bound {bound:g})")


def attempt(check: Callable[[Trial], float | None], trial: Trial) -> tuple[Any, float]:
    """Return a check's number, or the exception that it raised, and its seconds."""
    started = time.perf_counter()
    try:
        value: Any = check(trial)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
    except Exception as error:  # every row says what happened, and the next one is tried
        value = error
    return value, time.perf_counter() - started


def outcome(cpu: Any, other: Any, bound: float) -> str:
    """Say "ok", or why not."""
    for where, value in (("on the CPU: ", cpu), ("", other)):
        if isinstance(value, Exception):
            return f"{where}{type(value).__name__}: {' '.join(str(value).split())[:200]}"
    try:
        agree("the result", other, cpu, bound)
    except ValueError as error:
        return str(error)
    return "ok"


def compare(model: Any, device: str, steps: int, folder: Path) -> list[dict[str, Any]]:
    """Try everything on the CPU and on the device; return a row a check."""
    train, test = documents(labelled=model.__class__.__name__.endswith("Classifier"))
    cpu, other = (
        Trial(clone(model).set_params(device=name, max_steps=steps), folder / role, train, test)
        for role, name in {"reference": "cpu", "device": device}.items()
    )
    rows = []
    for name, (check, bound) in CHECKS.items():
        (expected, seconds_cpu), (value, seconds) = attempt(check, cpu), attempt(check, other)
        numbers = [x if isinstance(x, float) else np.nan for x in (expected, value)]
        row = {"estimator": type(model).__name__, "check": name, "cpu (s)": seconds_cpu}
        row |= {f"{device} (s)" if device != "cpu" else "again (s)": seconds}
        row |= {"cpu": numbers[0], "device": numbers[1]}
        row |= {"difference": abs(numbers[1] - numbers[0]), "bound": bound}
        rows.append(row | {"outcome": outcome(expected, value, bound)})
        print(" ".join(f"{key}={show(value)}" for key, value in rows[-1].items()), flush=True)
    return rows


def documents(labelled: bool) -> tuple[tuple[list[str], Any], tuple[list[str], Any]]:
    """Return windows of text to train on and to measure on; a class is which way round they are."""
    text = prepare_text("python-docs", limit=(TRAINING + HELD_OUT) * (LENGTH + 1))
    windows = split_windows(text, length=LENGTH + 1)
    if not labelled:
        return (windows[:TRAINING], None), (windows[TRAINING:], None)
    windows = [window[:: 1 if i % 2 else -1] for i, window in enumerate(windows)]
    labels = np.array(["forward" if i % 2 else "backward" for i in range(len(windows))])
    return (windows[:TRAINING], labels[:TRAINING]), (windows[TRAINING:], labels[TRAINING:])


def show(value: Any) -> str:
    """Render a cell."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def main() -> int:
    """Print and write the table; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", help="what is compared with the CPU")
    parser.add_argument("--output", default="results/gpu_check", help="(%(default)s)")
    parser.add_argument("--steps", type=int, default=30, help="of a fit (%(default)s)")
    options = parser.parse_args()
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        print("There is no GPU here that PyTorch can use: nothing was checked.")
        return 0
    folder = check_writable(options.output)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        rows = [
            row
            for i, model in enumerate(MODELS)
            for row in compare(model, options.device, options.steps, Path(scratch, str(i)))
        ]
    table = pd.DataFrame(rows)
    run = describe_run(
        parameters={"device": options.device, "steps": options.steps, "models": MODELS},
        seed=0,
        duration=time.perf_counter() - started,
        command=["python", *sys.argv],
    )
    write_results(
        folder, table.map(show).to_markdown(index=False, disable_numparse=True), run, table
    )
    failed = int((table["outcome"] != "ok").sum())
    print(f"{len(table) - failed} of {len(table)} checks are ok; the table is in {folder}")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())

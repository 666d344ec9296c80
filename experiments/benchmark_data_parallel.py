"""What a second process gains when both train one model, at the same batch in all.

Each process uses one thread, and computes its half of every batch of 32 windows; one process
computes all 32. Runs of one and of two processes alternate. Losses are compared as well: both
ways train the same model.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
from _experiment import write_benchmark

from snn_estimators import DataParallel, SpikeDecoderLM, SpikeGPTLM
from snn_estimators.sweep import prepare_text

QUICK = "--quick" in sys.argv
ROUNDS, STEPS, BATCH, LENGTH = (1, 2, 4, 16) if QUICK else (3, 20, 32, 64)
MODELS: dict[str, Any] = {
    "SpikeDecoderLM": SpikeDecoderLM.from_preset(
        "spikedecoder", module__max_len=LENGTH, module__blocks=2
    ),
    "SpikeGPTLM": SpikeGPTLM.from_preset(
        "spikegpt", logit_penalty=0.0, module__ctx_len=LENGTH, module__dropout=0.0
    ),
}


def train(name: str, n_processes: int) -> None:
    """Train as one of the processes; the first prints milliseconds a step and loss as JSON."""
    batch_size = BATCH // n_processes
    model = MODELS[name].set_params(batch_size=batch_size, max_epochs=2, random_state=0)
    text = prepare_text("python-docs", limit=STEPS * BATCH * LENGTH)
    fitted = DataParallel(model).fit([text])
    if os.environ["RANK"] == "0":
        epoch = fitted.history[-1]
        step = 1000 * epoch["dur"] / epoch["train_batch_count"]
        print(json.dumps({"ms": step, "loss": epoch["train_loss"], "n": fitted.n_processes_}))


def launch(name: str, n_processes: int) -> dict[str, Any]:
    """Launch a training, and return what it printed."""
    launcher = ["torch.distributed.run", "--standalone", f"--nproc-per-node={n_processes}"]
    arguments = [__file__, "--train", name, str(n_processes), *(["--quick"] if QUICK else [])]
    done = subprocess.run(
        [sys.executable, "-m", *launcher, *arguments],
        env=os.environ | {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    printed = json.loads(done.stdout.splitlines()[-1])
    assert printed["n"] == n_processes
    return printed


def compare(name: str) -> tuple[Any, ...]:
    """Train alternately in one process and in two."""
    one, two = [], []
    for _ in range(ROUNDS):
        one.append(launch(name, 1))
        two.append(launch(name, 2))
    alone, together = (sum(run["ms"] for run in runs) / ROUNDS for runs in (one, two))
    difference = abs(one[0]["loss"] - two[0]["loss"])
    return name, alone, together, alone / together, f"{difference:.0e} nats"


if __name__ == "__main__":
    if "--train" in sys.argv:
        at = sys.argv.index("--train")
        train(sys.argv[at + 1], int(sys.argv[at + 2]))
        sys.exit()
    start = time.perf_counter()
    names = ["model", "one process (ms/step)", "two (ms/step)", "times as fast", "loss differs by"]
    table = pd.DataFrame(map(compare, MODELS), columns=names)
    if QUICK:
        print(table)
    else:
        write_benchmark(str(Path(__file__)), [table], time.perf_counter() - start)

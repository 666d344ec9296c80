"""Show whether the gap to the non-spiking twin closes with size and with training.

SpikeGPT by the default recipe and RWKV, at three sizes and four lengths of training each, and one
of them in four narrow blocks instead of a wide one; same tokens, rate and schedule. The plot shows
the gap in bits a character. A night of two cores: with `--memory` it resumes after an interruption.
`--scale large` is for a GPU: 30 million parameters, and any corpus by name.
"""

from __future__ import annotations

import time
from itertools import product
from typing import Any

import pandas as pd
from _experiment import argument_parser
from _language_models import BATCH, LENGTH, divide, finish, fit_and_score, join
from joblib import Parallel, delayed
from matplotlib.figure import Figure

from snn_estimators import SpikeGPTLM, results_table
from snn_estimators.sweep import prepare_text

SCALES: dict[str, dict[str, Any]] = {
    "small": {"shapes": [(1, 88), (1, 160), (4, 80), (1, 280)], "steps": [250, 500, 1000, 2000]},
    "large": {"shapes": [(12, 256), (12, 440)], "steps": [2000, 8000, 32000]},
}
QUICK = {"shapes": [(1, 16)], "steps": [5, 10]}
SPIKES = {"SpikeGPT": "linear", "RWKV": "none"}


def model_of(shape: tuple[int, int], spikes: str) -> SpikeGPTLM:
    """Return a model that is not fitted."""
    module = {"ctx_len": LENGTH, "n_layer": shape[0], "n_embd": shape[1], "spikes": spikes}
    return SpikeGPTLM(**{f"module__{name}": value for name, value in module.items()})


def plot_gap(table: pd.DataFrame) -> Figure:
    """Draw the gap in bits a character over the steps of training, a line a size."""
    figure = Figure(figsize=(6, 4), dpi=120, layout="constrained")
    axes = figure.subplots()
    bits = table.pivot_table(
        index=["blocks", "width", "steps"], columns="model", values="bits_per_character"
    )
    gap = (bits["SpikeGPT"] - bits["RWKV"]).rename("gap").reset_index()
    for (blocks, width), rows in gap.groupby(["blocks", "width"]):
        axes.plot(rows["steps"], rows["gap"], "o-", label=f"{blocks} x {width}")
    axes.set(
        xscale="log",
        xlabel=f"steps of {BATCH * LENGTH} tokens",
        ylabel="bits/char more than RWKV's",
    )
    axes.axhline(0, color="#8d99ae", linewidth=1)
    axes.legend(frameon=False)
    return figure


def main() -> None:
    """Train all, and write table and plot."""
    parser = argument_parser(__file__, __doc__)
    parser.add_argument("--corpus", default="python-docs", help="name or path (%(default)s)")
    parser.add_argument("--scale", choices=SCALES, default="small", help="(%(default)s)")
    parser.add_argument("--seeds", type=int, default=1, help="(%(default)s)")
    options = parser.parse_args()
    scale = QUICK if options.quick else SCALES[options.scale]
    started = time.perf_counter()
    text = prepare_text(options.corpus, limit=5_000 if options.quick else None)
    texts = divide(text, 2 if options.quick else 64)
    batch_size = 2 if options.quick else BATCH
    rows = list(product(SPIKES, scale["shapes"], scale["steps"]))
    jobs = [(row, seed) for row in rows for seed in range(options.seeds)]
    found = Parallel(n_jobs=options.jobs or -1, verbose=5)(
        delayed(fit_and_score)(
            model_of(shape, SPIKES[name]), seed, texts, steps, batch_size, options.memory
        )
        for (name, shape, steps), seed in jobs
    )
    scores = {
        row: join([s for (r, _), s in zip(jobs, found, strict=True) if r == row]) for row in rows
    }
    table = results_table(
        [
            {"model": name, "blocks": shape[0], "width": shape[1], "steps": steps}
            | {k: v for k, v in scores[name, shape, steps].items() if "_at_" not in k}
            for name, shape, steps in rows
        ]
    )
    parameters = {**scale, "seeds": options.seeds, "length": LENGTH, "batch_size": batch_size}
    finish(table, options, text, started, list(range(options.seeds)), parameters)
    plot_gap(table).savefig(f"{options.output}/gap.png")


if __name__ == "__main__":
    main()

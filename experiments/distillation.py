"""Train the default SpikeGPT with a teacher: RWKV of its shape, and the best RWKV of its size.

Perplexity of teachers, of a student that learns alone, and of students by the teacher's weight in
their loss; the same tokens, rate and schedule. A teacher costs its own training, and a pass through
it at each step.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import pandas as pd
from _experiment import parse_arguments
from _language_models import (
    BATCH,
    LENGTH,
    SEEDS,
    STEPS,
    Texts,
    divide,
    fit_and_score,
    join,
    scores_of,
    train,
)
from joblib import Parallel, delayed
from recipes import spike_gpt
from spikedecoder_spikegpt import Shape

from snn_estimators import results_table, write_tables
from snn_estimators.model_selection import describe_corpus, describe_run
from snn_estimators.sweep import prepare_text

STUDENT: Shape = (1, 160)
TEACHERS: tuple[Shape, ...] = ((1, 160), (4, 80))
WEIGHTS = (0.5, 0.8)


def learn(
    shape: Shape, weight: float, seed: int, texts: Texts, steps: int, batch: int, memory: str | None
) -> list[dict[str, Any]]:
    """Return the scores of a teacher and of its student."""
    student, found = spike_gpt(STUDENT), []
    if weight:
        teacher = spike_gpt(shape, spikes="none").set_params(spike_penalty=0.0)
        train(teacher, seed, texts, steps, batch, memory)
        found.append(scores_of(teacher, texts))
        student.set_params(teacher=teacher, teacher_weight=weight)
    return [*found, fit_and_score(student, seed, texts, steps, batch, memory)]


def main() -> None:
    """Train all, and write the table."""
    options = parse_arguments(__file__, __doc__)
    started = time.perf_counter()
    text = prepare_text(options.corpus, limit=5_000 if options.quick else None)
    texts = divide(text, 2 if options.quick else 64)
    steps, seeds, batch = (5, 1, 1) if options.quick else (STEPS, SEEDS, BATCH)
    pairs = [(STUDENT, 0.0), *((shape, weight) for shape in TEACHERS for weight in WEIGHTS)]
    pairs = pairs[:2] if options.quick else pairs
    jobs = [(pair, seed) for pair in pairs for seed in range(seeds)]
    found = Parallel(n_jobs=options.jobs or -1, verbose=5)(
        delayed(learn)(*pair, seed, texts, steps, batch, options.memory) for pair, seed in jobs
    )
    rows: dict[tuple[str, str, float], list[dict[str, Any]]] = {}
    for ((shape, weight), _), scores in zip(jobs, found, strict=True):
        name = f"RWKV {shape[0]} x {shape[1]}"
        rows.setdefault(("SpikeGPTLM()", name if weight else "-", weight), []).append(scores[-1])
        if weight == WEIGHTS[0]:
            rows.setdefault((name, "-", 0.0), []).append(scores[0])
    names = ("model", "teacher", "teacher_weight")
    table = results_table(
        [dict(zip(names, row, strict=True)) | join(scores) for row, scores in rows.items()]
    )
    run = describe_run(
        parameters={"steps": steps, "weights": WEIGHTS, "length": LENGTH, "batch_size": batch},
        seed=list(range(seeds)),
        corpus=describe_corpus(options.corpus, [text]),
        duration=time.perf_counter() - started,
        command=["python", *sys.argv],
    )
    write_tables(table, options.output, run=run)
    with pd.option_context("display.width", 200, "display.max_columns", None):
        print(table)


if __name__ == "__main__":
    main()

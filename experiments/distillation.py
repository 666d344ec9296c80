"""Train the default SpikeGPT with a teacher: RWKV of its shape, and the best RWKV of its size.

Beside them the teachers, and students that learn alone, with the default step and twice the step;
the same tokens, rate and schedule. A teacher costs its own training, and a pass through it at each
step.
"""

from __future__ import annotations

import time
from typing import Any

from _experiment import parse_arguments
from _language_models import (
    BATCH,
    LENGTH,
    SEEDS,
    STEPS,
    Texts,
    divide,
    finish,
    fit_and_score,
    join,
    scores_of,
    train,
)
from joblib import Parallel, delayed
from recipes import COARSE, spike_gpt
from spikedecoder_spikegpt import Shape

from snn_estimators import results_table
from snn_estimators.sweep import prepare_text

TEACHERS: dict[str, Shape] = {"RWKV 1 x 160": (1, 160), "RWKV 4 x 80": (4, 80)}
STUDENTS: dict[str, dict[str, Any]] = {
    "SpikeGPTLM()": {},
    "SpikeGPTLM(), twice the step": COARSE,
}
PAIRS = [(name, teacher) for name in STUDENTS for teacher in (None, *TEACHERS)]


def learn(
    name: str,
    taught_by: str | None,
    seed: int,
    texts: Texts,
    steps: int,
    batch: int,
    memory: str | None,
) -> dict[str, dict[str, Any]]:
    """Return the scores of a student and of its teacher."""
    student, found = spike_gpt((1, 160), **STUDENTS[name]), {}
    if taught_by is not None:
        teacher = spike_gpt(TEACHERS[taught_by], spikes="none").set_params(spike_penalty=0.0)
        train(teacher, seed, texts, steps, batch, memory)
        found[taught_by] = scores_of(teacher, texts)
        student.set_params(teacher=teacher)
    return {**found, name: fit_and_score(student, seed, texts, steps, batch, memory)}


def main() -> None:
    """Train all, and write the table."""
    options = parse_arguments(__file__, __doc__)
    started = time.perf_counter()
    text = prepare_text(options.corpus, limit=5_000 if options.quick else None)
    texts = divide(text, 2 if options.quick else 64)
    steps, seeds, batch = (5, 1, 1) if options.quick else (STEPS, SEEDS, BATCH)
    pairs = PAIRS[:2] if options.quick else PAIRS
    jobs = [(pair, seed) for seed in range(seeds) for pair in pairs]
    found = Parallel(n_jobs=options.jobs or -1, verbose=5)(
        delayed(learn)(*pair, seed, texts, steps, batch, options.memory) for pair, seed in jobs
    )
    rows: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for ((student, teacher), _), scores in zip(jobs, found, strict=True):
        rows.setdefault((student, teacher or "-"), []).append(scores[student])
        if teacher is not None and student == next(iter(STUDENTS)):
            rows.setdefault((teacher, "-"), []).append(scores[teacher])
    table = results_table(
        [{"model": name, "teacher": by} | join(scores) for (name, by), scores in rows.items()]
    )
    parameters = {"steps": steps, "length": LENGTH, "batch_size": batch}
    finish(table, options, text, started, list(range(seeds)), parameters)


if __name__ == "__main__":
    main()

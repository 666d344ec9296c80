"""Convert a fitted RWKV into a spiking model, and train it on.

Perplexity on held-out text before any training of the spiking model, and after 100 and 300 steps;
beside it the twin, and spiking models trained from scratch for as many steps as both together.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import torch
from _experiment import parse_arguments
from _language_models import BATCH, LENGTH, SHARED, STEPS, Texts, divide, finish
from joblib import Parallel, delayed

from snn_estimators import SpikeGPTLM, language_model_scores, results_table
from snn_estimators.estimators import LanguageModel
from snn_estimators.sweep import prepare_text

LEVELS = (2, 4, 8, 16)
FURTHER = (100, 200)  # steps of training; together 300


def rwkv(width: int, memory: str | None) -> SpikeGPTLM:
    """Return an RWKV of one block, not fitted."""
    module = {"module__spikes": "none", "module__n_embd": width, "module__ctx_len": LENGTH}
    return SpikeGPTLM(**SHARED, **module, batch_size=BATCH, random_state=0, memory=memory)


def train(model: LanguageModel, steps: int, text: str) -> LanguageModel:
    """Train for so many steps, and report each hundred as an epoch."""
    model.set_params(max_steps=steps, steps_per_epoch=min(steps, 100))
    return model.partial_fit([text])


def scores(model: LanguageModel, test: list[str]) -> dict[str, float]:
    """Return what a table shows of a model."""
    return {f"test_{k}": v for k, v in language_model_scores(model, test).items()}


def convert(twin: SpikeGPTLM, levels: int, further: Sequence[int], texts: Texts) -> dict[str, Any]:
    """Return the row of a converted model, before and after training."""
    torch.set_num_threads(1)
    model = SpikeGPTLM.from_twin(twin, [texts.train], levels=levels, memory=None, lr=3e-3)
    row: dict[str, Any] = {"model": "converted", "levels": levels}
    row["test_neg_perplexity_before"] = -model.perplexity(texts.test)
    for done, steps in zip(accumulate(further), further, strict=True):
        train(model, steps, texts.train)
        row[f"test_neg_perplexity_after_{done}"] = -model.perplexity(texts.test)
    return row | scores(model, texts.test)


def scratch(twin: SpikeGPTLM, levels: int, steps: int, texts: Texts) -> dict[str, Any]:
    """Return the row of a model with the same neurons that was not converted."""
    torch.set_num_threads(1)
    neurons = {
        "spikes": "linear",
        "neuron": "graded",
        "signed": True,
        "levels": levels,
        "step": 1.0,
    }
    model = SpikeGPTLM(**twin.get_params(deep=False))
    model.set_params(**{f"module__{name}": value for name, value in neurons.items()}, memory=None)
    fitted = train(model, steps, texts.train)
    return {"model": "from scratch", "levels": levels, **scores(fitted, texts.test)}


def main() -> None:
    """Train the twin, convert it, and write the table."""
    options = parse_arguments(__file__, __doc__)
    started = time.perf_counter()
    text = prepare_text(options.corpus, limit=5_000 if options.quick else None)
    texts = divide(text, 2 if options.quick else 64)
    steps, further = (2, (1, 1)) if options.quick else (STEPS, FURTHER)
    levels = LEVELS[:1] if options.quick else LEVELS
    fitted = train(rwkv(16 if options.quick else 160, options.memory), steps, texts.train)
    jobs = [delayed(convert)(fitted, n, further, texts) for n in levels]
    jobs += [
        delayed(scratch)(fitted, n, steps + sum(further), texts) for n in levels[1::2] or levels
    ]
    rows = Parallel(n_jobs=options.jobs or -1)(jobs)
    table = results_table([{"model": "RWKV", **scores(fitted, texts.test)}, *rows])
    parameters = {"steps": steps, "further": further, "levels": levels, "length": LENGTH}
    finish(table, options, text, started, 0, parameters)


if __name__ == "__main__":
    main()

"""Show whether spiking decoders learn more than bigrams.

The reference's recipe, the "context" preset and the non-spiking twin, trained on equally many
tokens of one text (the first nine tenths) and measured on 64 windows spread evenly over the rest;
beside them n-gram models counted on the same nine tenths. Several seeds, energy included.
"""

from __future__ import annotations

import math
import sys
import time
from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
from _experiment import parse_arguments
from joblib import Parallel, delayed
from skorch.callbacks import Callback

from snn_estimators import (
    CharTokenizer,
    SpikeDecoderLM,
    language_model_scores,
    results_table,
    write_tables,
)
from snn_estimators.model_selection import describe_corpus, describe_run, prepare_text

LENGTH, WINDOWS, STEPS, SEEDS = 128, 64, 500, 3
SYMBOLS = CharTokenizer("spikedecoder").fit(["a"]).vocabulary_
SHARED = {
    "tokenizer": CharTokenizer("spikedecoder"),
    "module__max_len": LENGTH,
    "module__blocks": 4,
    "batch_size": 16,
    "device": "cpu",
}
MODELS: dict[str, Any] = {
    "SpikeDecoder, reference recipe": lambda: SpikeDecoderLM(schedule="constant", lr=1e-3),
    "SpikeDecoder, preset 'context'": lambda: SpikeDecoderLM.from_preset("context"),
    "non-spiking twin, lr 1e-3": lambda: SpikeDecoderLM(
        module__spike_degree=0, schedule="constant", lr=1e-3
    ),
    "non-spiking twin, lr 3e-3": lambda: SpikeDecoderLM(
        module__spike_degree=0, schedule="constant", lr=3e-3
    ),
    "non-spiking twin, tuned": lambda: SpikeDecoderLM(
        module__spike_degree=0, schedule="trapezoid", lr=3e-3
    ),
    "non-spiking twin, tuned, as many parameters": lambda: SpikeDecoderLM(
        module__spike_degree=0, module__mlp_ratio=11, schedule="trapezoid", lr=3e-3
    ),
}


class Curve(Callback):
    """Note the perplexity on held-out windows after each fifth of the training."""

    def __init__(self, windows: list[str]) -> None:
        self.windows = windows

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Measure and note."""
        net.history.record("test_perplexity", net.perplexity(self.windows))


def fit_and_score(name: str, seed: int, train: str, test: list[str], steps: int) -> dict[str, Any]:
    """Train one model with one seed; return its scores and its curve."""
    model = MODELS[name]().set_params(
        **SHARED, random_state=seed, steps_per_epoch=steps // 5, max_epochs=5
    )
    model.set_params(callbacks=[("curve", Curve(test))])
    started = time.perf_counter()
    model.fit([train])
    curve = model.history[:, "test_perplexity"]
    at = {f"neg_perplexity_at_{steps // 5 * (i + 1)}": -p for i, p in enumerate(curve[:-1])}
    duration = time.perf_counter() - started
    return {**language_model_scores(model, test), **at, "fit_time": duration}


def n_gram(order: int, train: str, test: list[str], smoothing: float = 0.05) -> dict[str, Any]:
    """Score an n-gram model with additive smoothing on the same predictions.

    The first tokens of a window have less context there, for it as for the others.
    """
    counts = [
        Counter(train[i : i + n] for i in range(len(train) - n + 1)) for n in range(order + 1)
    ]
    losses, hits = [], 0
    for window in test:
        for end in range(1, len(window)):
            context = window[max(0, end - order + 1) : end]
            seen = np.array([counts[len(context) + 1][context + symbol] for symbol in SYMBOLS])
            likelihoods = (seen + smoothing) / (seen.sum() + smoothing * len(SYMBOLS))
            target = SYMBOLS.index(window[end])
            losses.append(-math.log(likelihoods[target]))
            hits += int(likelihoods.argmax()) == target
    loss = float(np.mean(losses))
    return {
        "neg_perplexity": -math.exp(loss),
        "neg_bits_per_character": -loss / math.log(2) * (LENGTH / (LENGTH + 1)),
        "accuracy": hits / len(losses),
    }


def main() -> None:
    """Train everything, a seed at a time, and write the table."""
    options = parse_arguments(__file__, __doc__)
    started = time.perf_counter()
    text = prepare_text(options.corpus, limit=20_000 if options.quick else None)
    steps, seeds = (5, 1) if options.quick else (STEPS, SEEDS)
    cut = len(text) - len(text) // 10
    train, rest = text[:cut], text[cut:]
    starts = np.linspace(0, len(rest) - LENGTH - 1, WINDOWS).astype(int)
    test = [rest[i : i + LENGTH + 1] for i in starts]

    jobs = [(name, seed) for seed in range(seeds) for name in MODELS]
    scores = Parallel(n_jobs=options.jobs or -1, verbose=5)(
        delayed(fit_and_score)(name, seed, train, test, steps) for name, seed in jobs
    )
    runs = [
        {"model": name} | join([s for (n, _), s in zip(jobs, scores, strict=True) if n == name])
        for name in MODELS
    ]
    runs += [{"model": f"{n}-gram"} | join([n_gram(n, train, test)]) for n in (1, 2, 3, 4)]
    table = results_table(runs)
    run = describe_run(
        parameters={"steps": steps, "seeds": seeds, "windows": WINDOWS, "length": LENGTH},
        seed=list(range(seeds)),
        corpus=describe_corpus(options.corpus, [text]),
        duration=time.perf_counter() - started,
        command=["python", *sys.argv],
    )
    write_tables(table, options.output, run=run)
    with pd.option_context("display.width", 200, "display.max_columns", None):
        print(table)


def join(scores: list[dict[str, Any]]) -> dict[str, Any]:
    """Gather the scores of several seeds as `cross_validate` would those of several folds."""
    return {
        key if key == "fit_time" else f"test_{key}": np.array([one[key] for one in scores])
        for key in scores[0]
    }


if __name__ == "__main__":
    main()

"""Train language models on equally many tokens of one text, with several seeds, and compare them.

The first nine tenths of the text are trained on; 64 windows spread evenly over the rest measure.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from joblib import Parallel, delayed
from skorch.callbacks import Callback

from snn_estimators import CharTokenizer, language_model_scores, results_table, write_tables
from snn_estimators.estimators import LanguageModel
from snn_estimators.model_selection import describe_corpus, describe_run
from snn_estimators.sweep import prepare_text

LENGTH, WINDOWS, STEPS, SEEDS, BATCH = 128, 64, 500, 3, 16
SHARED = {"tokenizer": CharTokenizer("spikedecoder"), "device": "cpu"}


class Texts(NamedTuple):
    """What models are trained on, and what they are measured on."""

    train: str
    test: list[str]


class Curve(Callback):
    """Record the perplexity on held-out windows after each fifth of the training."""

    def __init__(self, windows: list[str]) -> None:
        self.windows = windows

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        """Reset the processor time, which leaves out the measurement of perplexity."""
        self.seconds_ = 0.0

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        """Start the clock."""
        self.started_ = time.process_time()

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Stop the clock, measure the perplexity and record it."""
        self.seconds_ += time.process_time() - self.started_
        net.history.record("test_perplexity", net.perplexity(self.windows))


def fit_and_score(
    model: LanguageModel, seed: int, texts: Texts, steps: int, batch_size: int
) -> dict[str, Any]:
    """Train one model with one seed on one core; return its scores, its curve and its speed."""
    torch.set_num_threads(1)
    curve = Curve(texts.test)
    model.set_params(
        **SHARED,
        random_state=seed,
        batch_size=batch_size,
        steps_per_epoch=steps // 5,
        max_epochs=5,
        callbacks=[("curve", curve)],
    )
    model.fit([texts.train])
    fifths = list(enumerate(model.history[:, "test_perplexity"], start=1))
    at = {f"neg_perplexity_at_{steps // 5 * i}": -p for i, p in fifths[:-1]}
    speed = {"tokens_per_second": steps * batch_size * LENGTH / curve.seconds_}
    return {**language_model_scores(model, texts.test), **at, **speed, "fit_time": curve.seconds_}


def compare(
    options: argparse.Namespace,
    models: Mapping[str, Callable[[], LanguageModel]],
    others: Callable[[Texts], Iterable[dict[str, Any]]] = lambda texts: (),
) -> None:
    """Train every model with every seed, and write the table; `others` adds rows of its own."""
    started = time.perf_counter()
    text = prepare_text(options.corpus, limit=5_000 if options.quick else None)
    quick, full = (5, 1, 2, 1), (STEPS, SEEDS, WINDOWS, BATCH)
    steps, seeds, windows, batch_size = quick if options.quick else full
    texts = divide(text, windows)
    jobs = [(name, seed) for seed in range(seeds) for name in models]
    scores = Parallel(n_jobs=options.jobs or -1, verbose=5)(
        delayed(fit_and_score)(models[name](), seed, texts, steps, batch_size)
        for name, seed in jobs
    )
    runs = [
        {"model": name} | join([s for (n, _), s in zip(jobs, scores, strict=True) if n == name])
        for name in models
    ]
    table = results_table([*runs, *others(texts)])
    run = describe_run(
        parameters={"steps": steps, "seeds": seeds, "windows": windows, "length": LENGTH},
        seed=list(range(seeds)),
        corpus=describe_corpus(options.corpus, [text]),
        duration=time.perf_counter() - started,
        command=["python", *sys.argv],
    )
    write_tables(table, options.output, run=run)
    with pd.option_context("display.width", 200, "display.max_columns", None):
        print(table)


def divide(text: str, windows: int) -> Texts:
    """Hold the last tenth out, and spread the windows over it."""
    cut = len(text) - len(text) // 10
    train, rest = text[:cut], text[cut:]
    starts = np.linspace(0, len(rest) - LENGTH - 1, windows).astype(int)
    return Texts(train, [rest[i : i + LENGTH + 1] for i in starts])


def join(scores: list[dict[str, Any]]) -> dict[str, Any]:
    """Gather the scores of several seeds as `cross_validate` would those of several folds."""
    return {
        key if key == "fit_time" else f"test_{key}": np.array([one[key] for one in scores])
        for key in scores[0]
    }

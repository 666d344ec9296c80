"""Train language models on equally many tokens of one text, with several seeds, and compare them.

The first nine tenths of the text are trained on; 64 windows spread evenly over the rest measure.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from joblib import Parallel, delayed
from skorch.callbacks import Callback

from snn_estimators import (
    CharTokenizer,
    SpikeDecoderLM,
    SpikeGPTLM,
    language_model_scores,
    results_table,
    write_tables,
)
from snn_estimators.energy import PROFILES
from snn_estimators.estimators import LanguageModel
from snn_estimators.model_selection import describe_corpus, describe_run
from snn_estimators.nn import Graded
from snn_estimators.sweep import prepare_text

LENGTH, WINDOWS, STEPS, SEEDS, BATCH = 128, 64, 500, 3, 16
INT8 = "energy_with_memory_in_int8_nj"
QUANTIZED = "as_quantized_activations_in_int8_nj"
SHARED = {"tokenizer": CharTokenizer("spikedecoder")}
QUICK_SHAPE = 1, 16  # blocks and width
QUICK_SIZES: Mapping[type, Mapping[str, int]] = {
    SpikeGPTLM: {"module__n_layer": 1, "module__n_embd": 16},
    SpikeDecoderLM: {"module__blocks": 1, "module__token_dim": 10, "module__position_dim": 6},
}


class Texts(NamedTuple):
    """What models are trained on, and what they are measured on."""

    train: str
    test: list[str]


class Entry(NamedTuple):
    """A row of a table: what it is called, and what makes its model."""

    labels: dict[str, Any]
    make: Callable[[], LanguageModel]


class Curve(Callback):
    """Record the perplexity on held-out windows after each fifth of the training."""

    def __init__(self, windows: list[str]) -> None:
        self.windows = windows

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        """Start the clock."""
        self.started_ = time.process_time()

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Record the processor time, then the perplexity."""
        net.history.record("train_seconds", time.process_time() - self.started_)
        net.history.record("test_perplexity", net.perplexity(self.windows))


def train(
    model: LanguageModel,
    seed: int,
    texts: Texts,
    steps: int,
    batch_size: int,
    memory: str | None = None,
) -> LanguageModel:
    """Train one model with one seed on one core."""
    torch.set_num_threads(1)
    model.set_params(
        **SHARED,
        random_state=seed,
        batch_size=batch_size,
        steps_per_epoch=steps // 5,
        max_epochs=5,
        callbacks=[("curve", Curve(texts.test))],
        memory=memory,
    )
    return model.fit([texts.train])


def fit_and_score(
    model: LanguageModel, seed: int, texts: Texts, steps: int, batch_size: int, memory: str | None
) -> dict[str, Any]:
    """Train one model with one seed on one core, and return its scores."""
    return scores_of(train(model, seed, texts, steps, batch_size, memory), texts)


def scores_of(model: LanguageModel, texts: Texts) -> dict[str, Any]:
    """Return the scores of a trained model, its curve and its speed.

    Zeros are skipped in real models, too. What all costs in 8 bits stands beside, and what graded
    spikes would cost as the quantised activations of a conventional network, zeros included.
    """
    steps, batch_size = 5 * model.steps_per_epoch, model.batch_size
    fifths = list(enumerate(model.history[:, "test_perplexity"], start=1))
    at = {f"neg_perplexity_at_{steps // 5 * i}": -p for i, p in fifths[:-1]}
    seconds = sum(model.history[:, "train_seconds"])
    speed = {"tokens_per_second": steps * batch_size * LENGTH / seconds}
    scores, in_8_bits = (
        language_model_scores(model, texts.test, profile=replace(PROFILES[name], skip_zeros=True))
        for name in ("45nm-sram", "45nm-int8")
    )
    int8 = {INT8: -in_8_bits["neg_energy_with_memory_per_token_nj"]}
    graded = [part for part in model.module_.modules() if isinstance(part, Graded) and part.levels]
    for neuron in graded:
        neuron.emits_spikes = False
    quantized = language_model_scores(model, texts.test, profile="45nm-int8") if graded else {}
    cost = quantized.get("neg_energy_with_memory_per_token_nj", float("nan"))
    return {**scores, **int8, QUANTIZED: -cost, **at, **speed, "fit_time": seconds}


def compare(
    options: argparse.Namespace,
    models: Sequence[Entry],
    others: Callable[[Texts], Iterable[dict[str, Any]]] = lambda texts: (),
    tune: Callable[[Texts, int, int], Mapping[str, float]] = lambda *given: {},
) -> pd.DataFrame:
    """Train every model with every seed, write the table and return it.

    `others` adds rows of its own; `tune` gives the learning rate of each kind of model.
    """
    started = time.perf_counter()
    text = prepare_text(options.corpus, limit=5_000 if options.quick else None)
    quick, full = (5, 1, 2, 2), (STEPS, SEEDS, WINDOWS, BATCH)
    steps, seeds, windows, batch_size = quick if options.quick else full
    texts = divide(text, windows)
    rates = tune(texts, steps, batch_size)

    def make(entry: Entry) -> LanguageModel:
        rate = rates.get(entry.labels["model"])
        model = entry.make().set_params(**{} if rate is None else {"lr": rate})
        return model.set_params(**QUICK_SIZES[type(model)] if options.quick else {})

    jobs = [(place, seed) for seed in range(seeds) for place in range(len(models))]
    scores = Parallel(n_jobs=options.jobs or -1, verbose=5)(
        delayed(fit_and_score)(make(models[n]), seed, texts, steps, batch_size, options.memory)
        for n, seed in jobs
    )
    runs = [
        entry.labels | join([s for (n, _), s in zip(jobs, scores, strict=True) if n == place])
        for place, entry in enumerate(models)
    ]
    table = results_table([*runs, *others(texts)])
    parameters = {"steps": steps, "seeds": seeds, "windows": windows, "length": LENGTH}
    parameters |= {"learning_rates": dict(rates)}
    finish(table, options, text, started, list(range(seeds)), parameters)
    return table


def finish(
    table: pd.DataFrame,
    options: argparse.Namespace,
    text: str,
    started: float,
    seed: Any,
    parameters: Mapping[str, Any],
) -> None:
    """Write a table, and print it."""
    run = describe_run(
        parameters=parameters,
        seed=seed,
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

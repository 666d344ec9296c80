"""Classify movie reviews as praise or blame: spiking classifiers and their baselines.

Cross-validation over 10,662 sentences (Pang and Lee's sentence polarity data, one file of each
kind). Everything is learned within the folds: vocabularies, and the text that a language model is
pretrained on. All learn at the rate that was best for most on one fold of another shuffle, at the
middle one of five sizes. Zeros are skipped in real models, too.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from _experiment import argument_parser, write_results
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.dummy import DummyClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_validate
from sklearn.pipeline import make_pipeline

from snn_estimators import (
    SpikeDecoderClassifier,
    SpikeGPTClassifier,
    SpikeGPTLM,
    SpikingDecoder,
    WordTokenizer,
    results_table,
)
from snn_estimators.energy import PROFILES, summarize
from snn_estimators.model_selection import check_writable, describe_corpus, describe_run, present

FILES = {"praise": "movie_reviews.pos", "blame": "movie_reviews.neg"}
FOLDS = 3
SHARED: dict[str, Any] = {"batch_size": 32, "device": "cpu", "random_state": 0}
WORDS = {"tokenizer": WordTokenizer(min_frequency=2, lowercase=True)}
SHAPES = ((1, 16), (1, 32), (1, 64), (2, 64), (2, 96))  # blocks and width
SPIKEGPT = {"dropout": 0.3}
SPIKEDECODER = {"max_len": 64, "heads": 4}
BINARY_SPIKEGPT = {"spikes": "residual", "neuron": "lif"}
BINARY_SPIKEDECODER = {
    **SpikingDecoder.PUBLISHED,
    "timesteps": 2,
    "float_embedding": True,
    "embedding_std": 0.3,
}


SPIKEGPTS: dict[str, dict[str, Any]] = {
    "SpikeGPT, graded": {},
    "SpikeGPT, binary": BINARY_SPIKEGPT,
    "RWKV, the non-spiking twin": {"spikes": "none"},
}
SPIKEDECODERS: dict[str, dict[str, Any]] = {
    "SpikeDecoder, graded": {},
    "SpikeDecoder, binary": BINARY_SPIKEDECODER,
    "Transformer, the non-spiking twin": {"spike_degree": 0},
}


class PretrainedFirst(ClassifierMixin, BaseEstimator):
    """Train a language model on X, without y, then a classifier that starts from it."""

    def __init__(self, language_model: SpikeGPTLM, classifier: SpikeGPTClassifier) -> None:
        self.language_model = language_model
        self.classifier = classifier

    def fit(self, X: Any, y: Any) -> Self:
        """Train both."""
        start = clone(self.language_model).fit(X)
        self.classifier_ = clone(self.classifier).set_params(pretrained=start).fit(X, y)
        self.classes_ = self.classifier_.classes_
        return self

    def predict(self, X: Any) -> Any:
        """Predict with the classifier."""
        return self.classifier_.predict(X)


def spike_gpt(shape: tuple[int, int], **options: Any) -> dict[str, Any]:
    """Return the parameters of a SpikeGPT."""
    return named({**SPIKEGPT, **options, "n_layer": shape[0], "n_embd": shape[1]})


def decoder(shape: tuple[int, int], **options: Any) -> dict[str, Any]:
    """Return the parameters of a SpikeDecoder, a quarter of whose width is positions."""
    sizes = {"token_dim": shape[1] * 3 // 4, "position_dim": shape[1] // 4, "blocks": shape[0]}
    return named({**SPIKEDECODER, **options, **sizes})


def penalty(name: str) -> dict[str, float]:
    """Return what makes graded spikes sparse, and nothing for other models."""
    return {"spike_penalty": 0.2} if name.endswith("graded") else {}


def named(options: dict[str, Any]) -> dict[str, Any]:
    """Return a module's options as parameters of its estimator."""
    return {f"module__{name}": value for name, value in options.items()}


def models(
    shapes: Sequence[tuple[int, int]], max_steps: int | None
) -> Iterator[tuple[dict[str, Any], Any]]:
    """Yield what is compared, each with what it is called."""
    shared = {**SHARED, "max_steps": max_steps}
    recipe = {**shared, **WORDS, "lr": 1e-2}
    yield {"model": "majority vote"}, DummyClassifier()
    tf_idf = make_pipeline(TfidfVectorizer(), LogisticRegression())
    yield {"model": "TF-IDF + logistic regression"}, tf_idf
    pairs = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    of_pairs = make_pipeline(pairs, LogisticRegression(C=10, max_iter=1000))
    yield {"model": "TF-IDF of words and pairs + logistic regression"}, of_pairs
    for shape in shapes:
        size = {"blocks": shape[0], "width": shape[1]}
        for name, options in SPIKEGPTS.items():
            given = {**spike_gpt(shape, **options), **recipe, "max_epochs": 2}
            yield {"model": name, **size}, SpikeGPTClassifier(**given, **penalty(name))
        for name, options in SPIKEDECODERS.items():
            given = {**decoder(shape, **options), **recipe, "max_epochs": 3}
            yield {"model": name, **size}, SpikeDecoderClassifier(**given, **penalty(name))
    shape = shapes[:4][-1]
    size = {"blocks": shape[0], "width": shape[1]}
    pretrained = PretrainedFirst(
        SpikeGPTLM(**spike_gpt(shape), **shared, **WORDS, lr=6e-3, max_epochs=1),
        SpikeGPTClassifier(**shared, lr=5e-3, max_epochs=2),
    )
    yield {"model": "SpikeGPT, pretrained on the fold's text", **size}, pretrained


def scores(model: Any, X: Any, y: Any) -> dict[str, float]:
    """Return accuracy, size and cost."""
    found = {"accuracy": float(np.mean(model.predict(X) == y))}
    classifier = getattr(model, "classifier_", model)
    if hasattr(classifier, "energy"):
        profile = replace(PROFILES["45nm-sram"], skip_zeros=True)
        cost = summarize(classifier.energy(X, profile=profile))
        found["n_parameters"] = sum(p.numel() for p in classifier.module_.parameters())
        found["energy_per_token_nj"] = cost["synaptic_nj"]
        found["total_energy_per_token_nj"] = cost["total_nj"]
        found["energy_with_memory_per_token_nj"] = cost["total_with_memory_nj"]
        found["weight_reads_per_token"] = cost["weight_reads"]
        found["relative_energy"] = cost["relative"]
        for name in ("relative_total", "relative_with_memory", "spike_rate"):
            found[name] = cost[name]
        found["context_length"] = cost["length"]
        in_8_bits = summarize(
            classifier.energy(X, profile=replace(PROFILES["45nm-int8"], skip_zeros=True))
        )
        found["energy_with_memory_in_int8_nj"] = in_8_bits["total_with_memory_nj"]
    return found


def read_reviews(folder: Path) -> tuple[list[str], list[str]]:
    """Return sentences and labels."""
    texts, labels = [], []
    for label, name in FILES.items():
        if not (folder / name).is_file():
            sys.exit(f"There is no {name} in {folder}: give the folder that has it as --data.")
        lines = (folder / name).read_text(encoding="utf-8").splitlines()
        texts += lines
        labels += [label] * len(lines)
    return texts, labels


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argument_parser(__file__, __doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="(%(default)s)")
    return parser.parse_args()


def main() -> None:
    """Cross-validate everything and write the table."""
    options = parse_arguments()
    texts, labels = read_reviews(options.data)
    folder = check_writable(options.output)
    started = time.perf_counter()
    step = len(texts) // 60 + 1 if options.quick else 1  # as many of each kind
    X, y = np.array(texts[::step], dtype=object), np.array(labels[::step])
    folds = StratifiedKFold(2 if options.quick else FOLDS, shuffle=True, random_state=1)
    runs = []
    compared = models(SHAPES[:1], 2) if options.quick else models(SHAPES, None)
    for labels, model in compared:
        if "memory" in model.get_params(deep=False):
            model.set_params(memory=options.memory)
        jobs = -1 if options.jobs is None else options.jobs
        run = cross_validate(
            model, X, y, cv=folds, scoring=scores, n_jobs=jobs, error_score="raise"
        )
        runs.append({**labels, **run})
        print(f"{labels}: {run['test_accuracy'].mean():.3f}", flush=True)
    table = results_table(runs).drop(columns=["rank", "pareto"])
    table = table.sort_values("accuracy", ascending=False, kind="stable", ignore_index=True)
    run = describe_run(
        parameters={"folds": folds.get_n_splits(), **SHARED, **WORDS, **SPIKEGPT, **SPIKEDECODER},
        seed=0,
        corpus=describe_corpus("movie_reviews", list(X)),
        duration=time.perf_counter() - started,
        command=["python", *sys.argv],
    )
    neat = present(table).to_markdown(index=False, disable_numparse=True)
    write_results(folder, neat, run, table)
    with pd.option_context("display.width", 200, "display.max_columns", None):
        print(table)


if __name__ == "__main__":
    main()

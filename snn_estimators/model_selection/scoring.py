"""Scores of a language model, quality and cost, from one pass over the text."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from sklearn.pipeline import Pipeline

from snn_estimators.energy import EnergyProfile, summarize
from snn_estimators.energy.profiles import DEFAULT
from snn_estimators.estimators import LanguageModel, NGramLM
from snn_estimators.estimators.text_density import exp_or_inf

__all__ = ["SCORES", "language_model_scores"]

SCORES = (
    "neg_perplexity",
    "neg_bits_per_character",
    "accuracy",
    "unknown_rate",
    "neg_energy_per_token_nj",
    "neg_total_energy_per_token_nj",
    "neg_energy_with_memory_per_token_nj",
    "neg_weight_reads_per_token",
    "spike_rate",
    "relative_energy",
    "relative_total",
    "relative_with_memory",
    "n_parameters",
    "ann_n_parameters",
    "context_length",
)
"""The names of the scores that `language_model_scores` returns."""


def language_model_scores(
    estimator: Any, X: Any, y: Any = None, *, profile: EnergyProfile | str = DEFAULT
) -> dict[str, float]:
    """Score a fitted language model: quality of its predictions, and their energy cost.

    One pass over `X` yields every figure, so a search over two hundred candidates does not run
    each model once per metric. Made for ``scoring=`` of `GridSearchCV`, `RandomizedSearchCV` and
    `cross_validate` with ``refit="neg_perplexity"``: scores that are better when small have
    the prefix ``neg_`` and a minus sign, as in scikit-learn. `results_table` undoes both.

    Parameters
    ----------
    estimator : language model, Pipeline or fitted search
        A fitted `SpikeDecoderLM` or another language model of this library, or a `Pipeline`
        whose last step is one; the earlier steps transform `X` first. Of an `NGramLM` all figures
        of cost are NaN.
    X : iterable of documents, or token ids
        Held-out text, as the estimator's ``score`` takes it.
    y : None
        Ignored, there for scikit-learn.
    profile : EnergyProfile or str, default="45nm-sram"
        The technology that prices operations and memory. For another one in a search, give
        ``scoring=functools.partial(language_model_scores, profile="45nm-int8")``.

    Returns
    -------
    dict of str to float
        ``neg_perplexity``
            Minus exp of the mean negative log-likelihood of a predicted token.
        ``neg_bits_per_character``
            Minus the total bits over the number of raw characters, which compare across
            tokenizers: unknown tokens are spelt out (`snn_estimators.text.spelling_bits`).
        ``accuracy``
            Share of next tokens that were the most likely one, 0 to 1.
        ``unknown_rate``
            Share of next tokens that are the tokenizer's unknown token, 0 to 1.
        ``neg_energy_per_token_nj``
            Minus the synaptic energy of one token's inference, in nJ (the papers' definition).
        ``neg_total_energy_per_token_nj``
            The same with normalisation, neuron updates, residual sums, biases and functions.
        ``neg_energy_with_memory_per_token_nj``
            The same with reads and writes of memory; NaN if the profile has no price of it.
        ``neg_weight_reads_per_token``
            Minus the number of weights that a token reads.
        ``spike_rate``
            Spikes over what the neurons could have emitted; NaN for a module without neurons.
        ``relative_energy``, ``relative_total``, ``relative_with_memory``
            Synaptic energy, total energy, and that with memory, over the non-spiking twin's: the
            same module without spikes.
        ``n_parameters``, ``ann_n_parameters``
            Number of weights in the module, and in its twin (NaN for a module that has none).
        ``context_length``
            Tokens of a window, in the mean, on which the cost of softmax attention depends.

    Raises
    ------
    TypeError
        If `estimator` is no language model of this library.
    NotFittedError
        If it was not fitted.
    ValueError
        If no document has two tokens, or most of `X` is unknown to the model's tokenizer.
    KeyboardInterrupt
        If Ctrl-C interrupted the model's fit, which is not to be compared with finished ones. The
        estimator's own ``evaluate`` scores it nevertheless.

    Examples
    --------
    >>> from sklearn.model_selection import GridSearchCV
    >>> search = GridSearchCV(
    ...     estimator, {"module__timesteps": [1, 4]},
    ...     scoring=language_model_scores, refit="neg_perplexity",
    ... )  # doctest: +SKIP
    """
    model = final_estimator(estimator)
    if isinstance(model, NGramLM):
        totals = model.evaluate(_transformed(estimator, X))
        seen = quality(totals)
        found = (-seen["perplexity"], -seen["bits_per_character"], seen["accuracy"])
        without = dict.fromkeys(SCORES, math.nan)
        return without | dict(zip(SCORES, (*found, totals["unknown_rate"]), strict=False))
    if not isinstance(model, LanguageModel):
        raise TypeError(
            "language_model_scores needs a language model such as SpikeDecoderLM, or a Pipeline "
            f"that ends in one, got {type(model).__name__}"
        )
    if getattr(model, "interrupted_", False):
        # skorch swallows Ctrl-C: the fit ends early, and a search would count it as finished and
        # continue with the next candidate. Raised again here, it ends the search.
        raise KeyboardInterrupt("the model's fit was interrupted")
    totals = model.evaluate(_transformed(estimator, X), profile=profile)
    cost = summarize(totals["energy"])
    seen = quality(totals)
    scores = (
        -seen["perplexity"],
        -seen["bits_per_character"],
        seen["accuracy"],
        totals["unknown_rate"],
        -cost["synaptic_nj"],
        -cost["total_nj"],
        -cost["total_with_memory_nj"],
        -cost["weight_reads"],
        cost["spike_rate"],
        cost["relative"],
        cost["relative_total"],
        cost["relative_with_memory"],
        sum(weights.numel() for weights in model.module_.parameters()),
        _n_parameters_of_twin(model),
        cost["length"],
    )
    return {name: float(score) for name, score in zip(SCORES, scores, strict=True)}


def _n_parameters_of_twin(model: LanguageModel) -> float:
    """Count the weights of a model's twin, which is not trained for that."""
    without_spikes = getattr(model.module, "TWIN", None)
    if without_spikes is None:
        return math.nan
    options = model.get_params_for("module") | without_spikes | {"vocab_size": model.vocab_size_}
    with torch.device("meta"):  # sizes alone: no memory, no random draws
        twin = model.module(**options)
    return sum(weights.numel() for weights in twin.parameters())


def quality(totals: Mapping[str, Any]) -> dict[str, float]:
    """Compute the scores from the totals of a language model's ``evaluate``.

    Examples
    --------
    >>> totals = {"log_likelihood": -8 * math.log(2), "n_tokens": 4}
    >>> quality(totals | {"n_characters": 8, "n_correct": 1})
    {'perplexity': 4.0, 'bits_per_character': 1.0, 'accuracy': 0.25}
    """
    nats, spelling = -float(totals["log_likelihood"]), totals.get("spelling_bits", 0.0)
    return {
        "perplexity": exp_or_inf(nats / totals["n_tokens"]),
        "bits_per_character": (nats / math.log(2) + spelling) / totals["n_characters"],
        "accuracy": totals["n_correct"] / totals["n_tokens"],
    }


def final_estimator(estimator: Any) -> Any:
    """Return the model inside searches and pipelines."""
    if hasattr(estimator, "best_estimator_"):
        return final_estimator(estimator.best_estimator_)
    if isinstance(estimator, Pipeline):
        return final_estimator(estimator.steps[-1][1])
    return estimator


def _transformed(estimator: Any, X: Any) -> Any:
    """Return `X` as it reaches the model inside searches and pipelines."""
    if hasattr(estimator, "best_estimator_"):
        return _transformed(estimator.best_estimator_, X)
    if isinstance(estimator, Pipeline):
        X = estimator[:-1].transform(X) if len(estimator.steps) > 1 else X
        return _transformed(estimator.steps[-1][1], X)
    return X

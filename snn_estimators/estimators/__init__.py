"""Language models and classifiers that keep scikit-learn's conventions."""

from collections.abc import Mapping

from snn_estimators._validation import short, suggest
from snn_estimators.estimators.classification.classifiers import (
    SpikeDecoderClassifier,
    SpikeGPTClassifier,
)
from snn_estimators.estimators.language_model import LanguageModel
from snn_estimators.estimators.n_grams.ngram import NGramLM
from snn_estimators.estimators.spike_decoder import SpikeDecoderLM
from snn_estimators.estimators.spike_gpt import SpikeGPTLM

__all__ = [
    "LANGUAGE_MODELS",
    "LanguageModel",
    "NGramLM",
    "SpikeDecoderClassifier",
    "SpikeDecoderLM",
    "SpikeGPTClassifier",
    "SpikeGPTLM",
    "language_model_class",
]

LANGUAGE_MODELS: Mapping[str, type[LanguageModel]] = {
    "spikedecoder": SpikeDecoderLM,
    "spikegpt": SpikeGPTLM,
}
"""The language models by the names that sweeps and the command line call `model`."""


def language_model_class(name: str) -> type[LanguageModel]:
    """Return the class of a language model by its short name.

    Raises
    ------
    ValueError
        If no language model has this name.

    Examples
    --------
    >>> language_model_class("spikegpt").__name__
    'SpikeGPTLM'
    """
    if name not in LANGUAGE_MODELS:
        raise ValueError(f"There is no model {short(name)}: {suggest(name, LANGUAGE_MODELS)}")
    return LANGUAGE_MODELS[name]

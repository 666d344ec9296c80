"""Language models and classifiers that keep scikit-learn's conventions."""

from collections.abc import Mapping

from snn_estimators.estimators.classifiers import SpikeDecoderClassifier, SpikeGPTClassifier
from snn_estimators.estimators.language_model import LanguageModel
from snn_estimators.estimators.spike_decoder import SpikeDecoderLM
from snn_estimators.estimators.spike_gpt import SpikeGPTLM

__all__ = [
    "FAMILIES",
    "LanguageModel",
    "SpikeDecoderClassifier",
    "SpikeDecoderLM",
    "SpikeGPTClassifier",
    "SpikeGPTLM",
    "language_model",
]

FAMILIES: Mapping[str, type[LanguageModel]] = {
    "spikedecoder": SpikeDecoderLM,
    "spikegpt": SpikeGPTLM,
}
"""The language models under the names that command line and sweeps know them by."""


def language_model(family: str) -> type[LanguageModel]:
    """Return the estimator class of a family.

    Raises
    ------
    ValueError
        If there is no such family.

    Examples
    --------
    >>> language_model("spikegpt").__name__
    'SpikeGPTLM'
    """
    if family not in FAMILIES:
        raise ValueError(f"There is no model {family!r}: choose one of {list(FAMILIES)}.")
    return FAMILIES[family]

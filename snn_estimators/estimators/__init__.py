"""Language models that keep scikit-learn's conventions."""

from snn_estimators.estimators.language_model import LanguageModel
from snn_estimators.estimators.spike_decoder import SpikeDecoderLM

__all__ = ["LanguageModel", "SpikeDecoderLM"]

"""Language models that keep scikit-learn's conventions."""

from snn_estimators.estimators.language_model import LanguageModel
from snn_estimators.estimators.spike_decoder import SpikeDecoderLM
from snn_estimators.estimators.spike_gpt import SpikeGPTLM

__all__ = ["LanguageModel", "SpikeDecoderLM", "SpikeGPTLM"]

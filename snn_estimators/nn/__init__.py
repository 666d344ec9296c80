"""Neurons, encodings, norms, attention, feed-forward, and the two language models made of them."""

from snn_estimators.nn.decoder import DecoderState, SpikingDecoder
from snn_estimators.nn.neurons import LIF, TokenLIF
from snn_estimators.nn.spike_gpt import SpikeGPT, SpikeGPTState

__all__ = ["LIF", "DecoderState", "SpikeGPT", "SpikeGPTState", "SpikingDecoder", "TokenLIF"]

"""Neurons, encodings, norms, attention, feed-forward, and the decoder made of them."""

from snn_estimators.nn.decoder import DecoderState, SpikingDecoder
from snn_estimators.nn.neurons import LIF

__all__ = ["LIF", "DecoderState", "SpikingDecoder"]

"""Neurons, encodings, norms, attention, feed-forward, and the two language models made of them.

Choices by name stand in registries. A new neuron, encoding, normalisation or readout is a class or
function and one call of ``register_*``, in this package or outside of it; a surrogate is one of
`snn_estimators.ops.register_surrogate`. Choices, error messages and energy follow from it.
"""

from snn_estimators.nn.decoder.encodings import (
    ENCODINGS,
    POSITION_ENCODINGS,
    Code,
    CodeOptions,
    JointCode,
    register_encoding,
    register_position_encoding,
)
from snn_estimators.nn.decoder.head import READOUTS, Readout, register_readout
from snn_estimators.nn.decoder.spiking_decoder import DecoderState, SpikingDecoder
from snn_estimators.nn.graded import Graded, PowerOfTwo, Quantized, Relu
from snn_estimators.nn.neurons import (
    LIF,
    NEURONS,
    Neuron,
    NeuronOptions,
    TokenLIF,
    UpdateCost,
    register_neuron,
)
from snn_estimators.nn.norms import NORMALIZATIONS, register_normalization
from snn_estimators.nn.rwkv.spike_gpt import SpikeGPT, SpikeGPTState
from snn_estimators.nn.spike_driven import spike_driven
from snn_estimators.ops import SURROGATES, register_surrogate

__all__ = [
    "ENCODINGS",
    "LIF",
    "NEURONS",
    "NORMALIZATIONS",
    "POSITION_ENCODINGS",
    "READOUTS",
    "SURROGATES",
    "Code",
    "CodeOptions",
    "DecoderState",
    "Graded",
    "JointCode",
    "Neuron",
    "NeuronOptions",
    "PowerOfTwo",
    "Quantized",
    "Readout",
    "Relu",
    "SpikeGPT",
    "SpikeGPTState",
    "SpikingDecoder",
    "TokenLIF",
    "UpdateCost",
    "register_encoding",
    "register_neuron",
    "register_normalization",
    "register_position_encoding",
    "register_readout",
    "register_surrogate",
    "spike_driven",
]

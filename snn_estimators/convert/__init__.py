"""Convert checkpoints of the two reference systems into this library's modules.

Both reference systems save plain state dicts; these functions rename their tensors and translate
their constructor arguments. What trainers and wrappers put around a state dict is recognised and
taken off, with one warning that says what it was. Nothing is unpickled here: `read_checkpoint`
reads tensors alone.
"""

from snn_estimators.convert.files import read_checkpoint
from snn_estimators.convert.spike_decoder import from_spikedecoder, spikedecoder_options
from snn_estimators.convert.spike_gpt import from_spikegpt, spikegpt_options

__all__ = [
    "from_spikedecoder",
    "from_spikegpt",
    "read_checkpoint",
    "spikedecoder_options",
    "spikegpt_options",
]

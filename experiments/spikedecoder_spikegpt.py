"""Compare SpikeDecoder, SpikeGPT and their non-spiking twins at equal size, on equal tokens.

Each has 341,000 to 345,000 parameters and its own tuned learning rate; all see the same number of
tokens of the same text. Bits per character, energy, and tokens per second of training.
"""

from functools import partial

from _experiment import parse_arguments
from _language_models import LENGTH, compare
from spikegpt_quality import spike_gpt

from snn_estimators import SpikeDecoderLM

decoder = partial(partial, SpikeDecoderLM, module__max_len=LENGTH)
wide = {"module__blocks": 4, "module__position_dim": 33, "module__heads": 1}  # 83 in all

MODELS = {
    "SpikeDecoder, reference recipe": decoder(schedule="constant", lr=1e-3, **wide),
    "SpikeDecoder, preset 'context'": decoder(
        **SpikeDecoderLM.PRESETS["context"], module__blocks=2
    ),
    "Transformer (SpikeDecoder's twin)": decoder(
        module__spike_degree=0, schedule="trapezoid", lr=3e-3, **wide
    ),
    "SpikeGPT": spike_gpt(3e-3, schedule="trapezoid"),
    "SpikeGPT, spikes everywhere": spike_gpt(3e-3, schedule="trapezoid", spikes="everywhere"),
    "RWKV (SpikeGPT's twin)": spike_gpt(3e-3, schedule="trapezoid", spikes="none"),
}

if __name__ == "__main__":
    compare(parse_arguments(__file__, __doc__), MODELS)

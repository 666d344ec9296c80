"""Train SpikeGPT from each of its initialisations, and with spikes in front of every linear map.

The published initialisation (no neuron fires before the first step), RWKV's own (which the
published script means to use and never runs), and one that fires from the start, at two learning
rates that stay constant; then neurons everywhere, and nowhere (the RWKV twin).
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from _experiment import parse_arguments
from _language_models import LENGTH, Entry, compare

from snn_estimators import SpikeGPTLM


def spike_gpt(lr: float, schedule: str = "constant", **parameters: Any) -> Callable[[], SpikeGPTLM]:
    """Return what makes a model of 341,440 parameters (the embedding's and the head's, too)."""
    module = {"ctx_len": LENGTH, "n_layer": 4, "n_embd": 80, **parameters}
    named = {f"module__{k}": v for k, v in module.items()}
    return partial(
        SpikeGPTLM.from_preset, "spikegpt", lr=lr, schedule=schedule, logit_penalty=0.0, **named
    )


INITIALIZATIONS = {
    "published": "published initialisation",
    "rwkv": "RWKV's initialisation",
    "firing": "firing from the start",
}
MODELS = {
    f"SpikeGPT, {words}, lr {rate}": spike_gpt(float(rate), initialization=name)
    for name, words in INITIALIZATIONS.items()
    for rate in ("1e-3", "3e-3")
} | {
    "SpikeGPT, spikes everywhere, lr 3e-3": spike_gpt(3e-3, spikes="everywhere"),
    "RWKV without spikes, lr 3e-3": spike_gpt(3e-3, spikes="none"),
}

if __name__ == "__main__":
    rows = [Entry({"model": name}, make) for name, make in MODELS.items()]
    compare(parse_arguments(__file__, __doc__), rows)

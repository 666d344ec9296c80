"""Compare models that may read so many weights a token: 16,000, 32,000, 64,000 and 128,000.

For each budget the default SpikeGPT of a shape and penalty that keep to it, the same without
rounding, and the largest RWKV, Transformer and linear-attention model that do; three seeds, equal
tokens, each kind at the rate that suits it best (`results/recipes` has the search for them).
"""

from __future__ import annotations

from functools import partial
from typing import Any

import pandas as pd
from _experiment import parse_arguments
from _language_models import Entry, compare
from recipes import REAL, decoder, spike_gpt
from spikedecoder_spikegpt import Shape

from snn_estimators.estimators import LanguageModel

SPIKING: dict[int, tuple[Shape, float]] = {
    16_000: ((1, 112), 0.2),
    32_000: ((1, 160), 0.2),
    64_000: ((1, 240), 0.1),
    128_000: ((1, 320), 0.07),
}
"""Shape and penalty of the default SpikeGPT at each budget."""

TRANSFORMER = (((1, 24),), ((2, 24),), ((2, 32),), ((2, 48),))
REAL_SHAPES: dict[str, tuple[tuple[Shape, ...], ...]] = {  # a tuple a budget, the best counts
    "RWKV": (((2, 26),), ((2, 38),), ((2, 54), (4, 38)), ((2, 78), (4, 54))),
    "Transformer": TRANSFORMER,
    "linear attention": TRANSFORMER,
}


def penalized(shape: Shape, penalty: float, **module: Any) -> LanguageModel:
    """Make a SpikeGPT that pays for its reads."""
    return spike_gpt(shape, **module).set_params(spike_penalty=penalty)


def models(quick: bool) -> list[Entry]:
    """List the models of all budgets, of the smallest alone if it is to be quick."""
    real = {
        "RWKV": partial(spike_gpt, spikes="none"),
        "Transformer": partial(decoder, **REAL),
        "linear attention": partial(decoder, attention="linear", **REAL),
    }
    found = []
    for place, (budget, (shape, penalty)) in enumerate(list(SPIKING.items())[: 1 if quick else 4]):
        ours = partial(penalized, penalty=penalty)
        made = [("SpikeGPTLM()", shape, ours)]
        made += [("SpikeGPTLM(), not rounded", shape, partial(ours, neuron="relu"))]
        made += [(name, one, real[name]) for name in real for one in REAL_SHAPES[name][place]]
        for name, one, make in made:
            labels = {"reads_up_to": budget, "model": name, "blocks": one[0], "width": one[1]}
            found.append(Entry(labels, partial(make, one)))
    return found


def leads(table: pd.DataFrame) -> str:
    """Say how far spiking models are ahead at each budget, in bits a character."""
    lines = []
    for budget, rows in table.groupby("reads_up_to"):
        bits = rows.groupby("model")["bits_per_character"].min()
        spiking, sparse = bits["SpikeGPTLM()"], bits["SpikeGPTLM(), not rounded"]
        best = bits[list(REAL_SHAPES)].idxmin()
        lines.append(
            f"* up to {budget:,} reads: {bits[best] - spiking:.2f} bits a character ahead of "
            f"{best}, {spiking - sparse:.2f} behind itself without rounding"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    given = parse_arguments(__file__, __doc__)
    print(leads(compare(given, models(given.quick))))

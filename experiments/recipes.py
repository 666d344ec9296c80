"""Set the default recipes beside the strongest opponents: same text, same tokens, tuned rates.

`SpikeGPTLM()` and `SpikeDecoderLM()` as they come; with a coarser step; without rounding; without
spikes, at the size of each, as RWKV learns best, and at a size that reads as many weights. No model
has dropout, all have the initialisation that suits them, and the best of three learning rates.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from _experiment import parse_arguments
from _language_models import LENGTH, compare
from spikedecoder_spikegpt import COSTS, Kind, Shape, entries, kinds_to_compare, tune

from snn_estimators import SpikeDecoderLM, SpikeGPTLM
from snn_estimators.estimators import LanguageModel

RATES = (3e-3, 6e-3, 1e-2)


def spike_gpt(shape: Shape, **module: Any) -> LanguageModel:
    """Make a SpikeGPT by the default recipe, or a twin of it."""
    module = {"ctx_len": LENGTH, "n_layer": shape[0], "n_embd": shape[1], **module}
    return SpikeGPTLM(**{f"module__{name}": value for name, value in module.items()})


def decoder(shape: Shape, **module: Any) -> LanguageModel:
    """Make a SpikeDecoder by the default recipe, or a twin of it; positions take 3/8."""
    position_dim = shape[1] * 3 // 8
    sizes = {"blocks": shape[0], "position_dim": position_dim, "max_len": LENGTH, "heads": 4}
    module = {**sizes, "token_dim": shape[1] - position_dim, **module}
    return SpikeDecoderLM(**{f"module__{name}": value for name, value in module.items()})


COARSE = {"step": 0.25, "levels": 16}
REAL = {"spike_degree": 0, "attention_decay": None, "normalization": "layer"}
KINDS = {
    "SpikeGPTLM()": Kind(spike_gpt, ((1, 160),)),
    "SpikeGPTLM(), twice the step": Kind(partial(spike_gpt, **COARSE), ((1, 160),)),
    "SpikeGPTLM(), not rounded": Kind(partial(spike_gpt, neuron="relu"), ((1, 160),)),
    "RWKV": Kind(partial(spike_gpt, spikes="none"), ((4, 80), (2, 40), (1, 160))),
    "SpikeDecoderLM()": Kind(decoder, ((2, 80),)),
    "SpikeDecoderLM(), twice the step": Kind(partial(decoder, **COARSE), ((2, 80),)),
    "SpikeDecoderLM(), not rounded": Kind(partial(decoder, neuron="relu"), ((2, 80),)),
    "Transformer": Kind(partial(decoder, **REAL), ((2, 28), (2, 80))),
}


def headline(table: pd.DataFrame) -> str:
    """Tabulate all rows in short, as the README shows them."""
    names = ("model", "blocks x width", "perplexity", "weights read", "operations")
    header = (*names, "with memory", "in 8 bits")
    lines = [f"| {' | '.join(header)} |", "|" + "---|" * len(header)]
    for _, row in table.iterrows():
        reads, *costs = (row[column] for column in ("weight_reads_per_token", *list(COSTS)[:3]))
        cells = [f"`{row['model']}`" if "(" in row["model"] else row["model"]]
        cells += [f"{row['blocks']} x {row['width']}", f"{row['perplexity']:.2f}"]
        cells += [f"{reads:,.0f}", *(f"{cost:,.0f}" for cost in costs)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    given = parse_arguments(__file__, __doc__)
    compared = kinds_to_compare(KINDS, given.quick)
    written = compare(given, entries(compared), tune=partial(tune, compared, given, rates=RATES))
    Path(given.output, "headline.md").write_text(headline(written), encoding="utf-8")

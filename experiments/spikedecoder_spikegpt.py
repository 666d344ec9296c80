"""Compare SpikeDecoder, SpikeGPT and their twins over sizes: perplexity against what it costs.

Each kind of model is trained at five sizes or more, with three seeds, on the same tokens of one
text. Its learning rate is the better of two at its middle size, by perplexity on text that neither
training nor the table sees; that is all the tuning that any kind gets here.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import pandas as pd
from _experiment import parse_arguments
from _language_models import INT8, LENGTH, QUICK_SHAPE, Entry, Texts, compare, divide, train
from joblib import Parallel, delayed
from matplotlib.figure import Figure

from snn_estimators import SpikeDecoderLM, SpikeGPTLM
from snn_estimators.estimators import LanguageModel

RATES = (3e-3, 6e-3)
Shape = tuple[int, int]  # blocks and width


class Kind(NamedTuple):
    """A kind of model: how one of a shape is made, and its shapes, the middle one third."""

    make: Callable[[Shape], LanguageModel]
    shapes: tuple[Shape, ...]


AS_PUBLISHED = {"dropout": 0.03, "initialization": "published"}  # of all that are built like it


def spike_gpt(shape: Shape, spike_penalty: float = 0.0, **module: Any) -> LanguageModel:
    """Make a SpikeGPT or a twin of it."""
    module = {"ctx_len": LENGTH, "n_layer": shape[0], "n_embd": shape[1], **AS_PUBLISHED, **module}
    named = {f"module__{name}": value for name, value in module.items()}
    return SpikeGPTLM(schedule="trapezoid", spike_penalty=spike_penalty, **named)


def decoder(shape: Shape, spike_penalty: float = 0.0, **module: Any) -> LanguageModel:
    """Make a SpikeDecoder with the preset "context", or a twin of it; positions take 3/8."""
    position_dim = shape[1] * 3 // 8
    sizes = {"blocks": shape[0], "position_dim": position_dim, "max_len": LENGTH}
    sizes |= {"token_dim": shape[1] - position_dim, "heads": 4}
    named = {f"module__{name}": value for name, value in (sizes | module).items()}
    return SpikeDecoderLM.from_preset("context", spike_penalty=spike_penalty, **named)


GRADED = {"neuron": "graded", "levels": 16, "step": 0.25}
REAL = {"spike_degree": 0, "attention_decay": None}
RWKV_SHAPES = ((4, 80), (1, 160), (2, 64), (1, 80), (2, 40), (2, 32), (2, 24))
SPIKE_GPT_SHAPES = ((4, 80), (1, 160), (2, 64), (1, 80), (2, 40))
GRADED_SHAPES = ((1, 240), (1, 160), (2, 80), (1, 80), (2, 40), (2, 32))
DECODER_SHAPES = ((2, 80), (1, 112), (1, 80), (2, 40), (1, 40))

KINDS: Mapping[str, Kind] = {
    "RWKV": Kind(partial(spike_gpt, spikes="none"), RWKV_SHAPES),
    "SpikeGPT, graded": Kind(
        partial(spike_gpt, spikes="linear", spike_penalty=0.2, **GRADED), GRADED_SHAPES
    ),
    "SpikeGPT, graded without rounding": Kind(
        partial(spike_gpt, spikes="linear", spike_penalty=0.2, **GRADED | {"neuron": "relu"}),
        GRADED_SHAPES,
    ),
    "Transformer": Kind(partial(decoder, **REAL), DECODER_SHAPES),
    "linear attention": Kind(partial(decoder, attention="linear", **REAL), DECODER_SHAPES),
    "SpikeDecoder, graded": Kind(
        partial(decoder, timesteps=1, attention_scale=0.125, spike_penalty=0.2, **GRADED),
        DECODER_SHAPES,
    ),
    "SpikeGPT, binary": Kind(
        partial(spike_gpt, spikes="everywhere", neuron="lif"), SPIKE_GPT_SHAPES
    ),
    "SpikeGPT as published": Kind(
        partial(spike_gpt, spikes="residual", neuron="lif"), SPIKE_GPT_SHAPES
    ),
    "SpikeDecoder, binary": Kind(decoder, DECODER_SHAPES),
}
"""Binary models have 4 timesteps in the SpikeDecoder; its twins see previous tokens as it does."""


def kinds_to_compare(kinds: Mapping[str, Kind], quick: bool) -> Mapping[str, Kind]:
    """Return the kinds, each at a tiny shape alone if it is to be quick."""
    if not quick:
        return kinds
    return {name: kind._replace(shapes=(QUICK_SHAPE,)) for name, kind in kinds.items()}


def entries(kinds: Mapping[str, Kind]) -> list[Entry]:
    """List every kind at every shape."""
    return [
        Entry({"model": name, "blocks": shape[0], "width": shape[1]}, partial(kind.make, shape))
        for name, kind in kinds.items()
        for shape in kind.shapes
    ]


def tune(
    kinds: Mapping[str, Kind],
    options: argparse.Namespace,
    texts: Texts,
    steps: int,
    batch_size: int,
    rates: Sequence[float] = RATES,
) -> dict[str, float]:
    """Return the best rate of each kind: at its middle shape, on text of its own.

    To be quick, one pair is tried, and all others take the first rate.
    """
    own = divide(texts.train, len(texts.test))

    def perplexity(name: str, rate: float) -> float:
        model = kinds[name].make(kinds[name].shapes[:3][-1]).set_params(lr=rate)
        return train(model, 0, own, steps, batch_size, options.memory).perplexity(own.test)

    pairs = [(name, rate) for name in kinds for rate in rates][: 1 if options.quick else None]
    found = Parallel(n_jobs=options.jobs or -1)(delayed(perplexity)(*pair) for pair in pairs)
    reached = dict(zip(pairs, found, strict=True))
    return {
        name: min(rates, key=lambda rate, of=name: reached.get((of, rate), math.inf))
        for name in kinds
    }


COSTS = {
    "total_energy_per_token_nj": "operations (nJ/token)",
    "energy_with_memory_per_token_nj": "operations and memory (nJ/token)",
    INT8: "the same in 8 bits (nJ/token)",
    "weight_reads_per_token": "weights read/token",
}


def plot_fronts(table: pd.DataFrame) -> Figure:
    """Draw perplexity against four costs: a line a kind over its sizes, those that spike dashed."""
    figure = Figure(figsize=(13, 7.5), dpi=120, layout="constrained")
    for axes, (column, label) in zip(figure.subplots(2, 2).flat, COSTS.items(), strict=True):
        for number, (name, rows) in enumerate(table.groupby("model", sort=False)):
            rows = rows.sort_values(column)
            style = "--" if name.startswith("Spike") and "rounding" not in name else "-"
            axes.plot(
                rows[column], rows["perplexity"], style, marker="o", markersize=4,
                color=f"C{number}", label=name,
            )  # fmt: skip
        axes.set(xscale="log", xlabel=label, ylabel="perplexity")
        axes.grid(color="#e5e7ec")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper", fontsize=9)
    return figure


if __name__ == "__main__":
    given = parse_arguments(__file__, __doc__)
    compared = kinds_to_compare(KINDS, given.quick)
    written = compare(given, entries(compared), tune=partial(tune, compared, given))
    plot_fronts(written).savefig(f"{given.output}/fronts.png")

"""SpikeGPT's scans, a training step and generation, against plain loops over the tokens.

Two kinds of loop, in the same process and by turns: "indexing" is what one writes first, and what
the published code does (RWKV's formula and SpikingJelly's neuron, token by token with ``x[:, t]``,
whose backward fills a whole tensor a token); "reference" is the definition in `snn_estimators.ops`.
Best of several runs, one thread, processor time; the ratios are what counts.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from functools import partial
from unittest import mock

import pandas as pd
import torch
from _experiment import write_benchmark
from spikingjelly.activation_based import neuron, surrogate
from torch import Tensor
from torch.nn import functional as F

from snn_estimators import SpikeGPT
from snn_estimators.ops import (
    LIFOutput,
    LIFParameters,
    WKVOutput,
    WKVParameters,
    WKVState,
    lif,
    wkv,
)

BATCH, CHANNELS, LAYERS, VOCABULARY = 4, 256, 6, 77
OPTIONS = {**SpikeGPT.PUBLISHED, "n_layer": LAYERS, "n_embd": CHANNELS}
LENGTHS = (256, 1024)
NN = "snn_estimators.nn"


def indexing_wkv(
    key: Tensor, value: Tensor, parameters: WKVParameters, state: None = None
) -> WKVOutput:
    """Average as RWKV's formula reads."""
    time_decay, time_first = parameters
    a = b = torch.zeros_like(key[:, 0])
    exponent = torch.full_like(a, -1e38)
    outs = []
    for t in range(key.shape[1]):
        k, v = key[:, t], value[:, t]
        top = torch.maximum(exponent, time_first + k)
        past, present = torch.exp(exponent - top), torch.exp(time_first + k - top)
        outs.append((past * a + present * v) / (past * b + present))
        top = torch.maximum(exponent - torch.exp(time_decay), k)
        past, present = torch.exp(exponent - torch.exp(time_decay) - top), torch.exp(k - top)
        a, b, exponent = past * a + present * v, past * b + present, top
    return WKVOutput(torch.stack(outs, 1), WKVState(a, b, exponent))


def indexing_lif(
    x: Tensor, parameters: LIFParameters, state: None = None, *, dim: int
) -> LIFOutput:
    """Call SpikingJelly's neuron token by token."""
    node = neuron.LIFNode(tau=2.0, surrogate_function=surrogate.ATan(2.0))
    spikes = [node(x[:, t]) for t in range(x.shape[1])]
    return LIFOutput(torch.stack(spikes, 1), node.v)


WKV = {
    "indexing": indexing_wkv,
    "reference": partial(wkv, backend="reference"),
    "chunked": partial(wkv, backend="chunked"),
    "numba": partial(wkv, backend="numba"),
}
LIF = {
    "indexing": indexing_lif,
    "reference": partial(lif, backend="reference"),
    "numba": partial(lif, backend="numba"),
}


def milliseconds(runs: Mapping[str, Callable[[], object]], repeats: int) -> pd.Series:
    """Measure the best of several calls of each, by turns, after one to warm up."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats + 1):
        for name, run in runs.items():
            start = time.process_time()
            run()
            times[name].append(1e3 * (time.process_time() - start))
    return pd.Series({name: min(measured[1:]) for name, measured in times.items()})


def compare(
    name: str, runs: Mapping[str, Callable[[], object]], repeats: int
) -> dict[str, str | float]:
    """Make a row: times by body, and how much faster than either loop the last one is."""
    times = milliseconds(runs, repeats)
    row = {f"{body} (ms)": duration for body, duration in times.items()}
    ratios = {f"x {loop}": times[loop] / times.iloc[-1] for loop in ("indexing", "reference")}
    return {"forward and backward": name, **row, **ratios}


def averages(repeats: int) -> pd.DataFrame:
    """Time the weighted key-value average."""
    rows = []
    for tokens in LENGTHS:
        key, value = (torch.randn(BATCH, tokens, CHANNELS, requires_grad=True) for _ in range(2))
        decay = torch.linspace(-5, 3, CHANNELS).requires_grad_()
        leaves = [key, value, decay, torch.zeros(CHANNELS, requires_grad=True)]

        def run(average: Callable[..., WKVOutput], leaves: list[Tensor] = leaves) -> None:
            out = average(*leaves[:2], WKVParameters(*leaves[2:])).out
            torch.autograd.grad(out, leaves, torch.ones_like(leaves[0]))

        runs = {name: partial(run, average) for name, average in WKV.items()}
        rows.append(compare(f"WKV, {tokens} tokens", runs, repeats))
    return pd.DataFrame(rows)


def neurons_along_tokens(repeats: int) -> pd.DataFrame:
    """Time the neurons behind each mixing."""
    rows = []
    for tokens in LENGTHS:
        x = torch.randn(BATCH, tokens, CHANNELS, requires_grad=True)

        def run(scan: Callable[..., LIFOutput], x: Tensor = x) -> None:
            spikes = scan(x, LIFParameters(surrogate="atan"), dim=1).spikes
            torch.autograd.grad(spikes, x, torch.ones_like(x))

        runs = {name: partial(run, scan) for name, scan in LIF.items()}
        rows.append(compare(f"LIF, {tokens} tokens", runs, repeats))
    return pd.DataFrame(rows)


def training(repeats: int) -> pd.DataFrame:
    """Time a whole step, forward and backward, with every kind of scan."""
    module = SpikeGPT(VOCABULARY, **OPTIONS)
    tokens = torch.randint(VOCABULARY, (BATCH, LENGTHS[0]))

    def step(average: Callable[..., WKVOutput], scan: Callable[..., LIFOutput]) -> None:
        with mock.patch(f"{NN}.rwkv.mixing.wkv", average), mock.patch(f"{NN}.neurons.lif", scan):
            F.cross_entropy(module(tokens).flatten(0, 1), tokens.flatten()).backward()

    runs = {
        "indexing": partial(step, WKV["indexing"], LIF["indexing"]),
        "reference": partial(step, WKV["reference"], LIF["reference"]),
        "chunked WKV, numba LIF": partial(step, WKV["chunked"], LIF["numba"]),
        "numba": partial(step, WKV["numba"], LIF["numba"]),
    }
    name = f"training step, {LAYERS} blocks, {tokens.shape[1]} tokens"
    table = pd.DataFrame([compare(name, runs, repeats)])
    return table.assign(**{"tokens/s": 1e3 * tokens.numel() / table["numba (ms)"]})


@torch.no_grad()
def generation(repeats: int) -> pd.DataFrame:
    """Time one more token after texts of several lengths."""
    module = SpikeGPT(VOCABULARY, **OPTIONS).eval()
    runs = {}
    for position in (16, 256, 1024, 4096):
        tokens = torch.randint(VOCABULARY, (1, position + 1))
        _, state = module.stream(tokens[:, :-1])
        runs[str(position)] = partial(module.stream, tokens[:, -1:], state)
    times = milliseconds(runs, 10 * repeats)
    return pd.DataFrame({"position": times.index, "one more token (ms)": times.to_numpy()})


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    started = time.perf_counter()
    parts = (averages, neurons_along_tokens, training, generation)
    tables = [part(repeats) for part in parts]
    write_benchmark(__file__, tables, time.perf_counter() - started)


if __name__ == "__main__":
    main()

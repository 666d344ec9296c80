"""A decoder's training step against its bare matrix products, and generation along the sequence.

The bare products are the same linear maps on the same shapes, forward and backward, with nothing
between them: the floor of any dense design. One thread, processor time.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import pandas as pd
import torch
from _experiment import write_benchmark
from torch import nn
from torch.nn import functional as F

from snn_estimators import SpikingDecoder

BATCH, LENGTH, VOCABULARY = 8, 128, 30
OPTIONS: dict[str, Any] = {**SpikingDecoder.PUBLISHED, "blocks": 6, "mlp_ratio": 16}


def seconds(run: Callable[[], None], repeats: int) -> float:
    """Measure the best of several calls."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return min(times)


def training(repeats: int) -> pd.DataFrame:
    """Time one step: forward, backward."""
    module = SpikingDecoder(VOCABULARY, LENGTH, **OPTIONS)
    tokens = torch.randint(VOCABULARY, (BATCH, LENGTH))
    maps = [m for b in module.blocks for m in b.modules() if isinstance(m, nn.Linear)]
    inputs = [torch.rand(4 * BATCH * LENGTH, m.in_features, requires_grad=True) for m in maps]

    def step() -> None:
        F.cross_entropy(module(tokens).flatten(0, 1), tokens.flatten()).backward()

    def bare() -> None:
        for linear, x in zip(maps, inputs, strict=True):
            out = linear(x)
            out.backward(out)

    step(), bare()
    whole, floor = seconds(step, repeats), seconds(bare, repeats)
    return pd.DataFrame(
        [{"training step (ms)": 1e3 * whole, "bare products (ms)": 1e3 * floor}]
    ).assign(ratio=whole / floor)


@torch.no_grad()
def generation(repeats: int) -> pd.DataFrame:
    """Time one token at several positions: recurrent, and recomputing the context."""
    module = SpikingDecoder(VOCABULARY, 512, **OPTIONS).eval()
    rows = []
    for position in (16, 64, 256, 511):
        tokens = torch.randint(VOCABULARY, (1, position + 1))
        _, state = module.stream(tokens[:, :-1])
        stream = seconds(lambda t=tokens, s=state: module.stream(t[:, -1:], s), repeats)  # type: ignore[misc]
        whole = seconds(lambda t=tokens: module(t), repeats)  # type: ignore[misc]
        rows.append(
            {
                "position": position,
                "recurrent (ms)": 1e3 * stream,
                "recomputed (ms)": 1e3 * whole,
                "ratio": whole / stream,
            }
        )
    return pd.DataFrame(rows)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    started = time.perf_counter()
    tables = [training(repeats), generation(repeats)]
    write_benchmark(__file__, tables, time.perf_counter() - started)


if __name__ == "__main__":
    main()

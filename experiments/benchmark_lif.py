"""LIF scans, forward and backward, against SpikingJelly's multi-step node in the same run.

Best of several alternating runs, one thread; the ratio is what counts.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import pandas as pd
import torch
from _experiment import write_benchmark
from spikingjelly.activation_based import functional, neuron, surrogate

from snn_estimators.ops import LIFParameters, lif

SHAPES = {"few steps": (4, 1_000_000), "along tokens": (1024, 4096)}


def seconds(run: Callable[[], None]) -> float:
    """Measure one call in processor time."""
    start = time.process_time()
    run()
    return time.process_time() - start


def main() -> None:
    """Print a row a shape."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    started = time.perf_counter()
    torch.set_num_threads(1)
    node = neuron.LIFNode(
        tau=2.0, detach_reset=True, surrogate_function=surrogate.Sigmoid(4.0), step_mode="m"
    )
    rows = []
    for name, (steps, neurons) in SHAPES.items():
        x = torch.randn(steps, neurons, requires_grad=True)
        gradient = torch.ones(steps, neurons)

        def theirs(x: torch.Tensor = x, gradient: torch.Tensor = gradient) -> None:
            functional.reset_net(node)
            torch.autograd.grad(node(x), x, gradient)

        def ours(x: torch.Tensor = x, gradient: torch.Tensor = gradient) -> None:
            out = lif(x, LIFParameters(detach_reset=True))
            torch.autograd.grad(out.spikes, x, gradient)

        ours(), theirs()  # compile and warm up
        pairs = [(seconds(ours), seconds(theirs)) for _ in range(repeats)]
        mine, peer = (min(times) for times in zip(*pairs, strict=True))
        rows.append(
            {
                "scan": name,
                "timesteps": steps,
                "neurons": neurons,
                "ours (ms)": 1e3 * mine,
                "SpikingJelly (ms)": 1e3 * peer,
                "ratio": peer / mine,
            }
        )
    write_benchmark(__file__, [pd.DataFrame(rows)], time.perf_counter() - started)


if __name__ == "__main__":
    main()

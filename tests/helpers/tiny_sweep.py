"""Tiny sweeps, which workers import too: texts, sizes, and a callback that waits."""

from __future__ import annotations

import time
from pathlib import Path

from skorch.callbacks import Callback

TALE = {"tale": ["The cat sat on the mat. A dog ran to the tree! " * 8]}
SONG = {"song": ["Row, row, row your boat, gently down the stream. " * 8]}
TINY = {"length": 16, "blocks": 1, "timesteps": 1, "heads": 1, "max_steps": 2, "batch_size": 16}
TINY |= {"normalization": "layer"}  # whose sums do not depend on the number of threads
LONG = TINY | {"max_steps": 12, "steps_per_epoch": 2}


def timeless(table):
    """Return a table without what differs between two runs."""
    return table.drop(columns=["fit_time", "fit_time_std"])


class Waiter(Callback):
    """Holds the last candidate in the midst of its fits until there is a file."""

    def __init__(self, path):
        self.path = path

    def on_epoch_end(self, net, **kwargs):
        deadline = time.monotonic() + 300
        while net.module__heads == 5 and len(net.history) >= 3 and not Path(self.path).exists():
            if time.monotonic() > deadline:  # no assert: pytest would make other code of it
                raise TimeoutError("nobody came")
            time.sleep(0.02)

"""A callback that kills, in a module that workers can import."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from skorch.callbacks import Callback


class Assassin(Callback):
    """Kills the process that trains a model with two heads, once.

    With `table`, not before this file has a row: a cluster reports a fit as done before its
    result is fetched, and a result that dies with its worker does not count.
    """

    def __init__(self, mark, table=None):
        self.mark = mark
        self.table = table

    def on_train_begin(self, net, **kwargs):
        if net.module__heads == 2 and not Path(self.mark).exists():
            deadline = time.monotonic() + 60
            while not self._is_expected() and time.monotonic() < deadline:
                time.sleep(0.05)
            Path(self.mark).touch()
            os.kill(os.getpid(), signal.SIGKILL)

    def _is_expected(self):
        if self.table is None:
            return True
        table = Path(self.table)
        return table.exists() and len(table.read_text().splitlines()) > 1

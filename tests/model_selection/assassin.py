"""A callback that kills, in a module that workers can import."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from skorch.callbacks import Callback


class Assassin(Callback):
    """Kills the process that trains a model with two heads, once."""

    def __init__(self, mark):
        self.mark = mark

    def on_train_begin(self, net, **kwargs):
        if net.module__heads == 2 and not Path(self.mark).exists():
            Path(self.mark).touch()
            os.kill(os.getpid(), signal.SIGKILL)

"""What processes of `warm_process` have imported before they start.

The compiled kernels are loaded, too, but nothing is computed that would start threads: a fork has
none but the one that forks.
"""

import pytest  # noqa: F401
import torch
import torch._dynamo  # the first optimizer of a process does this, too

import snn_estimators.cli.commands
import snn_estimators.sweep.worker  # noqa: F401
from snn_estimators.ops import WKVParameters, lif, wkv

torch.set_num_threads(1)
_x = torch.zeros(1, 1, 1, requires_grad=True)
lif(_x).spikes.sum().backward()
wkv(_x, _x, WKVParameters(_x[0, 0], _x[0, 0])).out.sum().backward()

"""Which body of an operator runs."""

from __future__ import annotations

import subprocess
import sys

import torch
from numba.core import caching

from snn_estimators.ops import LIFParameters, WKVParameters, lif, spiking_attention, wkv
from snn_estimators.ops._jit import jit


def test_without_numba_the_plain_forms_serve():
    code = """
import sys
sys.modules["numba"] = None  # as if it were not installed
import torch
from snn_estimators.ops import WKVParameters, lif, wkv
assert lif(torch.full((3, 1), 1.5)).spikes.ravel().tolist() == [0, 1, 0]
inputs = *torch.randn(2, 1, 40, 2), WKVParameters(*torch.zeros(2, 2))
assert torch.equal(wkv(*inputs).out, wkv(*inputs, backend="chunked").out)
for operator, arguments in ((lif, [torch.zeros(1, 1)]), (wkv, inputs)):
    try:
        operator(*arguments, backend="numba")
    except ValueError as error:
        assert "numba" in str(error)
    else:
        raise SystemExit("no error was raised")
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_a_place_for_numbas_cache_kernels_still_compile(monkeypatch):
    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])  # nowhere to write

    @jit
    def double(x):
        for i in range(x.size):
            x[i] *= 2

    x = torch.ones(3)
    double(x.numpy())
    assert x.tolist() == [2, 2, 2]


def test_what_is_compiled_or_exported_takes_the_plain_forms():
    class Operators(torch.nn.Module):
        def forward(self, x):
            spikes = lif(x, LIFParameters(v_reset=None), dim=1).spikes
            out = spiking_attention(spikes, spikes, spikes).out
            return wkv(out, x, WKVParameters(*torch.zeros(2, 4))).out

    x = 3 * torch.randn(2, 5, 4)
    exported = torch.export.export(Operators(), (x,)).module()
    torch.testing.assert_close(exported(x), Operators()(x), rtol=1e-4, atol=1e-4)

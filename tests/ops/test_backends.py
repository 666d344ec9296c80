"""Which body of an operator runs."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from numba.core import caching

from snn_estimators.ops import lif, lif_reference
from snn_estimators.ops._backends import choose_backend
from snn_estimators.ops._jit import jit


@pytest.mark.slow
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


def test_what_is_compiled_or_exported_takes_the_plain_forms(monkeypatch):
    plain = {"first": lif_reference, "second": lif}
    inputs = [torch.zeros(2, 3)]
    assert choose_backend("auto", inputs, plain, twin="lif") not in plain.values()
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert choose_backend("auto", inputs, plain, twin="lif") is lif_reference
    with pytest.raises(ValueError, match=r"backend='numba' needs .* outside of torch\.compile"):
        choose_backend("numba", inputs, plain, twin="lif")


def test_unknown_names_give_the_known_ones():
    with pytest.raises(ValueError, match=r"backend='c' is unknown.*\['auto', 'numba', 'a', 'b'\]"):
        choose_backend("c", [], {"a": lif, "b": lif}, twin="lif")
    with pytest.raises(ValueError, match=r"backend='numba' is unknown.*\['auto', 'a'\]"):
        choose_backend("numba", [], {"a": lif})

"""Which body of an operator runs."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from numba.core import caching

from snn_estimators.ops import lif, lif_reference
from snn_estimators.ops._backends import Twin, choose_backend
from snn_estimators.ops._jit import jit
from snn_estimators.ops._lif_operator import lif_operator


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


def test_what_is_compiled_takes_the_operator_and_what_is_exported_a_plain_form(monkeypatch):
    plain = {"first": lif_reference, "second": lif}
    inputs, twin = [torch.zeros(2, 3)], Twin("lif", lif_operator)
    assert choose_backend("auto", inputs, plain, twin=twin).__name__ == "lif_numba"
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert choose_backend("auto", inputs, plain, twin=twin) is lif_operator
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    assert choose_backend("auto", inputs, plain, twin=twin) is lif_reference
    assert choose_backend("auto", inputs, plain, twin=twin, exported=lif) is lif
    with pytest.raises(ValueError, match=r"backend='numba' needs .* outside of torch\.export"):
        choose_backend("numba", inputs, plain, twin=twin)


def test_unknown_names_give_the_known_ones():
    with pytest.raises(ValueError, match=r"backend='c' is unknown.*\['auto', 'numba', 'a', 'b'\]"):
        choose_backend("c", [], {"a": lif, "b": lif}, twin=Twin("lif", lif_operator))
    with pytest.raises(ValueError, match=r"backend='numba' is unknown.*\['auto', 'a'\]"):
        choose_backend("numba", [], {"a": lif})

"""Compiled functions call the fast twins as opaque operators, with the same results to the bit."""

from __future__ import annotations

import pytest
import torch

from snn_estimators.ops import GradedParameters, LIFParameters, WKVParameters, graded, lif, wkv
from snn_estimators.ops._graded_operator import _graded
from snn_estimators.ops._lif_operator import _lif
from snn_estimators.ops._wkv_operator import _wkv


def fire(x, v, threshold):
    parameters = LIFParameters(1.7, threshold, None, surrogate="atan")
    return lif(x, parameters, v, dim=1)


def fire_from_rest(x):
    return lif(x, LIFParameters(v_threshold=0.7), dim=2)


def average(key, value, decay, first):
    out, state = wkv(key, value, WKVParameters(decay, first))
    return out, state.numerator, state.denominator


def emit(x, step, gain, threshold):
    return (graded(x, GradedParameters(4, step, gain, threshold, signed=True)),)


def emit_powers(x):
    return (graded(x, GradedParameters(4, rounding="power-of-two")),)


FUNCTIONS = {
    fire: [(3, 40, 20), (3, 20), ()],
    fire_from_rest: [(3, 2, 5)],
    average: [(2, 40, 6), (2, 40, 6), (6,), (6,)],
    emit: [(5, 6), (), (6,), (6,)],
    emit_powers: [(5, 6)],
}


def leaves(shapes):
    return [torch.rand(shape).add(0.3).requires_grad_() for shape in shapes]


def results(function, inputs):
    """Outputs of a function, and the gradients of a fixed functional of them."""
    outputs = function(*inputs)
    total = sum((x * torch.linspace(-1, 1, x.numel()).view_as(x)).sum() for x in outputs)
    return [*outputs, *torch.autograd.grad(total, inputs)]


@pytest.mark.slow
@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_a_compiled_function_gives_what_the_function_gives(function):
    torch._dynamo.reset()
    compiled = torch.compile(function, backend="aot_eager", fullgraph=True)
    inputs = leaves(FUNCTIONS[function])
    for ours, eager in zip(results(compiled, inputs), results(function, inputs), strict=True):
        assert torch.equal(ours, eager)


@pytest.mark.slow
def test_a_compiled_function_holds_one_call_whatever_the_length():
    seen = []

    def backend(graph, example_inputs):
        seen.extend(str(node.target) for node in graph.graph.nodes)
        return graph.forward

    torch._dynamo.reset()
    torch.compile(fire_from_rest, backend=backend, fullgraph=True)(torch.rand(2, 1, 50))
    assert sum("snn_estimators.lif" in target for target in seen) == 1
    assert len(seen) < 20  # no step of the scan


@pytest.mark.slow
def test_operators_say_the_truth_about_themselves():
    x, start, none = *leaves([(3, 40, 5), (3, 5)]), torch.empty(0, 0)
    one, many = torch.ones(1, 1, requires_grad=True), leaves([(3, 5)])[0]
    for given in ((x, start, one), (x, none, many)):
        torch.library.opcheck(_lif, (*given, 2.0, 0.0, True, 0, 4.0, True))
    tokens, channels, sums = [(2, 40, 3)] * 2, [(3,)] * 2, [(3, 2, 3)]
    torch.library.opcheck(_wkv, (*leaves([*channels, *tokens, *sums]), True))
    torch.library.opcheck(_graded, (*leaves([(4, 3), (), (3,), (3,)]), 4.0, True, False))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_dtype_without_a_kernel_is_compiled_from_the_plain_form(dtype):
    torch._dynamo.reset()
    compiled = torch.compile(fire_from_rest, backend="eager", fullgraph=True)
    x = torch.rand(2, 1, 3, dtype=dtype)
    assert torch.equal(compiled(x).spikes, fire_from_rest(x).spikes)
    with pytest.raises(ValueError, match=r"float32 tensors on the CPU.*got torch\.\w+ on cpu"):
        lif(x, backend="numba")

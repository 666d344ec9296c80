"""WKV: the formula, the recurrence, and its two faster forms are one function."""

from __future__ import annotations

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from snn_estimators.ops import WKVParameters, WKVState, wkv

BACKENDS = ["reference", "chunked", "numba"]
NAMES = ["time_decay", "time_first", "key", "value", "numerator", "denominator"]


def case(batch, tokens, channels, *, scale=1.0, slowest=-5.0):
    """Parameters, inputs and a state with some history, in float32."""
    return {
        "time_decay": torch.linspace(slowest, 2, channels),
        "time_first": torch.randn(channels),
        "key": scale * torch.randn(batch, tokens, channels),
        "value": torch.randn(batch, tokens, channels),
        "numerator": torch.randn(batch, channels),
        "denominator": torch.rand(batch, channels) + 0.5,
        "exponent": scale * torch.randn(batch, channels),
    }


def state_of(inputs):
    return WKVState(inputs["numerator"], inputs["denominator"], inputs["exponent"])


def average(inputs, state, backend, part=slice(None)):
    """Average some of the tokens."""
    parameters = WKVParameters(inputs["time_decay"], inputs["time_first"])
    key, value = inputs["key"][:, part], inputs["value"][:, part]
    return wkv(key, value, parameters, state, backend=backend)


def run(inputs, backend, *, empty=False):
    """Average, with the state's invariants: the mean so far and the logarithm of the weights."""
    state = None if empty else state_of(inputs)
    out, end = average(inputs, state, backend)
    return out, end.numerator / end.denominator, end.denominator.log() + end.exponent


def differentiate(inputs, backend, **options):
    """Results of `run`, and the gradients of a fixed functional of all of them."""
    leaves = {n: t.clone().requires_grad_() for n, t in inputs.items()}
    results = run(leaves, backend, **options)
    wanted = NAMES[:4] if options.get("empty") else NAMES
    weights = (torch.linspace(-1, 1, r.numel(), dtype=r.dtype).view_as(r) for r in results)
    total = sum((w * r).sum() for w, r in zip(weights, results, strict=True))
    gradients = torch.autograd.grad(total, [leaves[n] for n in wanted])
    names = ["out", "mean", "log_weight", *wanted]
    return dict(zip(names, [r.detach() for r in results] + list(gradients), strict=True))


def assert_near(found, exact, tolerance):
    """Hold every tensor to a distance relative to the largest value of the exact one."""
    for name, x in exact.items():
        error, size = ((found[name].double() - x).abs().max().item(), x.abs().max().item())
        assert error <= tolerance * size, f"{name}: {error:.1e} of {size:.1e}"


def double(inputs):
    return {n: t.double() for n, t in inputs.items()}


def direct(inputs):
    """Sum over all pairs of tokens, in float64 and without any shift."""
    i = double(inputs)
    tokens = i["key"].shape[1]
    decay, weight = i["time_decay"].exp(), i["key"].exp()
    lag = torch.arange(tokens)[:, None] - torch.arange(tokens) - 1
    kernel = torch.exp(-decay * lag[..., None]) * (lag >= 0)[..., None]
    kernel[range(tokens), range(tokens)] = i["time_first"].exp()
    before = torch.exp(i["exponent"][:, None] - decay * torch.arange(tokens)[:, None])
    upper = torch.einsum("tsc,bsc->btc", kernel, weight * i["value"])
    lower = torch.einsum("tsc,bsc->btc", kernel, weight)
    upper = upper + before * i["numerator"][:, None]
    return upper / (lower + before * i["denominator"][:, None])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("tokens", [1, 2, 50])
def test_equals_the_sum_over_all_pairs(backend, tokens):
    inputs = case(2, tokens, 5)
    exact = direct(inputs)
    torch.testing.assert_close(run(inputs, backend)[0].double(), exact, rtol=1e-5, atol=1e-5)
    if backend != "numba":
        torch.testing.assert_close(run(double(inputs), backend)[0], exact, rtol=1e-9, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["chunked", "numba"])
@settings(derandomize=True, deadline=None, max_examples=15)
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 70), st.integers(2, 40)),
    empty=st.booleans(),
)
@example(shape=(2, 1, 3), empty=True)
@example(shape=(1, 16, 40), empty=False)
@example(shape=(2, 257, 20), empty=False)
@example(shape=(2, 257, 20), empty=True)
def test_twins_equal_the_reference_forward_and_backward(backend, empty, shape):
    inputs = case(*shape)
    exact = differentiate(double(inputs), "reference", empty=empty)
    assert_near(differentiate(inputs, backend, empty=empty), exact, 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_slow_channels_stay_exact_over_long_sequences(backend):
    inputs = case(1, 2000, 4, slowest=-9.0)
    exact = differentiate(double(inputs), "chunked")
    assert_near(differentiate(inputs, backend), exact, 1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_large_keys_neither_overflow_nor_lose_the_gradient(backend):
    inputs = case(2, 90, 12)
    inputs["key"] = 80.0 * inputs["key"].sign()
    exact = differentiate(double(inputs), "reference", empty=True)
    assert all(x.isfinite().all() for x in exact.values())
    assert_near(differentiate(inputs, backend, empty=True), exact, 3e-5)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["reference", "chunked"])
def test_gradients_are_those_of_finite_differences(backend):
    inputs = double(case(1, 18, 2))

    def results(*tensors):
        return run(dict(zip(inputs, (*tensors, inputs["exponent"]), strict=True)), backend)

    leaves = [inputs[n].requires_grad_() for n in NAMES]
    torch.autograd.gradcheck(results, leaves)


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
@settings(derandomize=True, deadline=None, max_examples=15)
@given(cuts=st.lists(st.integers(1, 25), min_size=2, max_size=5))
@example(cuts=[16, 25])
@example(cuts=[1] * 41)
def test_a_sequence_can_be_cut_anywhere(backend, cuts):
    inputs = case(2, sum(cuts), 10)
    state = state_of(inputs)
    whole = average(inputs, state, backend)
    outs = []
    for part in torch.arange(sum(cuts)).split(cuts):
        out, state = average(inputs, state, backend, part)
        outs.append(out)
    if backend == "chunked":  # sums in another order
        torch.testing.assert_close(torch.cat(outs, 1), whole.out, rtol=1e-5, atol=1e-6)
    else:
        assert torch.equal(torch.cat(outs, 1), whole.out)
        assert all(torch.equal(a, b) for a, b in zip(state, whole.state, strict=True))


@pytest.mark.parametrize("backend", ["chunked", "numba"])
def test_gradients_flow_through_a_cut(backend):
    inputs = case(2, 40, 6)
    exact = differentiate(double(inputs), "reference")
    leaves = {n: t.clone().requires_grad_() for n, t in inputs.items()}
    state, outs = state_of(leaves), []
    for part in (slice(0, 19), slice(19, 40)):
        out, state = average(leaves, state, backend, part)
        outs.append(out)
    mean, log_weight = state.numerator / state.denominator, state.denominator.log() + state.exponent
    results = [torch.cat(outs, 1), mean, log_weight]
    total = sum((torch.linspace(-1, 1, r.numel()).view_as(r) * r).sum() for r in results)
    gradients = torch.autograd.grad(total, [leaves[n] for n in NAMES])
    found = dict(zip([*exact], [*results, *gradients], strict=True))
    assert_near(found, exact, 1e-5)


@pytest.mark.parametrize("backend", ["chunked", "numba"])
def test_all_bodies_divide_a_sum_alike_between_factor_and_exponent(backend):
    inputs = case(2, 70, 10)
    found, expected = (average(inputs, state_of(inputs), b).state for b in (backend, "reference"))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_views_and_expanded_gradients_need_no_care(backend):
    inputs = case(3, 20, 8)
    inputs["key"] = inputs["key"].transpose(0, 1).contiguous().transpose(0, 1)
    value = inputs["value"].requires_grad_()
    (found,) = torch.autograd.grad(run(inputs, backend)[0].sum(), value)
    exact = {n: t.detach().double() for n, t in inputs.items()}
    exact["value"].requires_grad_()
    (expected,) = torch.autograd.grad(run(exact, "reference")[0].sum(), exact["value"])
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("threads", [1, 3])
def test_twin_is_the_same_on_any_number_of_threads(threads):
    before = torch.get_num_threads()
    inputs = case(3, 64, 2100)
    expected = differentiate(inputs, "numba")
    torch.set_num_threads(threads)
    try:
        found = differentiate(inputs, "numba")
    finally:
        torch.set_num_threads(before)
    for name, x in expected.items():
        assert torch.equal(found[name], x), name


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_is_not_a_number_stays_visible(backend):
    inputs = case(1, 20, 3)
    inputs["key"][0, 5, 1] = float("nan")
    out = run(inputs, backend)[0]
    assert out[0, 5:, 1].isnan().all()
    assert out[0, :, [0, 2]].isfinite().all()


def test_no_sequences_at_all_pass_through():
    for backend in BACKENDS:
        out = run(case(0, 20, 3), backend)[0]
        assert out.shape == (0, 20, 3)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"key": torch.zeros(2, 0, 3)}, "at least one token"),
        ({"key": torch.zeros(2, 3)}, "key needs the shape"),
        ({"value": torch.zeros(2, 4, 3)}, "value has shape"),
        ({"time_decay": torch.zeros(1)}, "time_decay has shape"),
        ({"time_first": torch.zeros(4)}, "time_first has shape"),
        ({"numerator": torch.zeros(1, 3)}, "state.numerator has shape"),
        ({"exponent": torch.zeros(3)}, "state.exponent has shape"),
    ],
)
def test_shapes_that_do_not_fit_are_named(change, match):
    with pytest.raises(ValueError, match=match):
        run(case(2, 5, 3) | change, "auto")


def test_backends_are_checked():
    with pytest.raises(ValueError, match="backend='cupy'"):
        run(case(1, 2, 3), "cupy")
    with pytest.raises(ValueError, match="float32"):
        run(double(case(1, 2, 3)), "numba")

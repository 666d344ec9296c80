"""LIF scans: the definition, its compiled twin, and SpikingJelly agree."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from snn_estimators.ops import SURROGATES, LIFParameters, lif, lif_reference

RESETS = (0.0, -0.25, None)
OPTIONS = [
    {"v_reset": v_reset, "detach_reset": detach, "surrogate": surrogate}
    for v_reset, detach, surrogate in itertools.product(RESETS, (True, False), sorted(SURROGATES))
]
FIXTURES = [
    f"lif_{surrogate}_detach{detach}_reset{reset}{threshold}.pt"
    for surrogate, detach, reset, threshold in (
        *itertools.product(("atan", "sigmoid"), (0, 1), ("0", "none"), ("",)),
        ("atan", 1, "0", "_learnth"),
        ("sigmoid", 1, "0", "_learnth"),
    )
]


def scan(x, v=None, *, dim=0, backend="auto", **parameters):
    return lif(x, LIFParameters(**parameters), v, dim=dim, backend=backend)


def gradients(x, v, threshold, **options):
    """Spikes, last membrane, and gradients of a fixed functional of both."""
    inputs = [t.clone().requires_grad_() for t in (x, v, threshold)]
    out = scan(inputs[0], inputs[1], v_threshold=inputs[2], **options)
    dim = options.get("dim", 0)  # the weights follow the neurons, wherever their time lies
    weights = torch.linspace(-1, 1, out.spikes.numel()).view_as(out.spikes.movedim(dim, 0))
    weights = weights.movedim(0, dim)
    ((weights * out.spikes).sum() + (out.state * out.state).sum()).backward()
    return out.spikes, out.state, *(t.grad for t in inputs)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("per_neuron", [False, True], ids=["one threshold", "one a neuron"])
def test_twin_equals_reference(options, per_neuron):
    x, v = 3 * torch.randn(7, 5, 33), torch.randn(5, 33)
    threshold = torch.rand(33) + 0.5 if per_neuron else torch.tensor(0.9)
    ours = gradients(x, v, threshold, backend="numba", tau=1.7, **options)
    reference = gradients(x, v, threshold, backend="reference", tau=1.7, **options)
    assert torch.equal(ours[0], reference[0])
    assert torch.equal(ours[1], reference[1])
    for a, b in zip(ours[2:], reference[2:], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["numba", "reference"])
@settings(derandomize=True, deadline=None, max_examples=15)
@given(
    inner=st.lists(st.integers(1, 40), max_size=2),
    steps=st.sampled_from([1, 2, 15, 16, 17, 33, 80]),
)
@example(inner=[], steps=1)
@example(inner=[2, 40], steps=80)
def test_time_may_be_any_axis(backend, inner, steps):
    x, v = 3 * torch.randn(5, steps, *inner), torch.randn(5, *inner)
    threshold = torch.rand(5, *inner) + 0.5
    options = {"tau": 1.7, "surrogate": "atan", "backend": backend}
    expected = gradients(x.movedim(1, 0), v, threshold, **options)
    for dim in (1, 1 - x.dim()):
        found = gradients(x, v, threshold, dim=dim, **options)
        assert torch.equal(found[0], expected[0].movedim(0, 1))
        assert torch.equal(found[1], expected[1])
        torch.testing.assert_close(found[2], expected[2].movedim(0, 1), rtol=1e-5, atol=1e-5)
        for a, b in zip(found[3:], expected[3:], strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("v_reset", [0.0, None])
def test_long_scans_differentiate_like_the_reference(v_reset):
    x, v = 2 * torch.randn(3, 150, 40), torch.randn(3, 40)
    options = {"dim": 1, "v_reset": v_reset, "surrogate": "atan"}
    ours = gradients(x, v, torch.tensor(0.9), backend="numba", **options)
    exact = gradients(x, v, torch.tensor(0.9), backend="reference", **options)
    assert torch.equal(ours[0], exact[0])
    for a, b in zip(ours[1:], exact[1:], strict=True):
        assert (a - b).abs().max() < 1e-5 * b.abs().max()


def test_views_and_expanded_gradients_need_no_care():
    x = (3 * torch.randn(6, 4, 20)).requires_grad_()
    results = []
    for backend in ("numba", "reference"):
        spikes = lif(x.transpose(0, 2), dim=2, backend=backend).spikes
        results.append(torch.autograd.grad(spikes.sum(), x)[0])  # the gradient is one number
    torch.testing.assert_close(*results, rtol=1e-5, atol=1e-5)


def test_spikes_or_membrane_alone_can_be_differentiated():
    x = (3 * torch.randn(6, 40)).requires_grad_()
    for part in ("spikes", "state"):
        found, expected = (
            torch.autograd.grad(getattr(lif(x, backend=backend), part).sum(), x)[0]
            for backend in ("numba", "reference")
        )
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("backend", ["numba", "reference"])
def test_no_neurons_make_no_spikes(backend):
    out = scan(torch.zeros(2, 3, 0), dim=1, v_threshold=torch.ones(0), backend=backend)
    assert out.spikes.shape == (2, 3, 0)
    assert out.state.shape == (2, 0)


@pytest.mark.parametrize("threads", [1, 3])
def test_twin_is_the_same_on_any_number_of_threads(threads):
    before = torch.get_num_threads()
    x = 3 * torch.randn(4, 300_001)
    expected = gradients(x, x[0], torch.tensor(1.0), backend="numba")
    torch.set_num_threads(threads)
    try:
        found = gradients(x, x[0], torch.tensor(1.0), backend="numba")
    finally:
        torch.set_num_threads(before)
    for a, b in zip(found[:-1], expected[:-1], strict=True):
        assert torch.equal(a, b)
    torch.testing.assert_close(found[-1], expected[-1], rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("name", FIXTURES)
@pytest.mark.parametrize("backend", ["reference", "numba"])
def test_equals_recorded_spikingjelly(shared, name, backend):
    case = torch.load(shared / "fixtures" / name, weights_only=True)
    config = case["config"]
    x = case["inputs"].clone().requires_grad_()
    threshold = torch.tensor(config["v_threshold"], requires_grad=config["learn_threshold"])
    v, membranes, spikes = None, [], []
    for x_t in x:  # step by step: the state goes in and comes out
        out = scan(
            x_t[None],
            v,
            tau=config["tau"],
            v_threshold=threshold,
            v_reset=config["v_reset"],
            detach_reset=config["detach_reset"],
            surrogate=config["surrogate"].lower(),
            alpha=config["alpha"],
            backend=backend,
        )
        v = out.state
        membranes.append(v)
        spikes.append(out.spikes[0])
    assert torch.equal(torch.stack(spikes), case["spikes"])
    assert torch.equal(torch.stack(membranes), case["v_post"])
    torch.stack(spikes).backward(case["grad_output"])
    torch.testing.assert_close(x.grad, case["grad_inputs"], rtol=1e-5, atol=1e-6)
    if config["learn_threshold"]:
        torch.testing.assert_close(threshold.grad, case["grad_threshold"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("v_reset", [0.0, None])
@pytest.mark.parametrize("detach", [True, False])
@pytest.mark.parametrize("surrogate", ["sigmoid", "atan"])
def test_equals_installed_spikingjelly(v_reset, detach, surrogate):
    neuron = pytest.importorskip("spikingjelly.activation_based.neuron")
    surrogates = pytest.importorskip("spikingjelly.activation_based.surrogate")
    function = surrogates.Sigmoid(4.0) if surrogate == "sigmoid" else surrogates.ATan(2.0)
    theirs = neuron.LIFNode(
        tau=2.0, v_reset=v_reset, detach_reset=detach, surrogate_function=function, step_mode="m"
    )
    x = (3 * torch.randn(9, 50)).requires_grad_()
    expected = theirs(x)
    weights = torch.randn_like(expected)
    (wanted,) = torch.autograd.grad((expected * weights).sum(), x)
    out = scan(x, v_reset=v_reset, detach_reset=detach, surrogate=surrogate)
    (found,) = torch.autograd.grad((out.spikes * weights).sum(), x)
    assert torch.equal(out.spikes, expected)
    assert torch.equal(out.state, theirs.v)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["reference", "numba"])
@settings(derandomize=True, deadline=None, max_examples=15)
@given(
    lengths=st.lists(st.integers(1, 20), min_size=2, max_size=4), v_reset=st.sampled_from(RESETS)
)
def test_a_scan_can_be_cut_anywhere(backend, lengths, v_reset):
    x = 3 * torch.randn(sum(lengths), 20)
    whole = scan(x, v_reset=v_reset, backend=backend)
    state, spikes = None, []
    for part in x.split(lengths):
        out = scan(part, state, v_reset=v_reset, backend=backend)
        state = out.state
        spikes.append(out.spikes)
    assert torch.equal(torch.cat(spikes), whole.spikes)
    assert torch.equal(state, whole.state)


def test_the_reference_is_the_operator_without_a_choice():
    x, parameters = 3 * torch.randn(6, 4), LIFParameters(tau=1.5)
    found, expected = lif_reference(x, parameters), lif(x, parameters, backend="reference")
    assert torch.equal(found.spikes, expected.spikes)
    assert torch.equal(found.state, expected.state)


def test_threshold_is_inclusive():
    assert lif(torch.tensor([[2.0]])).spikes.item() == 1.0  # charges to exactly 1


def test_constant_one_stays_below_the_default_threshold_until_float32_rounds_up():
    spikes = lif(torch.ones(25, 1)).spikes.ravel()  # charges to 1 - 2^-t
    assert spikes[:24].sum() == 0
    assert spikes[24] == 1


def test_float64_takes_the_reference_and_passes_gradcheck_away_from_the_threshold():
    x = torch.tensor([[0.3], [0.2]], dtype=torch.float64, requires_grad=True)
    v = torch.tensor([0.1], dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(lambda x, v: scan(x, v, detach_reset=True).state, (x, v))


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"x": torch.zeros(0, 3)}, "time axis"),
        ({"x": torch.zeros(3, 0), "dim": 1}, "time axis"),
        ({"x": torch.zeros(2, 3), "dim": 2}, "dim=2"),
        ({"x": torch.tensor(1.0)}, "dim=0"),
        ({"x": torch.zeros(2, 3), "v": torch.zeros(3), "dim": 1}, "state has shape"),
        ({"x": torch.zeros(2, 3), "v": torch.zeros(4)}, "state has shape"),
        ({"x": torch.zeros(2, 3), "tau": 0.5}, "tau=0.5"),
        ({"x": torch.zeros(2, 3), "surrogate": "relu"}, "surrogate='relu'"),
        ({"x": torch.zeros(2, 3), "alpha": -1.0}, "alpha"),
        ({"x": torch.zeros(2, 3), "backend": "cupy"}, "backend='cupy'"),
        ({"x": torch.zeros(2, 3).double(), "backend": "numba"}, "float32"),
    ],
)
def test_bad_arguments_are_named(arguments, match):
    with pytest.raises(ValueError, match=match):
        scan(**arguments)

"""SpikeGPT: one definition for whole sequences, chunks and single tokens; its variants."""

from __future__ import annotations

import pytest
import torch
from published import published_spike_gpt

from snn_estimators.nn import TokenLIF
from snn_estimators.nn.spiking_linear import PreSpikingLinear

VOCABULARY = 11
VARIANTS = [
    {},
    {"model_type": "RWKV-ffnPre"},
    {"initialization": "firing"},
    {"initialization": "rwkv"},
    {"spikes": "everywhere", "initialization": "firing"},
    {"spikes": "none"},
    {"v_reset": None, "initialization": "firing"},
    {"n_layer": 1, "n_embd": 1},
]


def build(**options):
    torch.manual_seed(0)
    sizes = {"ctx_len": 16, "n_layer": 2, "n_embd": 12}
    return published_spike_gpt(VOCABULARY, **{**sizes, **options}).double().eval()


def some_tokens(batch=3, length=20):
    generator = torch.Generator().manual_seed(1)
    return torch.randint(VOCABULARY, (batch, length), generator=generator)


def spikes_of(module):
    """Collect what each layer of neurons fires, call by call."""
    fired = {}

    def note(name):
        return lambda _, __, output: fired.setdefault(name, []).append(output.spikes)

    for name, part in module.named_modules():
        if isinstance(part, TokenLIF):
            part.register_forward_hook(note(name))
    return fired


@pytest.mark.slow
@pytest.mark.parametrize("options", VARIANTS)
@pytest.mark.parametrize("cuts", [[20], [1] * 20, [7, 7, 6], [1, 18, 1], [13, 2, 5]])
def test_any_cut_of_a_stream_equals_the_whole(options, cuts):
    module, tokens = build(**options), some_tokens()
    fired = spikes_of(module)
    whole = module(tokens)
    in_one_go = {name: calls.pop() for name, calls in fired.items()}
    state, parts = None, []
    for part in tokens.split(cuts, dim=1):
        logits, state = module.stream(part, state)
        parts.append(logits)
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=0, atol=1e-9)
    for name, spikes in in_one_go.items():
        assert torch.equal(torch.cat(fired[name], 1), spikes), name
    if options.get("spikes") == "none":
        assert not fired


@pytest.mark.slow
@pytest.mark.parametrize("options", VARIANTS)
def test_nothing_looks_ahead(options):
    module, tokens = build(**options), some_tokens()
    changed = tokens.clone()
    changed[:, -1] = (changed[:, -1] + 1) % VOCABULARY
    assert torch.equal(module(tokens)[:, :-1], module(changed)[:, :-1])


@pytest.mark.slow
@pytest.mark.parametrize("options", VARIANTS)
def test_padding_on_the_right_changes_no_token(options):
    module, tokens = build(**options), some_tokens()
    padded = torch.cat([tokens, torch.full((3, 4), -1)], 1)
    torch.testing.assert_close(module(padded)[:, :20], module(tokens), rtol=0, atol=1e-12)


def test_the_state_does_not_grow():
    module = build()

    def size(state):
        if isinstance(state, torch.Tensor):
            return state.numel()
        return sum(map(size, state)) if isinstance(state, tuple) else 0

    sizes, state = [], None
    for part in some_tokens(length=40).split([1, 19, 20], dim=1):
        _, state = module.stream(part, state)
        sizes.append(size(state))
    assert len(set(sizes)) == 1


def learn(module):
    loss = torch.nn.functional.cross_entropy(
        module(some_tokens())[:, :-1].flatten(0, 1), some_tokens()[:, 1:].flatten()
    )
    optimizer = torch.optim.Adam(module.parameters(), lr=0.1)
    loss.backward()
    optimizer.step()


@pytest.mark.slow
@pytest.mark.parametrize("options", VARIANTS[:-1])
def test_every_parameter_learns(options):
    """In three steps: RWKV's zero maps let nothing before them move in the first."""
    module = build(**options).train()
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    for _ in range(3):
        learn(module)
    assert {name for name, p in module.named_parameters() if torch.equal(p, before[name])} == set()


def rates(module):
    fired = spikes_of(module)
    with torch.no_grad():
        module(some_tokens(batch=8, length=64))
    return {name: float(calls[0].mean()) for name, calls in fired.items()}


@pytest.mark.slow
def test_which_initialisation_fires():
    assert set(rates(build(n_embd=64, initialization="published")).values()) == {0.0}
    assert set(rates(build(n_embd=64, initialization="rwkv")).values()) == {0.0}
    assert all(rate > 0.01 for rate in rates(build(n_embd=64, initialization="firing")).values())


def test_where_spikes_are():
    everywhere = build(spikes="everywhere", initialization="firing", n_embd=64)
    binary = []
    for part in everywhere.modules():
        if isinstance(part, PreSpikingLinear):
            part.linear.register_forward_pre_hook(
                lambda _, args: binary.append(bool(((args[0] == 0) | (args[0] == 1)).all()))
            )
    everywhere(some_tokens())
    assert len(binary) == 2 * (4 + 3) + 1 and all(binary)
    assert not any(isinstance(part, TokenLIF) for part in build(spikes="none").modules())


@pytest.mark.slow
def test_features_feed_the_head():
    for options in ({}, {"spikes": "everywhere"}):
        module = build(**options)
        features = module.features(some_tokens())
        assert features.shape == (3, 20, module.n_features)
        torch.testing.assert_close(module.head.linear(features), module(some_tokens()))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model_type": "GPT"}, "model_type='GPT' is unknown"),
        ({"spikes": "some"}, "spikes='some' is unknown"),
        ({"initialization": "zero"}, "initialization='zero' is unknown"),
        ({"n_layer": 0}, "n_layer must be a whole number from 1 on, got 0"),
        ({"n_embd": 2.5}, "n_embd must be a whole number from 1 on, got 2.5"),
        ({"ctx_len": True}, "ctx_len must be a whole number from 1 on, got True"),
        ({"dropout": 1.0}, "dropout=1.0 must be a number in"),
        ({"dropout": float("nan")}, "dropout=nan must be a number in"),
        ({"tau": 0.5}, "tau=0.5 must be at least 1"),
        ({"v_threshold": 0.0}, "v_threshold=0.0 must lie above"),
        ({"surrogate": "relu"}, "surrogate='relu' is unknown"),
        ({"tau": "x"}, "tau='x' must be a finite number"),
        ({"tau": float("inf")}, "tau=inf must be a finite number"),
        ({"v_reset": float("nan")}, "v_reset=nan must be a finite number"),
        ({"input_tau": 0}, "tau=0 must be at least 1"),
        ({"detach_reset": "no"}, "detach_reset='no' must be True or False"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        build(**options)


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (torch.zeros(3, dtype=torch.long), r"shape \[batch, sequence\]"),
        (torch.zeros(1, 0, dtype=torch.long), "at least one"),
        (torch.tensor([[VOCABULARY]]), "not below vocab_size"),
    ],
)
def test_bad_tokens_are_named(tokens, message):
    with pytest.raises(ValueError, match=message):
        build()(tokens)


def test_a_stream_takes_no_padding():
    with pytest.raises(ValueError, match="padding"):
        build().stream(torch.tensor([[1, -1]]))


def test_a_stream_takes_its_own_state_alone():
    _, state = build(n_layer=3).stream(some_tokens())
    for module, batch in ((build(), 3), (build(n_layer=3), 2), (build(n_layer=3, n_embd=8), 3)):
        with pytest.raises(ValueError, match="state is that of 3 layers and 3 sequences"):
            module.stream(some_tokens(batch), state)


@pytest.mark.slow
@pytest.mark.parametrize("options", VARIANTS)
def test_a_forward_pass_reads_no_value(options):
    """Tensors without values stand for those on a device that would have to be waited for."""
    module, tokens = build(**options).to("meta"), some_tokens()[:, :3].to("meta")
    assert module(tokens).shape == (3, 3, VOCABULARY)
    _, state = module.stream(tokens)
    assert module.stream(tokens, state)[0].is_meta

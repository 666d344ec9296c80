"""The decoder in all its configurations: causal, streamable, trainable, and padding is nothing."""

from __future__ import annotations

import copy
import functools
import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from published import published_decoder

from snn_estimators.nn import NORMALIZATIONS, READOUTS

VOCAB, LENGTH = 11, 9
SMALL = {
    "vocab_size": VOCAB,
    "max_len": LENGTH,
    "token_dim": 7,
    "position_dim": 5,
    "heads": 1,
    "blocks": 2,
    "mlp_ratio": 2,
    "timesteps": 3,
}
# Thresholds low enough for every layer to be alive, so that each test has something to find.
ALIVE = {"v_threshold": 0.4, "embedding_std": 1.0, "attention_scale": 0.5}

ENCODINGS = [
    {"encoding": encoding, "position_encoding": position}
    for encoding, position in itertools.product(
        ("two-hot", "binary", "learned"), ("linear", "binary", "static", "learned")
    )
] + [{"encoding": "one-hot", "position_encoding": "linear"}]
VARIANTS = [
    *ENCODINGS,
    {"combine_position": True},
    {"combine_position": True, "position_encoding": "learned"},
    {"float_embedding": True},
    {"float_embedding": True, "combine_position": True, "position_encoding": "learned"},
    {"position_bias": 0.2},
    *({"normalization": n} for n in ("batch", "power")),
    *({"readout": r} for r in ("accumulate", "concatenate", "final")),
    {"float_readout": True},
    {"spiking_head": False},
    *({"spiking_residuals": r} for r in (1, 2)),
    {"spiking_residuals": 2, "learnable_threshold": True, "first_block_spiking_residual": True},
    {"first_block_spiking_residual": True},
    {"learnable_threshold": True},
    *({"spike_degree": d} for d in (0, 1, 2, 3, "attention_only")),
    {"spike_degree": 3, "spiking_residuals": 1, "readout": "concatenate"},
    {"spike_degree": 0, "position_encoding": "learned", "normalization": "batch"},
    *({"temporal_coding": t} for t in ("rate", "latency")),
    {"temporal_coding": "latency", "encoding": "two-hot", "position_encoding": "learned"},
    *({"attention_decay": d, "token_shift": True} for d in (None, "fixed", "learned")),
    {"token_shift": 1, "mlp_token_shift": 2, "spiking_residuals": 1},
    {"token_shift": 3, "attention_decay": "fixed"},
    {"attention_decay": "fixed", "normalization": "power", "spike_degree": "attention_only"},
    {"tau": 1.5, "v_reset": None, "surrogate": "atan", "detach_reset": False},
]

ANYTHING = st.fixed_dictionaries(
    {
        "position_encoding": st.sampled_from(["linear", "binary", "static", "learned"]),
        "encoding": st.sampled_from(["two-hot", "binary", "learned"]),
        "float_embedding": st.booleans(),
        "position_bias": st.sampled_from([0.0, 0.2]),
        "normalization": st.sampled_from(sorted(NORMALIZATIONS)),
        "readout": st.sampled_from(sorted(READOUTS)),
        "float_readout": st.booleans(),
        "spiking_head": st.sampled_from([None, False, True]),
        "spiking_residuals": st.sampled_from([0, 1, 2]),
        "first_block_spiking_residual": st.booleans(),
        "learnable_threshold": st.booleans(),
        "spike_degree": st.sampled_from([2, 3, 4, "attention_only"]),
        "attention_decay": st.sampled_from([None, "fixed", "learned"]),
        "token_shift": st.sampled_from([0, 1, 2]),
        "v_reset": st.sampled_from([0.0, None]),
        "tau": st.sampled_from([1.2, 2.0]),
    }
)


def make(variant, **more):
    torch.manual_seed(3)
    return published_decoder(**{**SMALL, **ALIVE, **variant, **more})


def tokens(batch=4, length=LENGTH):
    return torch.randint(0, VOCAB, (batch, length), generator=torch.Generator().manual_seed(1))


@pytest.fixture(params=VARIANTS, ids=str)
def variant(request):
    return request.param


@functools.cache
def _warmed(variant):
    module = make(dict(variant))
    with torch.no_grad():
        for _ in range(3):
            module(tokens())
    return module.eval()


def warmed(variant):
    """In evaluation mode, after enough training steps for running statistics to mean something."""
    return copy.deepcopy(_warmed(tuple(variant.items())))


@pytest.mark.slow
@torch.no_grad()
def test_a_changed_token_changes_no_earlier_logit(variant):
    assert_causal(warmed(variant), tokens(1), range(LENGTH))


def assert_causal(module, text, places):
    """Change one token after another, in rows of one batch."""
    original = text.repeat(len(places), 1)
    changed = original.clone()
    for row, t in zip(changed.split(len(text)), places, strict=True):
        row[:, t] = (row[:, t] + 3) % VOCAB
    expected = module(original)
    assert expected.isfinite().all()
    parts = module(changed).split(len(text)), expected.split(len(text)), places
    for logits, before, t in zip(*parts, strict=True):
        assert torch.equal(logits[:, :t], before[:, :t])


@pytest.mark.slow
@torch.no_grad()
@settings(derandomize=True, deadline=None, max_examples=30)
@given(mixture=ANYTHING)
def test_mixtures_of_options_are_causal_and_stream(mixture):
    """Options drawn independently: what nobody thought of trying together."""
    module = warmed(mixture).double()
    original = tokens(2)
    assert_causal(module, original, (1, 4, LENGTH - 1))
    expected = module(original)
    first, state = module.stream(original[:, :4])
    rest, _ = module.stream(original[:, 4:], state)
    torch.testing.assert_close(torch.cat([first, rest], 1), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.slow
@torch.no_grad()
def test_tokens_reach_the_logits_of_later_positions(variant):
    module = warmed(variant)
    base = module(tokens())
    changed = tokens()
    changed[:, 0] = (changed[:, 0] + 3) % VOCAB
    difference = (module(changed) - base).abs()
    assert difference[:, 0].max() > 0, "the token does not reach its own logits"
    assert difference[:, 1:].max() > 0, "attention carries nothing"


@pytest.mark.slow
@torch.no_grad()
def test_a_stream_in_pieces_equals_the_whole(variant):
    module = warmed(variant).double()
    whole = module(tokens())
    for cuts in ((1, 1, 1, 1, 2, 2, 1), (LENGTH,)):
        state, pieces = None, []
        for piece in tokens().split(cuts, dim=1):
            logits, state = module.stream(piece, state)
            pieces.append(logits)
        assert state.position == LENGTH
        torch.testing.assert_close(torch.cat(pieces, 1), whole, rtol=1e-9, atol=1e-9)


@torch.no_grad()
@pytest.mark.parametrize("recipe", [{}, {"attention_decay": "fixed", "token_shift": 2}], ids=str)
def test_a_stream_agrees_in_the_precision_that_generates(recipe):
    """In float32 sums of weights depend on their order, and may flip a spike: most must agree."""
    module = warmed({"float_embedding": True, **recipe})
    whole = module(tokens(batch=32))
    state, pieces = None, []
    for piece in tokens(batch=32).split(1, dim=1):
        logits, state = module.stream(piece, state)
        pieces.append(logits)
    same = torch.isclose(torch.cat(pieces, 1), whole, rtol=1e-4, atol=1e-4).all(-1)
    assert same.float().mean() > 0.99


@pytest.mark.slow
@torch.no_grad()
def test_padding_neither_leaks_nor_counts_in_evaluation(variant):
    module = warmed(variant)
    short = tokens()[:, :5]
    padded = torch.nn.functional.pad(short, (0, LENGTH - 5), value=-1)
    torch.testing.assert_close(module(padded)[:, :5], module(short), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_padding_neither_leaks_nor_counts_in_training(variant):
    if variant.get("temporal_coding") == "rate":
        pytest.skip("in training, rates are drawn anew at each call")
    losses = []
    for pad in (0, LENGTH - 5):
        module = make(variant).double()
        padded = torch.nn.functional.pad(tokens()[:, :5], (0, pad), value=-1)
        loss = module(padded)[:, :5].square().sum()
        loss.backward()
        statistics = {k: v for k, v in module.state_dict().items() if "running" in k}
        gradients = {k: p.grad for k, p in module.named_parameters() if p.grad is not None}
        for name in [n for n in gradients if n == "encoding.position.table.weight"]:
            gradients[name] = gradients[name][:5]
        losses.append((loss, statistics, gradients))
    torch.testing.assert_close(losses[0], losses[1])


@pytest.mark.slow
def test_every_parameter_gets_a_gradient(variant):
    module = make(variant)
    module(tokens()).square().mean().backward()
    missing = [k for k, p in module.named_parameters() if p.grad is None or not p.grad.any()]
    assert missing == []


def test_dropout_acts_in_training_only():
    module = make({"attention_dropout": 0.5, "mlp_dropout": 0.5})
    assert not torch.equal(module(tokens()), module(tokens()))
    module.eval()
    assert torch.equal(module(tokens()), module(tokens()))


def test_degree_four_without_spikes_in_the_head_is_degree_three():
    torch.testing.assert_close(
        make({"spike_degree": 3})(tokens()),
        make({"spike_degree": 4, "spiking_head": False})(tokens()),
    )


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"timesteps": "four"}, "timesteps must be a whole number from 1 on, got 'four'"),
        ({"heads": 2.0}, "heads must be a whole number from 1 on, got 2.0"),
        ({"tau": "abc"}, "tau='abc'"),
        ({"v_threshold": float("nan")}, "v_threshold=nan"),
        ({"spike_degree": True}, "spike_degree=True"),
        ({"heads": 5}, r"heads=5 must divide .* 12 .*choose one of \[1, 2, 3, 4, 6, 12\]"),
        ({"encoding": "three-hot"}, "encoding='three-hot'"),
        ({"encoding": "one-hot"}, "position_encoding='linear'"),
        ({"encoding": "two-hot", "combine_position": True}, "combine_position"),
        ({"combine_position": True, "position_encoding": "linear"}, "combine_position"),
        ({"float_embedding": True, "temporal_coding": "rate"}, "float_embedding"),
        ({"readout": "median"}, "readout='median'"),
        ({"timesteps": 0}, "timesteps must be .* from 1 on, got 0"),
        ({"spike_degree": 5}, "spike_degree=5"),
        ({"spike_degree": 1, "spiking_head": True}, "spiking_head"),
        ({"attention": "hard"}, "attention='hard'"),
        ({"neuron": "graded", "levels": 0}, "levels"),
        ({"neuron": "graded", "step": 0}, "step=0"),
        ({"token_shift": -1}, "token_shift=-1"),
        ({"attention_decay": "some"}, "attention_decay"),
        ({"mlp_dropout": 1.0}, "mlp_dropout"),
        ({"surrogate": "box"}, "surrogate"),
        ({"v_threshold": 0.0}, "v_threshold"),
        ({"tau": 0.5}, "tau"),
    ],
)
def test_bad_options_are_named(options, match):
    with pytest.raises(ValueError, match=match):
        published_decoder(**{**SMALL, **options})


def test_bad_tokens_are_named():
    module = make({})
    with pytest.raises(ValueError, match="max_len=9"):
        module(tokens(length=LENGTH + 1))
    with pytest.raises(ValueError, match="vocab_size=11"):
        module(torch.full((1, 3), VOCAB))
    with pytest.raises(ValueError, match="at least one"):
        module(torch.zeros(2, 0, dtype=torch.long))
    with pytest.raises(ValueError, match="padding"):
        module.stream(torch.tensor([[1, -1]]))


@pytest.mark.slow
@torch.no_grad()
def test_a_forward_pass_reads_no_value(variant):
    """Tensors without values stand for those on a device that would have to be waited for."""
    timesteps = 1 if variant in ENCODINGS else 2
    blocks = 2 if "residual" in str(variant) else 1  # all blocks are alike but for these
    module = make(variant, timesteps=timesteps, blocks=blocks).eval().to("meta")
    few = tokens(length=3).to("meta")
    assert module(few).shape == (4, 3, VOCAB)
    _, state = module.stream(few)
    assert module.stream(tokens(length=1).to("meta"), state._replace(position=1))[0].is_meta


@pytest.mark.slow
@torch.no_grad()
def test_a_module_can_be_exported():
    module = make({}, blocks=1, timesteps=2).eval()
    exported = torch.export.export(module, (tokens(),)).module()
    torch.testing.assert_close(exported(tokens()), module(tokens()), rtol=1e-5, atol=1e-5)

"""Codes distinguish ids, and temporal codings make spikes of them."""

from __future__ import annotations

import pytest
import torch

from snn_estimators.nn import ENCODINGS, POSITION_ENCODINGS, CodeOptions, JointCode, SpikingDecoder
from snn_estimators.nn.decoder.encodings import OneHotCode, PublishedBinaryCode, SinusoidalCode
from snn_estimators.nn.decoder.temporal import Latency, Rate, Repeat

VOCAB, LENGTH = 11, 9
IDS = torch.arange(33)


def tokens():
    return torch.randint(VOCAB, (4, LENGTH), generator=torch.Generator().manual_seed(1))


def encode(**options):
    torch.manual_seed(3)
    sizes = {"token_dim": 7, "position_dim": 5, "heads": 1, "blocks": 1, "embedding_std": 1.0}
    module = SpikingDecoder(VOCAB, LENGTH, **{**sizes, **options})
    return module.encoding(tokens(), torch.arange(LENGTH))


CODES = {**{f"position {k}": v for k, v in POSITION_ENCODINGS.items()}, **ENCODINGS}


@pytest.mark.parametrize("code", CODES.values(), ids=CODES)
def test_every_id_has_a_code_of_the_declared_kind(code):
    module = code(CodeOptions(33, width=6, std=1.0, positions=2))
    joint = issubclass(code, JointCode)
    vectors = module(IDS[None], torch.ones(33, dtype=torch.long))[0] if joint else module(IDS)
    assert vectors.shape == (33, module.width)
    if code is not PublishedBinaryCode:
        assert len(vectors.unique(dim=0)) == 33
    assert code.binary == set(vectors.unique().tolist()).issubset({0.0, 1.0})


def test_joint_codes_hold_the_position():
    code = ENCODINGS["one-hot"](CodeOptions(3, positions=4))
    pairs = code(torch.arange(3).repeat_interleave(4)[None], torch.arange(4).repeat(3))
    assert torch.equal(pairs[0].argmax(-1).sort().values, torch.arange(12))


def test_sinusoids_follow_the_formula():
    waves = SinusoidalCode(CodeOptions(33, width=4))(torch.tensor([5]))[0]
    phases = [5 / 10_000 ** (c / 4) for c in range(4)]
    expected = [(torch.sin, torch.cos)[c % 2](torch.tensor(p)) for c, p in enumerate(phases)]
    torch.testing.assert_close(waves, torch.stack(expected))


@pytest.mark.parametrize(("encoding", "position"), [("learned", "static"), ("one-hot", "linear")])
def test_padding_is_silent(encoding, position):
    module = SpikingDecoder(VOCAB, LENGTH, heads=1, encoding=encoding, position_encoding=position)
    padded = torch.tensor([[3, 4, -1]])
    code = module.encoding(padded, torch.arange(3))
    assert not code[:, 0, 2].any()
    assert torch.equal(code[:, :, :2], module.encoding(padded[:, :2], torch.arange(2)))


def test_position_bias_moves_static_positions_alone():
    def positions(**options):
        encoding = SpikingDecoder(VOCAB, LENGTH, heads=1, **options).encoding
        return encoding(tokens(), torch.arange(LENGTH))[0, ..., -30:]

    torch.manual_seed(0)
    assert positions(position_bias=0.5).mean() < positions().mean()
    for kind in ("learned", "linear"):
        torch.manual_seed(0)
        plain = positions(position_encoding=kind, embedding_std=1.0)
        torch.manual_seed(0)
        biased = positions(position_encoding=kind, embedding_std=1.0, position_bias=0.5)
        assert torch.equal(plain[..., -LENGTH:], biased[..., -LENGTH:])


def test_float_embedding_acts():
    codes = [encode(float_embedding=flag).unique() for flag in (False, True)]
    assert codes[0].tolist() == [0.0, 1.0]
    assert len(codes[1]) > 20


@pytest.mark.parametrize("kind", ["encoding", "position_encoding"])
def test_binary_codes_are_injective(kind):
    module = SpikingDecoder(33, 33, **{kind: "binary"}, heads=1)
    code = (module.encoding.token if kind == "encoding" else module.encoding.position)(IDS)
    assert len(code.unique(dim=0)) == 33


@pytest.mark.slow
def test_published_binary_codes_collide_as_they_did():
    code = SpikingDecoder(20, 4, encoding="binary-published", heads=1).encoding.token(
        torch.arange(20)
    )
    written = [f"{i:b}".ljust(5, "0") if i else "00000" for i in range(20)]
    assert code.tolist() == [[float(digit) for digit in digits] for digits in written]


@pytest.mark.parametrize("coding", [Rate(4), Latency(4)], ids=["rate", "latency"])
def test_temporal_codes_are_spikes_ordered_by_intensity(coding):
    codes = torch.linspace(-6, 6, 50)
    spikes = coding.eval().encode(codes)
    assert set(spikes.unique().tolist()) <= {0.0, 1.0}
    count = spikes.sum(0)
    if isinstance(coding, Latency):
        assert count.max() == 1
        first = torch.where(count > 0, spikes.argmax(0), 4)
        assert (first.diff() <= 0).all()
    else:
        assert (count.diff() >= 0).all()
        assert count[0] == 0


def test_rates_are_drawn_in_training_and_pass_the_gradient():
    coding, code = Rate(4000), torch.tensor([-1.0, 0.0, 2.0], requires_grad=True)
    spikes = coding.train().encode(code)
    torch.testing.assert_close(spikes.mean(0), code.sigmoid(), atol=0.05, rtol=0)
    spikes.mean(0).sum().backward()
    torch.testing.assert_close(code.grad, (code.sigmoid() * (1 - code.sigmoid())).detach())


def test_bits_last_or_fire_once():
    bits = OneHotCode(CodeOptions(3))(torch.tensor([1]))
    assert torch.equal(Repeat(3).hold(bits), bits.expand(3, 1, 3))
    assert torch.equal(Latency(3).hold(bits).sum(0), bits)
    assert torch.equal(Latency(3).hold(bits)[0], bits)

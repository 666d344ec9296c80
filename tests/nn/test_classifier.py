from __future__ import annotations

import pytest
import torch
from torch import nn

from snn_estimators.nn import SpikeGPT, SpikingDecoder
from snn_estimators.nn.classifier import SequenceClassifier

N_TOKENS, LIMIT = 20, 6


def make_decoder(**options):
    return SpikingDecoder(
        N_TOKENS,
        LIMIT,
        **{
            "blocks": 1,
            "heads": 2,
            "token_dim": 6,
            "position_dim": 2,
            "timesteps": 2,
            "float_embedding": True,
            "embedding_std": 1.0,
            **options,
        },
    )


def make_gpt(**options):
    return SpikeGPT(
        N_TOKENS,
        **{"ctx_len": LIMIT, "n_layer": 2, "n_embd": 8, "initialization": "firing", **options},
    )


BACKBONES = {"decoder": make_decoder, "gpt": make_gpt}


@pytest.fixture(params=BACKBONES)
def backbone(request):
    return BACKBONES[request.param]().double().eval()


def tokens_of(*lengths):
    width = max(lengths)
    tokens = torch.full((len(lengths), width), -1)
    for row, length in zip(tokens, lengths, strict=True):
        row[:length] = torch.randint(N_TOKENS, (length,))
    return tokens


@pytest.mark.parametrize("decision", ["mean", "last"])
def test_padding_and_neighbours_do_not_matter(backbone, decision):
    classifier = SequenceClassifier(backbone, 3, decision).eval()
    tokens = tokens_of(1, 4, 6, 13, 17, 0)
    together = classifier(tokens)
    for row, logits in zip(tokens, together, strict=True):
        alone = classifier(row[row >= 0][None])[0]
        torch.testing.assert_close(alone, logits)


def test_decisions_read_the_features(backbone):
    tokens = tokens_of(5, 3)
    features = backbone.features(tokens)
    mean = SequenceClassifier(backbone, 3, "mean").pool(tokens)
    torch.testing.assert_close(mean, torch.stack([features[0].mean(0), features[1, :3].mean(0)]))
    last = SequenceClassifier(backbone, 3, "last").pool(tokens)
    torch.testing.assert_close(last, torch.stack([features[0, 4], features[1, 2]]))


def test_beyond_the_positions_windows_are_averaged():
    decoder = make_decoder().double().eval()
    tokens = tokens_of(2 * LIMIT + 3)
    parts = tokens.split(LIMIT, dim=1)
    states = torch.cat([decoder.features(part) for part in parts], dim=1)
    mean = SequenceClassifier(decoder, 2, "mean").pool(tokens)
    torch.testing.assert_close(mean, states.mean(1))


def test_beyond_the_positions_the_last_window_decides():
    decoder = make_decoder().double().eval()
    tokens = tokens_of(2 * LIMIT + 3, LIMIT + 1)
    last = SequenceClassifier(decoder, 2, "last").pool(tokens)
    for row, state in zip(tokens, last, strict=True):
        window = row[row >= 0][None, -LIMIT:]
        torch.testing.assert_close(decoder.features(window)[0, -1], state)


def test_without_a_limit_the_whole_sequence_is_read():
    gpt = make_gpt().double().eval()
    tokens = tokens_of(5 * LIMIT)
    last = SequenceClassifier(gpt, 2, "last").pool(tokens)
    torch.testing.assert_close(last, gpt.features(tokens)[:, -1])


@pytest.mark.parametrize("sequences", [torch.zeros(2, 0, dtype=torch.long), tokens_of(3, 0)])
def test_no_token_leaves_the_bias(backbone, sequences):
    classifier = SequenceClassifier(backbone, 3)
    torch.testing.assert_close(classifier(sequences)[1], backbone.head.linear.bias)


@pytest.mark.slow
@pytest.mark.parametrize("decision", ["mean", "last"])
def test_every_parameter_learns(backbone, decision):
    classifier = SequenceClassifier(backbone, 3, decision).train()
    classifier(tokens_of(4, 9)).square().sum().backward()
    silent = [name for name, p in classifier.named_parameters() if p.grad is None]
    assert not silent


def test_the_output_map_is_replaced(backbone):
    classifier = SequenceClassifier(backbone, 3)
    assert (classifier.n_classes, classifier.vocab_size) == (3, N_TOKENS)
    shapes = [tuple(p.shape) for p in classifier.parameters()]
    assert shapes.count((N_TOKENS, backbone.n_features)) <= 1  # embeddings, no map to tokens
    assert isinstance(backbone.head.linear, nn.Linear)


def test_options_without_meaning():
    with pytest.raises(ValueError, match="decision='best' is unknown"):
        SequenceClassifier(make_decoder(), 2, "best")
    with pytest.raises(ValueError, match="n_classes=1"):
        SequenceClassifier(make_decoder(), 1)


def test_statistics_of_a_trained_backbone_are_kept():
    for kept in (False, True):
        backbone = SpikingDecoder(11, 8, heads=1, blocks=1)
        module = SequenceClassifier(backbone, 2, keep_statistics=kept).train()
        before = {name: buffer.clone() for name, buffer in module.named_buffers()}
        module(torch.arange(8)[None])
        same = [before[name].equal(buffer) for name, buffer in module.named_buffers()]
        assert before
        assert all(same) if kept else not all(same)

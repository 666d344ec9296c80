"""Normalisations follow their formulas, and padding enters none of their statistics."""

from __future__ import annotations

import pytest
import torch

from snn_estimators.nn import NORMALIZATIONS
from snn_estimators.nn.norms import LayerNorm, PowerNorm

SHAPE = (3, 4, 5, 6)  # [time, batch, sequence, features]
VALID = torch.arange(5) < torch.tensor([5, 2, 0, 3])[:, None]


@pytest.fixture(params=NORMALIZATIONS)
def norm(request):
    return NORMALIZATIONS[request.param](SHAPE[-1]).double()


def some_input():
    return 3 * torch.randn(SHAPE, dtype=torch.float64) + 1


@pytest.mark.parametrize("training", [True, False])
def test_padding_changes_nothing(norm, training):
    norm.train(training)
    x, keep = some_input(), VALID.expand(SHAPE[:-1])
    noisy = torch.where(keep[..., None], x, 100 * torch.randn_like(x))
    results = []
    for values in (x, noisy):
        before = {name: value.clone() for name, value in norm.state_dict().items()}
        values = values.requires_grad_()
        out = norm(values, VALID)[keep]
        gradients = torch.autograd.grad(out.square().sum(), [values, *norm.parameters()])
        after = {name: value.clone() for name, value in norm.state_dict().items()}
        results.append([out, gradients[0][keep], *gradients[1:], after])
        norm.load_state_dict(before)
    torch.testing.assert_close(results[0], results[1])


def test_without_a_mask_all_tokens_count(norm):
    x, everything = some_input(), torch.ones(SHAPE[1:3], dtype=torch.bool)
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    masked = norm(x, everything)
    norm.load_state_dict(before)
    torch.testing.assert_close(norm(x), masked)


def test_evaluation_depends_on_no_other_token(norm):
    norm(some_input())  # statistics that are not the first ones
    norm.eval()
    x = some_input()
    alone = norm(x[:, 1:2, 2:3])
    torch.testing.assert_close(norm(x)[:, 1:2, 2:3], alone)


def test_layer_norm_is_each_tokens_own():
    x = some_input()
    found = LayerNorm(6).double()(x)
    torch.testing.assert_close(found.mean(-1), torch.zeros(SHAPE[:-1], dtype=torch.float64))
    torch.testing.assert_close(found.var(-1, correction=0).mean().item(), 1.0, atol=1e-3, rtol=0)


def test_batch_norm_is_over_time_batch_and_sequence():
    found = NORMALIZATIONS["batch"](6).double()(some_input()).flatten(0, 2)
    torch.testing.assert_close(found.mean(0), torch.zeros(6, dtype=torch.float64))
    torch.testing.assert_close(found.std(0, correction=0).mean().item(), 1.0, atol=1e-4, rtol=0)


def test_a_single_position_is_normalized_by_the_running_statistics():
    norm = NORMALIZATIONS["batch"](2)
    norm.running_mean.fill_(1.0)
    norm.running_var.fill_(4.0)
    found = norm.train()(torch.full((1, 1, 1, 2), 3.0))
    torch.testing.assert_close(found, torch.ones(1, 1, 1, 2))
    assert norm.running_mean.tolist() == [1.0, 1.0]


class TestPowerNorm:
    def test_warm_up_uses_the_batch_and_later_steps_the_past(self):
        norm, x = PowerNorm(6, warmup=2).double(), some_input()
        moment = x.flatten(0, 2).square().mean(0)
        for _ in range(2):
            torch.testing.assert_close(norm(x), x * (moment + norm.eps).rsqrt())
        torch.testing.assert_close(norm.running_moment, moment)
        torch.testing.assert_close(norm(2 * x), 2 * x * (moment + norm.eps).rsqrt())
        torch.testing.assert_close(norm.running_moment, 0.9 * moment + 0.1 * 4 * moment)
        assert norm.steps == 3

    def test_the_gradient_loses_its_running_component(self):
        norm, x = PowerNorm(6).double(), some_input().requires_grad_()
        weights = torch.randn(SHAPE, dtype=torch.float64)
        for running in (torch.zeros(6), norm.running_gradient):
            running = running.double().clone()
            scale = (x.detach().flatten(0, 2).square().mean(0) + norm.eps).rsqrt()
            (found,) = torch.autograd.grad((weights * norm(x)).sum(), x)
            corrected = weights - 0.1 * running * (x.detach() * scale)
            torch.testing.assert_close(found, corrected * scale)

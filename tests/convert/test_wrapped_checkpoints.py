"""What wrappers and trainers put around a state dict is taken off, and said once."""

from __future__ import annotations

import re
import warnings
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from snn_estimators.convert import from_spikedecoder, from_spikegpt


class Reference(NamedTuple):
    """A checkpoint of a reference system, and how to convert it."""

    weights: dict[str, Tensor]
    case: dict[str, Any]

    def convert(self, state_dict: Any) -> nn.Module:
        if self.case["model"] == "spikegpt":
            return from_spikegpt(state_dict)
        return from_spikedecoder(state_dict, self.case["config"])

    def check(self, state_dict: Any, told: str | None, atol: float = 1e-4) -> None:
        """Convert, and compare logits and what is told."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            module = self.convert(state_dict)
        messages = [str(warning.message) for warning in caught]
        assert messages == [] if told is None else (len(messages) == 1 and told in messages[0])
        assert all(warning.filename == __file__ for warning in caught)
        with torch.no_grad():
            logits = module(self.case["tokens"])
        torch.testing.assert_close(logits, self.case["logits"], rtol=0, atol=atol)


@pytest.fixture(params=["25_sgpt_rwkv_L3_v50", "07b_sd_spikeres2_batch_mslif"])
def reference(request, shared):
    case = torch.load(shared / "fixtures" / f"{request.param}.pt", weights_only=True)
    return Reference(case["state_dict"], case)


def prefixed(prefix, weights):
    return {prefix + name: tensor for name, tensor in weights.items()}


def test_a_plain_state_dict_needs_no_words(reference):
    reference.check(reference.weights, None)


@pytest.mark.slow
@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "model.", "module._orig_mod.", "model._orig_mod.", "gpt."]
)
def test_prefixes_are_taken_off(reference, prefix):
    reference.check(prefixed(prefix, reference.weights), f"('{prefix}')")


def test_wrappers_around_blocks_are_taken_off(reference):
    within = {
        name.replace("blocks.1.", "blocks.1._checkpoint_wrapped_module."): tensor
        for name, tensor in reference.weights.items()
    }
    reference.check(prefixed("module.", within), "('module.', ")


@pytest.mark.parametrize(
    "key", ["state_dict", "model", "model_state_dict", "weights", "module", "x"]
)
def test_envelopes_are_opened(reference, key):
    optimizer = {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 0.1}]}
    envelope = {key: reference.weights, "epoch": 3, "optimizer": optimizer}
    reference.check(envelope, f"the envelope ['{key}'] (it also holds 'epoch', 'optimizer')")


def test_envelopes_and_prefixes_nest(reference):
    lightning = {"state_dict": prefixed("model._orig_mod.", reference.weights), "loops": {}}
    reference.check(lightning, "['state_dict'] (it also holds 'loops'); what wrappers add to names")
    reference.check({"checkpoint": {"model": reference.weights}}, "['checkpoint']['model']")


def test_the_trained_weights_are_chosen_from_copies(reference):
    other = {name: torch.zeros_like(tensor) for name, tensor in reference.weights.items()}
    reference.check({"ema": other, "model": reference.weights}, "also holds 'ema'")
    both = {**prefixed("ema_model.", other), **prefixed("model.", reference.weights)}
    reference.check(both, "a second copy of the weights ('ema_model.")
    with pytest.raises(ValueError, match=r"several models, at \['a'\] and \['b'\]: give one"):
        reference.convert({"a": other, "b": reference.weights})
    with pytest.raises(ValueError, match=r"several models, at \['a'\]\['model'\] and \['b'\]"):
        reference.convert({"a": {"model": other}, "b": {"model": reference.weights}})
    with pytest.raises(ValueError, match=r"several models, under the prefixes 'a\.', 'b\.': give"):
        reference.convert({**prefixed("a.", other), **prefixed("b.", reference.weights)})
    with pytest.raises(ValueError, match="twice, once as module"):
        reference.convert({**reference.weights, **prefixed("module.", reference.weights)})


def test_buffers_that_mean_nothing_are_left_out(reference):
    causal = torch.ones(4, 4).tril()
    extra = {
        "blocks.0.attn.bias": causal[None, None],
        "blocks.0.attn.causal": causal.bool(),
        "attention_weights": torch.full((4, 4), -torch.inf).triu(1),
        "copy_mask": causal,
        "blocks.0.attn.masked_bias": torch.tensor(-1e4),
        "position_ids": torch.arange(4),
        "blocks.0.ln1.num_batches_tracked": torch.tensor(9),
        "total_ops": torch.zeros(1),
        "step": 3,
    }
    told = "entries that are no tensors ('step'); buffers that mean nothing here ('blocks"
    reference.check({**reference.weights, **extra}, told)


def test_an_averaged_model_is_read(reference):
    module = reference.convert(reference.weights)
    counter = {"n_averaged": AveragedModel(module).state_dict()["n_averaged"]}
    reference.check({**counter, **prefixed("module.", reference.weights)}, "('n_averaged')")


def test_counters_that_old_versions_lack_start_anew(reference):
    old = {n: w for n, w in reference.weights.items() if not n.endswith("num_batches_tracked")}
    reference.check(old, None)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_any_precision_becomes_the_modules(reference, dtype):
    weights = {n: w.to(dtype) if w.is_floating_point() else w for n, w in reference.weights.items()}
    rounded = {n: w.to(torch.float32) for n, w in weights.items()}
    expected = reference.convert(rounded)
    told = "digits beyond torch.float32" if dtype == torch.float64 else None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        module = reference.convert(weights)
    assert [told in str(warning.message) for warning in caught] == ([True] if told else [])
    assert {p.dtype for p in module.parameters()} == {torch.float32}
    for name, tensor in expected.state_dict().items():
        assert torch.equal(tensor, module.state_dict()[name])


def test_what_is_not_recognised_is_named_with_the_nearest(reference):
    name = next(n for n in reference.weights if re.search(r"1.*\.key(_L)?\.weight", n))
    others = {n: w for n, w in reference.weights.items() if n != name}
    misspelled = name.replace("key", "kay")
    with pytest.raises(ValueError, match=rf"{misspelled} is in .* \(which knows {name}"):
        reference.convert({**others, misspelled: reference.weights[name]})
    misspelled = name.replace("key", "kez")
    with pytest.raises(ValueError, match=rf"{name} is missing .*nearest there are {misspelled}"):
        reference.convert({**others, misspelled: reference.weights[name]})
    with pytest.raises(ValueError, match=r"extra\.weight is in the checkpoint, but missing in the"):
        reference.convert({**reference.weights, "blocks.extra.weight": torch.rand(4, 4)})


def test_weights_that_are_no_real_numbers_are_refused(reference):
    name = next(
        n for n in reference.weights if n.endswith("_L.weight") or n.endswith("att.key.weight")
    )
    weight = reference.weights[name]
    for odd in (weight.to(torch.int8), weight.to(torch.complex64), weight.to_sparse()):
        with pytest.raises(ValueError, match=f"{name} is (a|no) .* numbers: save"):
            reference.convert({**reference.weights, name: odd})


def test_a_module_is_no_state_dict(reference):
    with pytest.raises(TypeError, match=r"got a Linear: give model\.state_dict\(\)"):
        reference.convert(nn.Linear(2, 2))
    with pytest.raises(
        ValueError, match=r"is missing in the checkpoint, which holds 'model': is it"
    ):
        reference.convert({"model": torch.zeros(2, 2)})
    itself: dict[str, Any] = {}
    itself["model"] = itself
    with pytest.raises(ValueError, match="is missing in the checkpoint"):
        reference.convert(itself)

"""Every reference checkpoint that means something gives the reference's logits."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from snn_estimators.convert import from_spikedecoder, from_spikegpt

CASES = [
    "01_sd_learned_static",
    "03_sd_onehot_len8_1block",
    "03b_sd_onehot_len4",
    "05_sd_floatemb_concat",
    "07_sd_spikeres2_batch",
    "07b_sd_spikeres2_batch_mslif",
    "09_sd_mslif",
    "11_sd_float_reunite",
    "13_sd_pos_bias",
    "15_ns_static",
    "17_partial_deg1",
    "19_partial_deg3",
    "21_partial_deg0_patched",
    "29_sd_binary_binary",
    "31_sd_learned_linear_vocab32",
    "33_ns_batch",
    "35_sd_gui_strictspikes",
]
SPIKEGPT_CASES = ["23_sgpt_rwkv_L2_v77", "25_sgpt_rwkv_L3_v50", "27_sgpt_ffnpre_L2_v50"]


def load(shared, name):
    return torch.load(shared / "fixtures" / f"{name}.pt", weights_only=True)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore:The binary codes")
def test_logits_equal_the_reference(shared, name):
    case = load(shared, name)
    module = from_spikedecoder(case["state_dict"], case["config"])
    assert not module.training
    with torch.no_grad():
        torch.testing.assert_close(module(case["tokens"]), case["logits"], rtol=0, atol=1e-4)


def spikegpt(case, **options):
    config = case["config"]
    options = {"model_type": config["model_type"], "ctx_len": config["ctx_len"]} | options
    return from_spikegpt(case["state_dict"], **options)


@pytest.mark.parametrize("name", SPIKEGPT_CASES)
def test_spikegpt_equals_the_reference(shared, name):
    case = load(shared, name)
    module = spikegpt(case)
    assert not module.training
    with torch.no_grad():
        whole = module(case["tokens"])
        state, steps = None, []
        for token in case["tokens"].split(1, dim=1):
            logits, state = module.stream(token, state)
            steps.append(logits)
    torch.testing.assert_close(whole, case["logits"], rtol=0, atol=1e-4)
    torch.testing.assert_close(torch.cat(steps, 1), case["logits"], rtol=0, atol=1e-4)


def test_spikegpt_checkpoints_that_do_not_fit_are_refused(shared):
    case = load(shared, "27_sgpt_ffnpre_L2_v50")
    with pytest.raises(
        ValueError, match=r"blocks\.0\.att\.key\.weight is missing .*model_type='RWKV'"
    ):
        spikegpt(case, model_type="RWKV")
    cut = {k: v for k, v in case["state_dict"].items() if k != "ln_out.bias"}
    with pytest.raises(ValueError, match=r"ln_out\.bias is missing in the checkpoint"):
        from_spikegpt(cut, model_type="RWKV-ffnPre")
    with pytest.raises(
        ValueError, match=r"head\.weight has shape \(49, 32\).*should have \(50, 32\)"
    ):
        head = case["state_dict"]["head.weight"][1:]
        from_spikegpt({**case["state_dict"], "head.weight": head}, model_type="RWKV-ffnPre")
    far = {**case["state_dict"], "blocks.100000000.ln1.weight": torch.zeros(32)}
    with pytest.raises(ValueError, match=r"blocks\.2 is missing"):
        from_spikegpt(far, model_type="RWKV-ffnPre")
    with pytest.raises(ValueError, match=r"emb\.weight is missing"):
        from_spikegpt({"emb.weight": [1]})
    with pytest.raises(ValueError, match=r"emb\.weight is missing"):
        from_spikegpt({"model": torch.zeros(2, 2)})


def test_no_case_is_forgotten(shared):
    names = {p.stem for p in (shared / "fixtures").glob("[0-9]*.pt")}
    assert names == {*CASES, *SPIKEGPT_CASES}


def test_colliding_codes_are_told(shared):
    case = load(shared, "29_sd_binary_binary")
    told = r"collide: tokens \(1, 2, 4, 8, 16\), \(3, 6, 12, 24\), .* positions \(1, 2, 4, 8\)"
    with pytest.warns(UserWarning, match=told):
        module = from_spikedecoder(case["state_dict"], case["config"])
    tokens = torch.tensor([[5, 1, 7], [5, 2, 7], [5, 3, 7]])
    with torch.no_grad():
        one, two, three = module.eval()(tokens)
    assert torch.equal(one, two)
    assert not torch.equal(one, three)


def test_config_and_checkpoint_must_belong_together(shared):
    case = load(shared, "01_sd_learned_static")
    with pytest.raises(ValueError, match="missing in the checkpoint"):
        from_spikedecoder(case["state_dict"], case["config"] | {"blocks": 3})
    with pytest.raises(ValueError, match="missing in the model"):
        from_spikedecoder(case["state_dict"], case["config"] | {"blocks": 1})
    with pytest.raises(ValueError, match=r"blocks\.0\.MLP\.net\.2\.bias has shape \(320,\)"):
        from_spikedecoder(case["state_dict"], case["config"] | {"dim_hid": 8})
    with pytest.raises(ValueError, match=r"\['block'\], .* \(the nearest known blocks\)"):
        from_spikedecoder(case["state_dict"], case["config"] | {"block": 3})
    with pytest.raises(ValueError, match="normalization='rms'"):
        from_spikedecoder(case["state_dict"], case["config"] | {"normalization": "rms"})
    with pytest.raises(ValueError, match="lacks"):
        from_spikedecoder(case["state_dict"], {"vocab_size": 30})
    with pytest.raises(TypeError, match=r"got a SimpleNamespace: give vars\(config\)"):
        from_spikedecoder(case["state_dict"], SimpleNamespace(**case["config"]))
    with pytest.raises(ValueError, match="SMHA_only"):
        from_spikedecoder(case["state_dict"], case["config"] | {"SMHA_only": True})

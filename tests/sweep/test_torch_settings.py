"""PyTorch's settings: five that workers take over, and switches that should be at their default."""

from __future__ import annotations

import functools
from contextlib import contextmanager

import pytest
import torch
from tiny_language_model import TEXTS, tiny_model
from tiny_sweep import TALE, TINY

from snn_estimators._torch_settings import changed_switch, torch_settings, use_torch_settings
from snn_estimators.persistence.cache_key import why_not_cacheable
from snn_estimators.sweep import Sweep, sweep_model
from snn_estimators.sweep.worker import WorkerContext, fit_and_score, to_bytes


@contextmanager
def changed(setter, value, former):
    setter(value)
    try:
        yield
    finally:
        setter(former)


def set_deterministic(warn_only):
    torch.use_deterministic_algorithms(warn_only is not None, warn_only=bool(warn_only))


def attribute(owner, name, value):
    return changed(functools.partial(setattr, owner, name), value, getattr(owner, name))


doubles = functools.partial(changed, torch.set_default_dtype, torch.float64, torch.float32)
precision = functools.partial(changed, torch.set_float32_matmul_precision)

SETTINGS = {
    "default dtype": doubles,
    "default device": lambda: torch.device("meta"),
    "high precision": lambda: precision("high", "highest"),
    "medium precision": lambda: precision("medium", "highest"),
    "strict": lambda: changed(set_deterministic, False, None),
    "warns": lambda: changed(set_deterministic, True, None),
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "its dtype": lambda: torch.autocast("cpu", dtype=torch.float16),
}


@contextmanager
def bfloat16():
    torch.backends.mkldnn.matmul.fp32_precision = "bf16"
    try:
        yield
    finally:
        torch.set_float32_matmul_precision("highest")


MKLDNN, CUDA, CUDNN = torch.backends.mkldnn, torch.backends.cuda, torch.backends.cudnn
SWITCHES = {
    "cpu": {
        "torch.set_flush_denormal(True)": lambda: changed(torch.set_flush_denormal, True, False),
        "torch.backends.mkldnn.enabled=False": lambda: MKLDNN.flags(enabled=False),
        "torch.backends.mkldnn.deterministic=True": lambda: MKLDNN.flags(True, True),
        "torch.backends.mkldnn.matmul.fp32_precision=bf16 (not as torch.set_float32": bfloat16,
        "torch.backends.cuda.flash_sdp_enabled()=False": lambda: changed(
            CUDA.enable_flash_sdp, False, True
        ),
    },
    "cuda": {
        "torch.backends.cudnn.deterministic=True": lambda: CUDNN.flags(True, deterministic=True),
        "torch.backends.cudnn.benchmark=True": lambda: CUDNN.flags(True, benchmark=True),
        "torch.backends.cudnn.allow_tf32=False": lambda: attribute(CUDNN, "allow_tf32", False),
        "torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction": lambda: attribute(
            CUDA.matmul, "allow_bf16_reduced_precision_reduction", False
        ),
    },
}
CASES = [(device, name) for device in SWITCHES for name in SWITCHES[device]]


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_are_taken_over_for_a_block(name):
    own = torch_settings("cpu")
    with SETTINGS[name]():
        wanted = torch_settings("cpu")
        assert changed_switch("cuda") is None  # they bring others along
    assert wanted != own == torch_settings("cpu")
    with use_torch_settings(wanted, "cpu"):
        assert torch_settings("cpu") == wanted
    assert torch_settings("cpu") == own
    assert changed_switch("cuda") is None


@pytest.mark.parametrize("name", SETTINGS)
def test_a_worker_that_another_sweep_has_set_is_set_back(name):
    wanted = torch_settings("cpu")
    with SETTINGS[name](), use_torch_settings(wanted, "cpu"):
        assert torch_settings("cpu") == wanted


def test_autocast_of_gpus_matters_on_gpus():
    assert "autocast on cuda" in torch_settings("cuda")
    assert "autocast on cuda" not in torch_settings("cpu")


@pytest.mark.parametrize(("device", "name"), CASES)
def test_no_fit_is_kept_under_another_switch(device, name):
    assert changed_switch("cpu") is changed_switch("cuda") is None
    with SWITCHES[device][name]():
        assert changed_switch("cuda").startswith(name)
        assert (changed_switch("cpu") is None) == (device == "cuda")
        reason = why_not_cacheable(tiny_model(device=device))
        assert reason.startswith(f"With {name}")
        assert reason.endswith("memory keeps no fit: set it back.")
    assert changed_switch("cpu") is changed_switch("cuda") is None


def test_a_changed_switch_costs_a_warning_and_keeps_nothing(tmp_path):
    model = tiny_model(memory=tmp_path / "m", max_steps=1)
    with MKLDNN.flags(enabled=False), pytest.warns(UserWarning, match=r"mkldnn\.enabled=False"):
        model.fit(TEXTS)
    assert not (tmp_path / "m").exists()


def plan():
    return Sweep(
        {"heads": [1]}, TALE, baselines=False, estimator=sweep_model(**TINY), length=16
    )._plan()


def failure(**context):
    (fit, *_) = plan().fits(0, plan().row("tale", 0, 0))
    text = to_bytes(plan().texts["tale"])
    result = fit_and_score(0, fit, text, WorkerContext(17, 2, **context))
    assert result.scores is None
    return result.failure


def test_a_setting_that_cannot_be_taken_over_costs_the_row():
    own = torch_settings("cpu")
    found = failure(settings=own | {"float32 matmul precision": "perhaps"})
    assert "setting 'float32 matmul precision' is perhaps where the sweep runs" in found
    assert "set n_jobs=1" in found
    assert torch_settings("cpu") == own


def test_a_switch_that_is_changed_in_a_worker_alone_costs_the_row():
    with MKLDNN.flags(enabled=False):
        found = failure(settings=torch_settings("cpu"))
    assert "In the worker of the sweep, torch.backends.mkldnn.enabled=False" in found


def run(**options):
    return Sweep(
        {"heads": [1]}, TALE, baselines=False, estimator=sweep_model(**TINY), length=16, **options
    ).run()


@pytest.mark.slow
def test_workers_compute_with_the_settings_of_the_sweep(tmp_path):
    plain = run(n_jobs=1).fits["perplexity"].tolist()
    with doubles():
        two = run(n_jobs=2, memory=tmp_path / "memory")
        again = run(n_jobs=1, memory=tmp_path / "memory")
        alone = run(n_jobs=1)
    assert two.fits["perplexity"].tolist() == alone.fits["perplexity"].tolist() != plain
    assert again.run["fits"]["taken_over"] == 2
    assert len(list((tmp_path / "memory" / "fits").iterdir())) == 2
    assert run(n_jobs=2).fits["perplexity"].tolist() == plain


@pytest.mark.slow
def test_a_sweep_reports_a_changed_switch_once_and_keeps_nothing(tmp_path):
    with MKLDNN.flags(enabled=False), pytest.warns(UserWarning, match="no fit is kept") as warned:
        table = run(n_jobs=1, memory=tmp_path / "memory").fits
    assert len([w for w in warned if "mkldnn.enabled=False" in str(w.message)]) == 1
    assert table["perplexity"].notna().all()
    assert [p.name for p in (tmp_path / "memory").glob("*/*")] == []

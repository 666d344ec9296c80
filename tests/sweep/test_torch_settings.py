from __future__ import annotations

from contextlib import contextmanager

import pytest
import torch

from snn_estimators.sweep import Sweep, sweep_model
from snn_estimators.sweep.torch_settings import like_process, process_settings
from snn_estimators.sweep.worker import WorkerContext, fit_and_score, to_bytes

TALE = {"tale": ["The cat sat on the mat. A dog ran to the tree! " * 12]}
TINY = {"length": 16, "blocks": 1, "timesteps": 1, "heads": 1, "max_steps": 2, "batch_size": 4}


@contextmanager
def doubles():
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def medium_precision():
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision("highest")


@contextmanager
def precision_of_matmul_alone():
    torch.backends.mkldnn.matmul.fp32_precision = "bf16"
    try:
        yield
    finally:
        torch.set_float32_matmul_precision("highest")


@contextmanager
def deterministic(warn_only):
    torch.use_deterministic_algorithms(True, warn_only=warn_only)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


@contextmanager
def no_flash():
    torch.backends.cuda.enable_flash_sdp(False)
    try:
        yield
    finally:
        torch.backends.cuda.enable_flash_sdp(True)


WAYS = {
    "default dtype": doubles,
    "default device": lambda: torch.device("meta"),
    "matmul precision": medium_precision,
    "mkldnn": lambda: torch.backends.mkldnn.flags(enabled=False, deterministic=True),
    "mkldnn.matmul": precision_of_matmul_alone,
    "strict": lambda: deterministic(warn_only=False),
    "warns": lambda: deterministic(warn_only=True),
    "cuda.flash": no_flash,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
}


@pytest.mark.parametrize("name", WAYS)
def test_settings_are_taken_over_for_a_block(name):
    own = process_settings("cpu")
    with WAYS[name]():
        wanted = process_settings("cpu")
    assert wanted != own == process_settings("cpu")
    with like_process(wanted, "cpu"):
        assert process_settings("cpu") == wanted
    assert process_settings("cpu") == own


@pytest.mark.parametrize("name", WAYS)
def test_a_worker_that_another_sweep_has_set_is_set_back(name):
    wanted = process_settings("cpu")
    with WAYS[name](), like_process(wanted, "cpu"):
        assert process_settings("cpu") == wanted


def test_a_setting_that_cannot_be_taken_over_costs_the_row():
    own = process_settings("cpu")
    sweep = Sweep({"heads": [1]}, TALE, estimator=sweep_model(**TINY), length=16)
    plan = sweep._plan()
    (fit, *_) = plan.fits(0, plan.row("tale", 0, 0))
    context = WorkerContext(17, 2, settings=own | {"mkldnn.enabled": "perhaps"})
    outcome = fit_and_score(0, fit, to_bytes(plan.texts["tale"]), context)
    assert outcome.scores is None
    assert "setting 'mkldnn.enabled' is perhaps where the sweep runs" in outcome.failure
    assert "set n_jobs=1" in outcome.failure
    assert process_settings("cpu") == own


def test_workers_compute_with_the_settings_of_the_sweep(tmp_path):
    def run(**options):
        options |= {"estimator": sweep_model(**TINY), "length": 16}
        return Sweep({"heads": [1]}, TALE, **options).run()

    plain = run(n_jobs=1).fits["perplexity"].tolist()
    with doubles():
        two = run(n_jobs=2, store=tmp_path / "store")
        again = run(n_jobs=1, store=tmp_path / "store")
        alone = run(n_jobs=1)
    assert two.fits["perplexity"].tolist() == alone.fits["perplexity"].tolist() != plain
    assert again.run["fits"]["taken_over"] == 2
    assert len(list((tmp_path / "store" / "fits").iterdir())) == 2
    assert run(n_jobs=2).fits["perplexity"].tolist() == plain

"""Every experiment runs from the command line, leaves its tables, and uses public names alone."""

from __future__ import annotations

import ast
import importlib
import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from sklearn.base import clone

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
RESULTS = EXPERIMENTS.with_name("results")
SCRIPTS = {path.stem: path for path in EXPERIMENTS.glob("[!_]*.py")}
ROWS = {
    "timesteps_heads_encoding": 8,
    "embeddings": 7,
    "spike_degree": 2,
    "context_ablation": 7,
    "context_costs": 5,
    "beyond_bigrams": 8,
    "spikegpt_quality": 8,
    "spikedecoder_spikegpt": 9,
    "recipes": 8,
    "reads_front": 5,
    "conversion": 3,
    "distillation": 3,
    "scaling": 4,
}
OTHERS = {"movie_reviews", "gpu_check", "benchmark_lif", "benchmark_decoder", "benchmark_spikegpt"}
OTHERS |= {"benchmark_sweep", "benchmark_data_parallel"}


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run an experiment in this process and in a few steps, and return its table."""
    monkeypatch.syspath_prepend(EXPERIMENTS)

    def run(name, *options):
        arguments = ["--quick", "--jobs", "1", "--output", tmp_path, *options]
        monkeypatch.setattr(sys, "argv", [str(SCRIPTS[name]), *map(str, arguments)])
        runpy.run_path(str(SCRIPTS[name]), run_name="__main__")
        return pd.read_csv(tmp_path / "results.csv")

    return run


@pytest.mark.slow
@pytest.mark.parametrize("name", ROWS)
def test_quick_run_leaves_a_table(name, run, tmp_path):
    table = run(name)
    assert len(table) == ROWS[name]
    assert table["perplexity"].gt(1).all()
    for file in ("results.md", "results.tex", "run.json", "pareto.png", "effects.png"):
        assert (tmp_path / file).stat().st_size > 0


@pytest.mark.slow
def test_movie_reviews(shared, run, tmp_path):
    table = run("movie_reviews", "--data", shared / "data")
    assert len(table) == 10
    assert table["accuracy"].between(0.3, 1).all()
    assert abs(table.set_index("model").loc["majority vote", "accuracy"] - 0.5) < 0.01
    for file in ("results.md", "run.json"):
        assert (tmp_path / file).stat().st_size > 0


@pytest.fixture
def gpu_check(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(EXPERIMENTS)
    module = importlib.import_module("gpu_check")

    def check(*options):
        arguments = ["gpu_check.py", "--output", str(tmp_path), *options]
        monkeypatch.setattr(sys, "argv", arguments)
        return module.main()

    check.module = module
    return check


@pytest.mark.slow
def test_gpu_check_compares_the_cpu_with_itself(gpu_check, tmp_path, monkeypatch):
    for name, value in {"LENGTH": 16, "TRAINING": 16, "HELD_OUT": 6}.items():
        monkeypatch.setattr(gpu_check.module, name, value)
    sizes = {
        "SpikeDecoder": {
            "max_len": 16,
            "blocks": 1,
            "heads": 2,
            "token_dim": 10,
            "position_dim": 6,
        },
        "SpikeGPT": {"ctx_len": 16, "n_layer": 1, "n_embd": 16},
    }

    def shrunk(model):
        (size,) = (size for name, size in sizes.items() if type(model).__name__.startswith(name))
        return clone(model).set_params(**{f"module__{name}": n for name, n in size.items()})

    small = [shrunk(model) for model in gpu_check.module.MODELS]
    monkeypatch.setattr(gpu_check.module, "MODELS", small)
    assert gpu_check("--device", "cpu", "--steps", "2") == 0
    table = pd.read_csv(tmp_path / "results.csv")
    assert table["outcome"].eq("ok").all()
    assert table["estimator"].nunique() == 4
    assert table["check"].nunique() == 7
    assert table["difference"].max() <= 1e-6
    assert json.loads((tmp_path / "run.json").read_text())["parameters"]["device"] == "cpu"
    assert "SpikeGPTClassifier" in (tmp_path / "results.md").read_text()


@pytest.mark.slow
def test_gpu_check_goes_through_all_rows_when_one_fails(gpu_check, tmp_path, monkeypatch):
    def fail(trial):
        raise RuntimeError("no kernel image")

    far = iter([1.0, 2.0])
    checks = {"broken": (fail, 1.0), "far": (lambda trial: next(far), 0.5)}
    monkeypatch.setattr(gpu_check.module, "CHECKS", checks | {"fine": (lambda trial: 1.0, 0.0)})
    monkeypatch.setattr(gpu_check.module, "MODELS", gpu_check.module.MODELS[:1])
    assert gpu_check("--device", "cpu") == 1
    broken, far, fine = pd.read_csv(tmp_path / "results.csv")["outcome"]
    assert "no kernel image" in broken
    assert "2.0 instead of 1.0" in far
    assert fine == "ok"


def test_gpu_check_without_a_gpu_says_so(gpu_check, capsys, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert gpu_check() == 0
    assert "no GPU" in capsys.readouterr().out


def test_every_experiment_is_tried_here():
    assert SCRIPTS.keys() - OTHERS == ROWS.keys()


@pytest.mark.parametrize("path", sorted(EXPERIMENTS.glob("*.py")), ids=lambda path: path.stem)
def test_experiments_import_public_names_alone(path):
    for module, name in imported(path):
        assert name in importlib.import_module(module).__all__, f"{module}.{name}"


def imported(path):
    """Yield what a file imports of the package, as pairs of a module and a name in it."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
            assert not any(module.startswith("snn_estimators.") for module in modules), modules
        if isinstance(node, ast.ImportFrom) and node.module.startswith("snn_estimators"):
            assert node.module.count(".") <= 1, f"{node.module} is no room of the package"
            yield from ((node.module, alias.name) for alias in node.names)


def test_readme_of_the_results_is_what_the_command_makes():
    command = [sys.executable, RESULTS / "make_readme.py", "--check"]
    subprocess.run(command, check=True)


def test_pictures_of_the_results_are_there():
    shown = re.findall(r"!\[\w+\]\((.+)\)", (RESULTS / "README.md").read_text("utf-8"))
    assert shown
    assert all((RESULTS / picture).is_file() for picture in shown)

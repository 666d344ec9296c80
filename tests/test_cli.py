from __future__ import annotations

import json
import subprocess
import sys

import pandas as pd
import pytest

from snn_estimators import cli

TALE = "The cat sat on the mat. A dog ran to the tree! " * 20
TINY_SWEEP = [
    "--timesteps=1,2", "--heads=1", "--encoding=learned", "--set=blocks=1", "--steps=2",
    "--length=16", "--jobs=1",
]  # fmt: skip


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the command line in this process; return exit code, output and errors."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["snn-estimators", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return end.value.code or 0, *capsys.readouterr()

    return run


@pytest.fixture
def tale(tmp_path):
    path = tmp_path / "tale.txt"
    path.write_text(TALE, encoding="utf-8")
    return path


@pytest.fixture
def no_fit(monkeypatch):
    from snn_estimators.model_selection import sweep

    monkeypatch.setattr(sweep.GridSearchCV, "fit", lambda *_: pytest.fail("a fit was started"))


def test_a_sweep_from_another_process(tale, tmp_path):
    """The real thing: entry point, progress bar, two processes, files."""
    command = [sys.executable, "-m", "snn_estimators.cli", "sweep", tale, "--output"]
    options = [option for option in TINY_SWEEP if option != "--jobs=1"]
    done = subprocess.run(
        [*command, tmp_path / "out", *options, "--jobs=2", "--grid", "lr=0.01,0.001"],
        capture_output=True, text=True, encoding="utf-8", timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "8/8" in done.stderr
    assert "perplexity" in done.stdout
    table = pd.read_csv(tmp_path / "out" / "results.csv")
    assert len(table) == 4
    assert table["perplexity"].notna().all()
    assert {"timesteps", "heads", "encoding", "lr", "pareto"} <= set(table.columns)
    written = (tmp_path / "out" / "run.json").read_text()
    assert json.loads(written)["corpus"]["name"] == "tale.txt"
    assert str(tmp_path) not in written
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "results.csv", "results.md", "results.tex", "pareto.png", "effects.png", "run.json",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--grid", "lrr=1"], "unknown parameter 'lrr' of SpikeDecoderLM: did you mean 'lr'"),
        (["--grid", "lr"], "write NAME=V1,V2"),
        (["--grid", "lr="], "empty value"),
        (["--heads", "3"], "heads=3"),
        (["--set", "block=1"], "did you mean 'module__blocks'"),
        (["--set", "lr=1,2"], "takes one value"),
        (["--preset", "nonsense"], "nonsense"),
        (["--length", "4000"], "long enough"),
    ],
)
def test_mistakes_in_a_sweep_are_one_sentence(no_fit, run, tale, tmp_path, arguments, message):
    code, _, errors = run("sweep", tale, "--output", tmp_path / "out", *TINY_SWEEP, *arguments)
    assert code == 2
    assert message in errors
    assert len(errors.strip().splitlines()) == 1
    assert "Traceback" not in errors


def test_bad_corpora_are_refused(no_fit, run, tmp_path):
    (tmp_path / "empty.txt").touch()
    (tmp_path / "digits.txt").write_text("123 456")
    for corpus in ("empty.txt", "digits.txt", "missing.txt"):
        code, _, errors = run("sweep", tmp_path / corpus, "--output", tmp_path / "out")
        assert code == 2
        assert errors.startswith("error: ")
        assert corpus in errors
    code, _, errors = run("sweep", "pyhton-docs", "--output", tmp_path / "out")
    assert code == 2
    assert "pyhton-docs" in errors


def test_a_folder_that_cannot_be_written_is_refused(no_fit, run, tale):
    code, _, errors = run("sweep", tale, "--output", tale)
    assert code == 2
    assert "cannot write into the output folder" in errors


def test_debug_shows_the_traceback(run, tale):
    for arguments in (["--debug", "sweep"], ["sweep", "--debug"]):
        code, _, errors = run(*arguments, "no-such-corpus", "--output", tale.parent / "out")
        assert code == 2
        assert "Traceback" in errors


def test_fit_score_generate_energy(run, tale, tmp_path):
    model = tmp_path / "model"
    code, output, errors = run(
        "fit", tale, "--output", model, "--steps=3", "--length=16", "--set=blocks=1",
        "--set=timesteps=1", "--clean",
    )  # fmt: skip
    assert code == 0, errors
    assert "perplexity" in output

    code, output, errors = run("score", model, tale)
    assert code == 0, errors
    assert [line.split("  ")[0] for line in output.splitlines()] == [
        "perplexity", "bits per character", "accuracy",
    ]  # fmt: skip

    code, output, errors = run("generate", model, "the cat", "--tokens=12", "--seed=1")
    assert code == 0, errors
    assert output.startswith("the cat")
    assert len(output) == len("the cat") + 12 + 1
    assert run("generate", model, "The\tCat", "--tokens=12", "--seed=1")[1] == output

    code, output, errors = run("energy", model, tale)
    assert code == 0, errors
    assert "nJ per token" in output
    assert "energy_pj" in output


def test_a_place_that_cannot_be_saved_in_is_refused_before_training(run, tale, monkeypatch):
    from snn_estimators import SpikeDecoderLM

    monkeypatch.setattr(SpikeDecoderLM, "fit", lambda *_: pytest.fail("a fit was started"))
    for output, message in (
        (tale, "holds no model"),
        (tale / "below", "cannot write into"),
        ("some/where", "no model name"),
    ):
        code, _, errors = run("fit", tale, "--output", output)
        assert code == 2
        assert message in errors


def test_missing_models_are_refused(run, tale, tmp_path):
    for command in (["score", tmp_path / "none", tale], ["generate", tmp_path / "none"]):
        code, _, errors = run(*command)
        assert code == 2
        assert "none" in errors
        assert "Traceback" not in errors


def test_corpora_are_listed(run):
    code, output, _ = run("corpora")
    assert code == 0
    assert "python-docs" in output


def test_help_names_every_command(run):
    code, output, _ = run("--help")
    assert code == 0
    for command in ("sweep", "fit", "score", "generate", "energy", "corpora"):
        assert command in output

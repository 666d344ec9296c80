"""The README tells the truth: its Python runs, its tables are the files', its commands exist."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from snn_estimators import cli
from snn_estimators.model_selection.grids import parse_grid

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_python_blocks_run_one_after_another(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SNN_ESTIMATORS_HOME", str(tmp_path / "home"))
    names: dict = {}
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), names)
    assert (tmp_path / "results" / "ten-lines" / "results.csv").is_file()


def test_tables_are_those_of_the_results():
    subprocess.run(
        [sys.executable, ROOT / "experiments" / "update_readme.py", "--check"], check=True
    )


def test_linked_files_exist():
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_commands_of_the_tour_are_understood():
    lines = [
        shlex.split(line, comments=True)
        for line in re.findall(r"(?:^|[/ ])snn-estimators (.*)$", "\n".join(blocks("bash")), re.M)
    ]
    assert {line[0] for line in lines} >= {
        "sweep", "fit", "score", "generate", "energy", "corpora",
    }  # fmt: skip
    for line in lines:
        understand(line)


def understand(arguments):
    """Parse a command line, options and all, without running it."""
    group = typer.main.get_command(cli.app)
    with group.make_context("snn-estimators", list(arguments)) as context:
        name, command, rest = group.resolve_command(context, arguments)
        with command.make_context(name, rest, parent=context) as parsed:
            for option in ("grid", "fixed"):
                parse_grid(parsed.params.get(option) or [])


@pytest.mark.parametrize(
    "line",
    [
        "swep",
        "sweep --nonsense",
        "sweep --folds one",
        "fit",
        "sweep --grid blocks",
        "score a",
    ],
)
def test_wrong_commands_would_be_noticed(line):
    with pytest.raises(Exception, match=r"(?i)no such|valid|missing|write NAME"):
        understand(line.split())

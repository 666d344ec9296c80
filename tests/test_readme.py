"""The README tells the truth: its Python runs, its tables are the files', its commands exist."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

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
    command = shutil.which("snn-estimators", path=Path(sys.executable).parent)
    if command is None:
        pytest.skip("the package is not installed with its command")
    tour = "\n".join(blocks("bash"))
    used = set(re.findall(r"snn-estimators (\w+)", tour))
    assert used >= {"sweep", "fit", "score", "generate", "energy", "corpora"}
    for name in used:
        subprocess.run([command, name, "--help"], check=True, capture_output=True)

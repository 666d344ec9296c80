"""The README is right: its Python runs, its links lead somewhere, its commands exist."""

from __future__ import annotations

import re
import shlex
from functools import partial
from pathlib import Path

import pytest
import typer

from snn_estimators import cli
from snn_estimators.model_selection.baselines import largest_twin_within
from snn_estimators.model_selection.grids import parse_grid

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.mark.slow
def test_python_blocks_run_one_after_another(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SNN_ESTIMATORS_HOME", str(tmp_path / "home"))
    few = partial(largest_twin_within, shapes=[(1, 16), (1, 40)])
    monkeypatch.setattr("snn_estimators.sweep.baselines.largest_twin_within", few)
    names: dict = {}
    for block in blocks("python"):
        exec(compile(in_short(block), "README.md", "exec"), names)
    assert (tmp_path / "results" / "ten-lines" / "results.csv").is_file()


def in_short(block):
    """The same with less text, and a tenth of all steps and of what is generated."""
    counts = r"\b(max_steps|steps_per_epoch|save_every_n_steps|max_new_tokens)=(\d+)"
    block = re.sub(counts, lambda found: f"{found[1]}={max(1, int(found[2]) // 10)}", block)
    return block.replace("4_000", "1_500")


def test_the_headline_is_that_of_the_results():
    assert (ROOT / "results" / "recipes" / "headline.md").read_text() in README


def test_linked_files_and_headings_exist():
    results = (ROOT / "results" / "README.md").read_text("utf-8")
    for target in re.findall(r"\]\((?!http)([^)]+)\)", README):
        file, _, fragment = target.partition("#")
        assert (ROOT / file).exists(), target
        if fragment:  # the contents of results/README.md link every heading
            assert file == "results/README.md"
            assert f"(#{fragment})" in results, target


def test_readme_is_short_and_names_one_command_for_all_tests():
    assert len(README.splitlines()) <= 250
    marked = re.findall(r"<!-- test command -->\n```bash\n(.+)\n```", README)
    assert len(marked) == 1
    assert "pytest" in marked[0]


@pytest.mark.slow
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

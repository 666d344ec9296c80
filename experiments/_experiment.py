"""What the experiments share: a command line, a cross-validated grid, and the files of a result."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from snn_estimators.model_selection import check_writable, describe_run
from snn_estimators.sweep import Sweep, sweep_model


def argument_parser(file: str, description: str | None) -> argparse.ArgumentParser:
    """Make the parser of an experiment, whose results go to ``results/`` and its own name."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--output", default=f"results/{Path(file).stem}", help="(%(default)s)")
    parser.add_argument("--jobs", type=int, default=None, help="fits at a time (one a core)")
    parser.add_argument("--memory", help="folder that keeps finished fits for another run")
    parser.add_argument("--quick", action="store_true", help="a few steps: does everything run?")
    return parser


def parse_arguments(file: str, description: str | None) -> argparse.Namespace:
    """Parse the command line of an experiment on a corpus."""
    parser = argument_parser(file, description)
    parser.add_argument("--corpus", default="python-docs", help="name or path (%(default)s)")
    return parser.parse_args()


def sweep(
    file: str,
    description: str | None,
    grid: Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Sequence[Any]]],
    *,
    length: int,
    characters: int,
    folds: int = 2,
    **parameters: Any,
) -> None:
    """Cross-validate a grid as the command line asks, print the table and write it."""
    options = parse_arguments(file, description)
    if options.quick:
        grids = [grid] if isinstance(grid, Mapping) else grid
        grid = [{name: ends(values) for name, values in one.items()} for one in grids]
        length, folds = min(length, 16), 2
        characters = 10 * (length + 1)
        parameters |= {"max_steps": 2, "steps_per_epoch": 2, "batch_size": 8}
        parameters |= {"blocks": 1, "timesteps": 1}
    result = Sweep(
        grid,
        options.corpus,
        estimator=sweep_model(length=length, **parameters),
        length=length,
        limit=characters,
        folds=folds,
        n_jobs=options.jobs,
        output=options.output,
        baselines=not options.quick,
        progress=True,
        command=["python", *sys.argv],
    ).run()
    print(result.table.to_string(index=False, float_format="{:.4g}".format))


def ends(values: Sequence[Any]) -> list[Any]:
    """Return the first and the last of some values."""
    return [values[0], values[-1]] if len(values) > 1 else list(values)


def write_results(
    folder: str | Path, text: str, run: Mapping[str, Any], table: pd.DataFrame | None = None
) -> None:
    """Write a table that `write_tables` does not know: for people, and as CSV if it is given."""
    folder = check_writable(folder)
    (folder / "results.md").write_text(f"{text}\n", encoding="utf-8")
    (folder / "run.json").write_text(f"{json.dumps(run, indent=2)}\n", encoding="utf-8")
    if table is not None:
        table.to_csv(folder / "results.csv", index=False)


def write_benchmark(file: str, tables: Sequence[pd.DataFrame], seconds: float) -> None:
    """Print tables of times on one thread and write them to ``results/``."""
    text = "\n\n".join(table.to_markdown(index=False, floatfmt=".1f") for table in tables)
    run = describe_run(parameters={"threads": 1}, duration=seconds, command=["python", *sys.argv])
    write_results(f"results/{Path(file).stem}", text, run)
    print(text)

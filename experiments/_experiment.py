"""What all experiments share: their command line, and where their tables go."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from snn_estimators._files import replace_file
from snn_estimators.model_selection import check_writable, describe_run
from snn_estimators.sweep import Sweep, sweep_model


def parse_arguments(file: str, description: str | None) -> argparse.Namespace:
    """Parse the command line of an experiment; its tables go to ``results/`` and its own name."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--corpus", default="python-docs", help="name or path (%(default)s)")
    parser.add_argument("--output", default=f"results/{Path(file).stem}", help="(%(default)s)")
    parser.add_argument("--jobs", type=int, default=None, help="fits at a time (one a core)")
    parser.add_argument("--quick", action="store_true", help="a few steps: does everything run?")
    return parser.parse_args()


def write_benchmark(
    file: str, tables: Sequence[pd.DataFrame], seconds: float, output: str | None = None
) -> None:
    """Print tables and leave them with the story of the run, in ``results/`` if nowhere else."""
    folder = check_writable(output or f"results/{Path(file).stem}")
    text = "\n\n".join(table.to_markdown(index=False, floatfmt=".1f") for table in tables)
    run = describe_run(parameters={"threads": 1}, duration=seconds, command=["python", *sys.argv])
    write_files(folder, {"results.md": f"{text}\n", "run.json": f"{json.dumps(run, indent=2)}\n"})
    print(text)


def write_files(folder: str | Path, contents: Mapping[str, str]) -> None:
    """Write files by name, each as a whole or not at all."""
    for name, content in contents.items():
        replace_file(Path(folder, name), content.encode())


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
        characters = min(characters, 4000)
        parameters |= {"max_steps": 2, "steps_per_epoch": 2}
    result = Sweep(
        grid,
        options.corpus,
        estimator=sweep_model(length=length, **parameters),
        length=length,
        limit=characters,
        folds=folds,
        n_jobs=options.jobs,
        output=options.output,
        progress=True,
        command=["python", *sys.argv],
    ).run()
    print(result.table.to_string(index=False, float_format="{:.4g}".format))

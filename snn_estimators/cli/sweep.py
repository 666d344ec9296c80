"""The command ``sweep``: its options and its output."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer

from snn_estimators.cli import options
from snn_estimators.cli.terminal import show

__all__ = ["sweep"]

_INTERRUPTED, _TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM


def _axis(default: str) -> Any:
    """Make the option of a parameter that is compared by default."""
    return typer.Option(metavar="V1,V2", help="SpikeDecoder's values to try.", show_default=default)


def sweep(
    corpora: Annotated[
        list[str] | None,
        typer.Argument(help="Corpora (see `corpora`), text files, or folders of them."),
    ] = None,
    levels: Annotated[str | None, _axis("8,16,32")] = None,
    heads: Annotated[str | None, _axis("1,5")] = None,
    encoding: Annotated[str | None, _axis("learned,two-hot")] = None,
    grid: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=V1,V2", help="Any other parameter's values; repeatable."),
    ] = None,
    fixed: options.Set = None,
    model: Annotated[
        options.LanguageModelName, typer.Option(help="What to compare.")
    ] = options.LanguageModelName.spikedecoder,
    folds: Annotated[int, typer.Option(min=2, help="Contiguous cross-validation folds.")] = 2,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Seeds for each candidate, from --seed on.")
    ] = None,
    halving: Annotated[
        int | None,
        typer.Option(min=2, metavar="N", help="Train all a little, the best 1/N N times as long."),
    ] = None,
    budget: Annotated[
        str | None, typer.Option(help="Stop after so many fits, or a time such as 30min or 2h.")
    ] = None,
    cost: Annotated[
        options.Cost, typer.Option(help="What the Pareto front weighs against perplexity.")
    ] = options.Cost.total_with_memory,
    baselines: Annotated[
        bool, typer.Option(help="Add n-grams and the best candidate's twins to the table.")
    ] = True,
    jobs: Annotated[int | None, typer.Option(help="Fits at a time; default: one a core.")] = None,
    engine: Annotated[
        str, typer.Option(help="loky, dask, dask://HOST:PORT, ray or ray://HOST:PORT.")
    ] = "loky",
    epochs: options.Epochs = None,
    steps: options.Steps = None,
    length: options.Length = 64,
    limit: options.Limit = 80_000,
    clean: options.Clean = True,
    preset: options.Preset = None,
    device: options.Device = "auto",
    seed: options.Seed = 0,
    track: Annotated[
        str | None, typer.Option(help="Log each fit to tensorboard or mlflow.")
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder for tables and plots.")] = Path(
        "results/sweep"
    ),
    memory: Annotated[
        Path | None, typer.Option(help="Folder of the fits; default: .memory in --output.")
    ] = None,
    skip_impossible: Annotated[
        bool,
        typer.Option(
            "--skip-impossible", help="Give what cannot be built a row with the reason, and go on."
        ),
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start from scratch: delete this sweep's fits.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Resume the sweep; the default without --fresh.")
    ] = False,
) -> None:
    """Grid-search parameters on real text; leave a perplexity and energy table.

    After an interruption, the same command resumes the sweep.
    """
    if fresh and resume:
        raise ValueError("--fresh starts from scratch, --resume does not: give one of the two")
    axes = {"levels": levels, "heads": heads, "encoding": encoding}
    listed = [f"{name}={values}" for name, values in axes.items() if values is not None]
    if listed and model is not options.LanguageModelName.spikedecoder:
        raise ValueError(
            "--levels, --heads and --encoding are SpikeDecoder's here: "
            f"with --model {model} use --grid NAME=V1,V2"
        )
    with _report_interrupts():
        from snn_estimators.model_selection import present
        from snn_estimators.sweep import Sweep, TablesNotWrittenError, sweep_model

        settings = options.read_settings(fixed, epochs, steps)
        parameters: dict[str, Any] = {"device": device, "random_state": seed} | settings
        estimator = sweep_model(preset, model=model, length=length, clean=clean, **parameters)
        plan = Sweep(
            _grid(estimator, model, [*listed, *(grid or [])], settings),
            corpora or "python-docs",
            model=model,
            estimator=estimator,
            length=length,
            limit=limit,
            clean=clean,
            folds=folds,
            seeds=seeds,
            budget=budget,
            halving=halving,
            cost=str(cost),
            baselines=baselines,
            engine=engine,
            n_jobs=jobs,
            track=track,
            memory=memory,
            fresh=fresh,
            impossible="skip" if skip_impossible else "raise",
            output=output,
            progress=True,
            command=["snn-estimators", *sys.argv[1:]],
        )
        try:
            result = plan.run()
        except TablesNotWrittenError as error:
            show(present(error.result.table, brief=True))
            raise
    if not result.table.empty:
        show(present(result.table, brief=True))
    _report(result.run, output, plan.memory_folder, fresh)


def _report(run: dict[str, Any], output: Path, memory: Path | None, fresh: bool) -> None:
    """Print what was done, where it is, and what is left to do."""
    fits, candidates = run["fits"], run["candidates"]
    if fits["taken_over"]:
        typer.echo(
            f"{fits['taken_over']} of {fits['done']} fits are those of earlier runs "
            "(--fresh starts from scratch)"
        )
    typer.echo(f"Tables, plots and run.json are in {output}")
    if not run["complete"]:
        without = " without --fresh" if fresh else ""
        typer.echo(
            f"The budget is spent, and {candidates['done']} of {candidates['planned']} candidates "
            f"are done: run the same command again{without} to resume"
        )
    elif memory is not None:
        here = memory.relative_to(Path.cwd()) if memory.is_relative_to(Path.cwd()) else memory
        typer.echo(
            f"The fits take {run['memory_megabytes']:.1f} MB in {here}, "
            "which may be deleted when no sweep is to be resumed from it"
        )


@contextmanager
def _report_interrupts() -> Iterator[None]:
    """Handle SIGTERM as Ctrl-C, and report either by a message and an exit code.

    Schedulers, containers and services end a process by SIGTERM: its workers must end with it.
    """
    terminated = False

    def interrupt(_: int, frame: FrameType | None) -> None:
        nonlocal terminated
        terminated = True
        on_ctrl_c = signal.getsignal(signal.SIGINT)  # a fit may handle it
        if callable(on_ctrl_c):
            on_ctrl_c(signal.SIGINT, frame)
        else:
            raise KeyboardInterrupt

    former = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    except KeyboardInterrupt as error:
        typer.echo(str(error) or "interrupted before the first fit: nothing was started", err=True)
        raise typer.Exit(_TERMINATED if terminated else _INTERRUPTED) from error
    finally:
        signal.signal(signal.SIGTERM, former)


def _grid(estimator: Any, model: str, listed: list[str], fixed: Iterable[str]) -> dict[str, Any]:
    """Merge the listed parameters with the default ones that are neither listed nor fixed."""
    from snn_estimators.model_selection.grids import parse_grid, resolve_parameters
    from snn_estimators.sweep import DEFAULT_GRIDS

    chosen = resolve_parameters(estimator, parse_grid(listed))
    settled = resolve_parameters(estimator, dict.fromkeys(fixed))
    for name in chosen.keys() & settled.keys():
        raise ValueError(f"{name!r} is fixed and has values to try, too: give one of the two")
    axes = resolve_parameters(estimator, DEFAULT_GRIDS[model])
    return {name: values for name, values in axes.items() if name not in settled} | chosen

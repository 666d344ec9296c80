"""The command ``sweep``: its options, and what it prints."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer

from snn_estimators.cli.options import (
    Clean,
    Device,
    Epochs,
    Kind,
    Length,
    Limit,
    Preset,
    Seed,
    Set,
    Steps,
    read_settings,
)
from snn_estimators.cli.terminal import show

__all__ = ["sweep"]

_INTERRUPTED, _TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM


def _axis(default: str) -> Any:
    """Make the option of a parameter that is compared unless --set fixes it."""
    return typer.Option(metavar="V1,V2", help="SpikeDecoder's values to try.", show_default=default)


def sweep(
    corpora: Annotated[
        list[str] | None,
        typer.Argument(help="Corpora (see `corpora`), text files, or folders of them."),
    ] = None,
    timesteps: Annotated[str | None, _axis("1,2,4")] = None,
    heads: Annotated[str | None, _axis("1,5")] = None,
    encoding: Annotated[str | None, _axis("learned,two-hot")] = None,
    grid: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=V1,V2", help="Any other parameter's values; repeatable."),
    ] = None,
    fixed: Set = None,
    kind: Annotated[Kind, typer.Option("--model", help="What to compare.")] = Kind.spikedecoder,
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
    jobs: Annotated[int | None, typer.Option(help="Fits at a time; default: one a core.")] = None,
    engine: Annotated[
        str, typer.Option(help="loky, dask, dask://HOST:PORT, ray or ray://HOST:PORT.")
    ] = "loky",
    epochs: Epochs = None,
    steps: Steps = None,
    length: Length = 64,
    limit: Limit = 80_000,
    clean: Clean = True,
    preset: Preset = None,
    device: Device = "auto",
    seed: Seed = 0,
    track: Annotated[
        str | None, typer.Option(help="Follow each fit: tensorboard or mlflow.")
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder for tables and plots.")] = Path(
        "results/sweep"
    ),
    store: Annotated[
        Path | None, typer.Option(help="Folder of the fits; default: .store in --output.")
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Begin anew: forget what is stored of this sweep.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with what is stored, as without --fresh.")
    ] = False,
) -> None:
    """Grid-search parameters on real text; leave a perplexity and energy table.

    Interrupted or killed, the same command goes on where it stopped.
    """
    if fresh and resume:
        raise ValueError("--fresh begins anew and --resume goes on: give one of the two")
    axes = {"timesteps": timesteps, "heads": heads, "encoding": encoding}
    listed = [f"{name}={values}" for name, values in axes.items() if values is not None]
    if listed and kind is not Kind.spikedecoder:
        raise ValueError(
            "--timesteps, --heads and --encoding are SpikeDecoder's: "
            f"with --model {kind} use --grid NAME=V1,V2"
        )
    with _stopping_in_words():
        from snn_estimators.model_selection import present
        from snn_estimators.sweep import Sweep, TablesNotWrittenError, sweep_model

        settings = read_settings(fixed, epochs, steps)
        recipe: dict[str, Any] = {"device": device, "random_state": seed} | settings
        model = sweep_model(preset, family=kind, length=length, clean=clean, **recipe)
        plan = Sweep(
            _grid(model, kind, [*listed, *(grid or [])], settings),
            corpora or "python-docs",
            family=kind,
            estimator=model,
            length=length,
            limit=limit,
            clean=clean,
            folds=folds,
            seeds=seeds,
            budget=budget,
            halving=halving,
            engine=engine,
            n_jobs=jobs,
            track=track,
            store=store,
            fresh=fresh,
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
    _tell(result.run, output, plan.store_folder, fresh)


def _tell(run: dict[str, Any], output: Path, store: Path | None, fresh: bool) -> None:
    """Say what was done, where it is, and what is left to do."""
    fits, candidates = run["fits"], run["candidates"]
    if fits["taken_over"]:
        typer.echo(
            f"{fits['taken_over']} of {fits['done']} fits are those of earlier runs "
            "(--fresh begins anew)"
        )
    typer.echo(f"Tables, plots and run.json are in {output}")
    if not run["complete"]:
        afresh = " without --fresh" if fresh else ""
        typer.echo(
            f"The budget is spent, and {candidates['done']} of {candidates['planned']} candidates "
            f"are done: run the same command again{afresh} to go on"
        )
    elif store is not None:
        here = store.relative_to(Path.cwd()) if store.is_relative_to(Path.cwd()) else store
        typer.echo(
            f"The fits take {run['store_megabytes']:.1f} MB in {here}, "
            "which may be deleted when no sweep is to go on from there"
        )


@contextmanager
def _stopping_in_words() -> Iterator[None]:
    """Take SIGTERM for Ctrl-C, and tell of either in a sentence and an exit code.

    Schedulers, containers and services end a process by SIGTERM: its workers must end with it.
    """
    terminated = False

    def interrupt(_: int, frame: FrameType | None) -> None:
        nonlocal terminated
        terminated = True
        on_ctrl_c = signal.getsignal(signal.SIGINT)  # a fit may have its own way with it
        if callable(on_ctrl_c):
            on_ctrl_c(signal.SIGINT, frame)
        else:
            raise KeyboardInterrupt

    former = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    except KeyboardInterrupt as error:
        typer.echo(str(error) or "interrupted before the first fit: nothing was begun", err=True)
        raise typer.Exit(_TERMINATED if terminated else _INTERRUPTED) from error
    finally:
        signal.signal(signal.SIGTERM, former)


def _grid(model: Any, family: str, listed: list[str], fixed: Iterable[str]) -> dict[str, Any]:
    """Join what is listed by hand with the default axes that are neither listed nor fixed."""
    from snn_estimators.model_selection.grids import parse_grid, resolve_parameters
    from snn_estimators.sweep import DEFAULT_GRIDS

    chosen = resolve_parameters(model, parse_grid(listed))
    settled = resolve_parameters(model, dict.fromkeys(fixed))
    for name in chosen.keys() & settled.keys():
        raise ValueError(f"{name!r} is fixed and has values to try, too: give one of the two")
    axes = resolve_parameters(model, DEFAULT_GRIDS[family])
    return {name: values for name, values in axes.items() if name not in settled} | chosen

"""The command line: sweep, fit, models, score, generate, energy, corpora.

Each command reads its options, calls the library and prints the result. Imports stand inside the
commands, so that each command imports only what it needs.
"""

from __future__ import annotations

import io
import string
import sys
import traceback
import warnings
from typing import Annotated, Any

import typer

from snn_estimators.cli import options
from snn_estimators.cli.sweep import sweep
from snn_estimators.cli.terminal import show

__all__ = ["app", "main"]

app = typer.Typer(
    name="snn-estimators",
    help="Spiking language models: train, compare, generate, and see what they cost in energy.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)

Corpus = Annotated[
    str, typer.Argument(help="A corpus (see `corpora`), a text file, or a folder of them.")
]
Model = Annotated[str, typer.Argument(help="A saved model: its folder or its name.")]
_CLEANED = frozenset(string.ascii_lowercase + ".' ")


@app.callback()
def command_line(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Train, compare and run spiking language models, and see what they cost in energy."""


app.command()(sweep)


@app.command()
def fit(
    corpus: Corpus,
    output: Annotated[
        str | None, typer.Option(help="Folder or name to save the fitted model under.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name to save checkpoints under while it trains.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Resume the fit of that --name, or start it.")
    ] = False,
    save_every: Annotated[
        int | None, typer.Option(min=1, help="Steps between two checkpoints; default: an epoch.")
    ] = None,
    model: Annotated[
        options.LanguageModelName, typer.Option(help="What to train.")
    ] = options.LanguageModelName.spikedecoder,
    fixed: options.Set = None,
    epochs: options.Epochs = None,
    steps: options.Steps = None,
    length: options.Length = 128,
    limit: options.Limit = None,
    clean: options.Clean = False,
    preset: options.Preset = None,
    device: options.Device = "auto",
    seed: options.Seed = 0,
) -> None:
    """Train a model on text, and save it; the last tenth of the text is held out to score it."""
    from snn_estimators._torch import check_device
    from snn_estimators.estimators import language_model_class
    from snn_estimators.model_selection.grids import set_parameters
    from snn_estimators.persistence.named_run import check_name_is_free
    from snn_estimators.persistence.names import models_home, resolve_name
    from snn_estimators.sweep import prepare_text
    from snn_estimators.text import CharTokenizer

    if output is None and name is None:
        raise ValueError("say where to save the model: --output FOLDER, or --name NAME")
    check_device(device)
    if name is not None:
        run = check_name_is_free(name, resume)  # before hours of training
        if output is not None and resolve_name(output).resolve() == run.folder.resolve():
            raise ValueError(f"--name {name} saves there already: leave --output out")
    if output is not None:
        _check_output(output)
    text = prepare_text(corpus, clean=clean, limit=limit)
    kind: Any = language_model_class(model.value)
    estimator = kind() if preset is None else kind.from_preset(preset)
    parameters = {
        "tokenizer": CharTokenizer("spikedecoder") if clean else "char",
        kind.WINDOW: length,
        "device": device,
        "random_state": seed,
        "verbose": 1,
        "name": name,
        "resume": resume,
        "save_every_n_steps": save_every,
    } | options.read_settings(fixed, epochs, steps)
    set_parameters(estimator, parameters)
    split = len(text) - len(text) // 10
    try:
        estimator.fit([text[:split]])
    except FloatingPointError as error:
        if output is None or getattr(estimator, "n_steps_", 0) == 0:
            raise
        saved = estimator.save_pretrained(output)
        raise FloatingPointError(f"{error} The model up to there is saved in {saved}.") from error
    saved = estimator.save_pretrained(output) if output else models_home() / str(name)
    typer.echo(f"saved in {saved}")
    if len(estimator.tokenizer_.transform([text[split:]])[0]) > 1:
        _print_scores(estimator, [text[split:]])
    else:
        typer.echo("the held-out tenth of the text has no two tokens: too little to score")


@app.command()
def score(
    model: Model, corpus: Corpus, limit: options.Limit = None, device: options.Device = "auto"
) -> None:
    """Print a saved model's perplexity, bits per character and accuracy on text.

    Text is cleaned first for a model that was trained on cleaned text.
    """
    fitted = _load(model, device)
    _print_scores(fitted, [_text_for(fitted, corpus, limit)])


@app.command()
def generate(
    model: Model,
    prompt: Annotated[str, typer.Argument(help="Text to continue.")] = "the ",
    tokens: Annotated[int, typer.Option(min=1, help="Tokens to add.")] = 200,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 is greedy.")] = 1.0,
    top_k: Annotated[int | None, typer.Option(min=1, help="Sample from the k likeliest.")] = None,
    top_p: Annotated[
        float | None, typer.Option(help="Sample from the likeliest with this total probability.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the random numbers.")] = None,
    device: options.Device = "auto",
) -> None:
    """Continue a prompt, writing as it goes."""
    from snn_estimators.text import TextCleaner

    fitted = _load(model, device)
    prompt = TextCleaner().transform([prompt])[0] if _wants_clean(fitted) else prompt
    pieces = fitted.generate(
        prompt,
        max_new_tokens=tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        random_state=seed,
        stream=True,
    )
    # Options and prompt are checked by now: nothing is printed before an error.
    separator = "" if prompt[-1:].isspace() else _separator(fitted)
    typer.echo(prompt + separator, nl=False)
    for piece in pieces:
        typer.echo(piece, nl=False)
        sys.stdout.flush()
    typer.echo()


@app.command()
def energy(
    model: Model,
    corpus: Corpus,
    limit: options.Limit = 20_000,
    device: options.Device = "auto",
    profile: Annotated[str, typer.Option(help="Prices, such as 45nm-int8.")] = "45nm-sram",
) -> None:
    """Show the energy of one token in each layer of a saved model, on text."""
    from snn_estimators.energy import summarize

    fitted = _load(model, device)
    table = fitted.energy([_text_for(fitted, corpus, limit)], profile=profile)
    columns = ["layer", "kind", "spike_rate", "accumulates", "macs", "weight_reads", "energy_pj"]
    columns += ["normalization_pj", "neuron_pj", "function_pj", "memory_pj", "ann_total_pj"]
    numbers = table[columns].map(
        lambda value: f"{value:.4g}" if isinstance(value, float) else value
    )
    show(numbers.replace("nan", ""))
    total = summarize(table)
    typer.echo(f"nJ per token of {total['length']:.0f}; the non-spiking twin's; share of that")
    for name, own, twin, share in (
        ("in synapses", "synaptic_nj", total["ann_nj"], "relative"),
        ("all operations", "total_nj", total["ann_total_nj"], "relative_total"),
        (
            "with memory",
            "total_with_memory_nj",
            total["ann_total_nj"] + total["ann_memory_nj"],
            "relative_with_memory",
        ),
    ):
        typer.echo(f"{name:<15}{total[own]:>10.4g}{twin:>10.4g}{100 * total[share]:>8.1f} %")


@app.command()
def models() -> None:
    """List what is saved under a name: models, and fits with their checkpoints."""
    from snn_estimators.persistence.catalog import saved_models
    from snn_estimators.persistence.names import models_home

    table = saved_models()
    if table.empty:
        typer.echo(f"nothing is saved in {models_home()}")
        return
    rounded = table.round({"loss": 3, "best_valid_loss": 3, "megabytes": 1}).astype(object)
    show(rounded.where(table.notna(), ""))


@app.command()
def corpora() -> None:
    """List the corpora that need no download, and how to name others."""
    from snn_estimators.text import available_corpora

    show(available_corpora())


def _check_output(output: str) -> None:
    """Raise an error if no model can be saved there."""
    from snn_estimators.model_selection import check_writable
    from snn_estimators.persistence.model_files import check_replaceable
    from snn_estimators.persistence.names import resolve_name

    folder = resolve_name(output)
    check_replaceable(folder)
    check_writable(folder.parent)


def _load(model: str, device: str) -> Any:
    from snn_estimators.estimators import LanguageModel
    from snn_estimators.estimators.pretrained_io import load_pretrained

    fitted = load_pretrained(model, device=device)
    if not isinstance(fitted, LanguageModel):
        raise ValueError(
            f"{model} is a {type(fitted).__name__}, not a language model: use it from Python, "
            f"{type(fitted).__name__}.from_pretrained({model!r}).predict(texts)"
        )
    if fitted.tokenizer is None:
        raise ValueError(f"{model} knows token ids, not text: use it from Python")
    return fitted


def _text_for(model: Any, corpus: str, limit: int | None) -> str:
    """Load text, cleaned if the model was trained on cleaned text."""
    from snn_estimators.sweep import prepare_text

    return prepare_text(corpus, clean=_wants_clean(model), limit=limit)


def _wants_clean(model: Any) -> bool:
    """Whether a model's tokenizer was fitted on cleaned text."""
    tokenizer = model.tokenizer_
    if str(getattr(tokenizer, "alphabet", None)).startswith("spikedecoder"):
        return True
    special = (tokenizer.unknown_id_, tokenizer.padding_id_)
    tokens = (token for i, token in enumerate(tokenizer.vocabulary_) if i not in special)
    return all(map(_CLEANED.issuperset, getattr(tokenizer, "characters_", tokens)))


def _separator(model: Any) -> str:
    """Return the text that the model's tokenizer puts between two tokens."""
    one, two = model.tokenizer_.decode_stream([0, 0])
    return two.removesuffix(one)


def _print_scores(model: Any, documents: list[str]) -> None:
    """Print the scores of a model, also of an interrupted fit."""
    from snn_estimators.model_selection.scoring import quality

    totals = model.evaluate(documents)
    seen = quality(totals)
    typer.echo(f"perplexity          {seen['perplexity']:.3f}")
    typer.echo(f"bits per character  {seen['bits_per_character']:.3f}")
    typer.echo(f"accuracy            {100 * seen['accuracy']:.2f} %")
    if totals["unknown_rate"]:
        typer.echo(f"unknown tokens      {100 * totals['unknown_rate']:.2f} %")


def main() -> None:
    """Run the command line; an error becomes one sentence and exit code 2."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # for a terminal that lacks some characters
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    try:
        app(arguments)
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        sys.exit(130)
    except Exception as error:
        if len(arguments) < len(sys.argv) - 1:
            traceback.print_exc()
        else:
            sentence = " ".join(str(error).split()) or type(error).__name__
            typer.echo(f"error: {sentence}", err=True)
        sys.exit(2)

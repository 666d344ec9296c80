from __future__ import annotations

import json
import re
import subprocess
import sys
import time

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
    (tmp_path / "song.txt").write_text("Row, row, row your boat, gently down! " * 20)
    return path


@pytest.fixture
def no_fit(monkeypatch):
    from snn_estimators.sweep import sweep

    monkeypatch.setattr(sweep.Runner, "run", lambda *_: pytest.fail("a fit was started"))


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
        *("results.csv", "results.md", "results.tex", "pareto.png", "effects.png", "run.json"),
        *("fits.csv", ".store"),
    }


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
        (["--jobs", "0"], "n_jobs must be a whole number but 0"),
        (["--grid", "heads=5"], "'heads' is given twice"),
        (["--grid", "module__heads=5"], "'module__heads' twice"),
        (["--set", "heads=5"], "'module__heads' is fixed and has values to try"),
        (["--set", "module__heads=5"], "'module__heads' is fixed and has values to try"),
        (["--grid", "max_steps=5,6"], "'max_steps' is fixed and has values to try"),
        (["--model", "spikegpt"], "--timesteps, --heads and --encoding are SpikeDecoder's"),
        (["--engine", "spark"], "no engine 'spark'"),
        (["--engine", "dask://127.0.0.1:9"], "does not answer"),
        (["--budget", "much"], "budget must be a number of fits"),
        (["--fresh", "--resume"], "--fresh begins anew and --resume goes on: give one of the two"),
        (["--set", "name=mine"], "leave name=None"),
        (["--track", "paper"], "choose tensorboard or mlflow"),
    ],
)
def test_mistakes_in_a_sweep_are_one_sentence(no_fit, run, tale, tmp_path, arguments, message):
    code, _, errors = run("sweep", tale, "--output", tmp_path / "out", *TINY_SWEEP, *arguments)
    assert code == 2
    assert message in errors
    seen = errors.rpartition("\r")[2]  # of a bar that was taken away
    assert seen.startswith("error: ")
    assert len(seen.splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.fixture
def asked(monkeypatch):
    """Keep what a sweep is asked to do, and stop there."""
    from snn_estimators import sweep as sweep_room

    calls = []

    class Asked(model_selection.Sweep):
        def run(self):
            calls.append((self.grid, self.estimator.get_params()))
            raise ValueError("enough")

    monkeypatch.setattr(sweep_room, "Sweep", Asked)
    return calls


def test_what_is_set_is_no_longer_compared(run, tale, asked):
    run(
        "sweep", tale, "--set=timesteps=8", "--set=module__encoding=two-hot", "--set=random_state=7"
    )
    run("sweep", tale, "--heads=1,2", "--grid=module__timesteps=3", "--grid=random_state=1,2")
    (fixed, parameters), (listed, _) = asked
    assert fixed == {"module__heads": [1, 5]}
    assert parameters["module__timesteps"] == 8
    assert parameters["module__encoding"] == "two-hot"
    assert parameters["random_state"] == 7
    assert listed == {
        "module__timesteps": [3],
        "module__heads": [1, 2],
        "module__encoding": ["learned", "two-hot"],
        "random_state": [1, 2],
    }


def test_the_default_axes_are_those_that_help_shows(run, tale, asked):
    from snn_estimators.sweep.defaults import DEFAULT_GRIDS

    grid = DEFAULT_GRIDS["spikedecoder"]

    run("sweep", tale)
    assert asked[0][0] == {f"module__{name}": values for name, values in grid.items()}
    _, text, _ = run("sweep", "--help")
    for values in grid.values():
        assert f"({','.join(map(str, values))})" in text


def test_a_sweep_stops_at_its_budget_and_goes_on(run, tale, tmp_path):
    command = ["sweep", tale, "--output", tmp_path / "out", *TINY_SWEEP]
    code, output, errors = run(*command, "--budget=3")
    assert code == 0, errors
    assert "1 of 2 candidates are done: run the same command again" in output
    assert "MB" not in output
    code, output, errors = run(*command)
    assert code == 0, errors
    assert "3 of 4 fits are those of earlier runs" in output
    last = output.splitlines()[-1]
    assert re.fullmatch(
        r"The fits take \d+\.\d MB in .*\.store, which may be deleted when .*", last
    )
    assert len(pd.read_csv(tmp_path / "out" / "results.csv")) == 2
    code, output, errors = run(*command, "--fresh")
    assert "earlier runs" not in output


def test_a_budget_for_no_candidate_says_so(run, tale, tmp_path):
    code, output, errors = run(
        "sweep", tale, "--output", tmp_path / "out", *TINY_SWEEP, "--budget=1"
    )
    assert code == 0, errors
    assert output.splitlines() == [
        f"Tables, plots and run.json are in {tmp_path / 'out'}",
        "The budget is spent, and 0 of 2 candidates are done: run the same command again to go on",
    ]


def test_the_way_on_is_not_to_begin_anew(run, tale, tmp_path):
    command = ["sweep", tale, "--output", tmp_path / "out", *TINY_SWEEP, "--budget=2"]
    _, output, _ = run(*command, "--fresh")
    way = "run the same command again without --fresh to go on"
    assert output.splitlines()[-1].endswith(f"1 of 2 candidates are done: {way}")
    _, output, _ = run(*command)
    assert "2 of 4 fits are those of earlier runs" in output


def test_ctrl_c_among_the_last_files_does_not_say_that_nothing_was_begun(
    run, tale, tmp_path, monkeypatch
):
    from snn_estimators.sweep import outputs

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(outputs, "write_tables", interrupted)
    code, _, errors = run("sweep", tale, "--output", tmp_path / "out", *TINY_SWEEP, "--fresh")
    assert code == 130
    assert errors.splitlines()[-1].startswith("interrupted with 4 of 4 fits done")
    assert errors.splitlines()[-1].endswith("run the same again without fresh to go on from there")


def test_ctrl_c_says_how_to_go_on(run, tale, tmp_path, monkeypatch):
    from snn_estimators import SpikeDecoderLM

    def train_step(self, *args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(SpikeDecoderLM, "train_step", train_step)
    code, _, errors = run("sweep", tale, "--output", tmp_path / "out", *TINY_SWEEP)
    assert code == 130
    assert errors.splitlines()[-1].startswith("interrupted with 0 of 4 fits done")
    assert errors.splitlines()[-1].endswith("run the same again to go on from there")


def test_spikegpt_is_swept_with_seeds_and_halving(run, tale, tmp_path):
    code, _, errors = run(
        "sweep", tale, tale.parent / "song.txt", "--model=spikegpt", "--set=n_layer=1",
        "--set=n_embd=8", "--steps=2", "--length=16", "--jobs=1", "--seeds=2", "--halving=2",
        "--output", tmp_path / "out",
    )  # fmt: skip
    assert code == 0, errors
    table = pd.read_csv(tmp_path / "out" / "results.csv")
    assert set(table["spikes"]) == {"residual", "everywhere", "none"}
    assert set(table["corpus"]) == {"tale.txt", "song.txt"}
    assert table["n_resources"].value_counts().to_dict() == {1: 6, 2: 4}
    assert "Δ perplexity" in (tmp_path / "out" / "results.md").read_text()


def test_a_table_that_cannot_be_written_is_printed_all_the_same(run, tale, tmp_path, monkeypatch):
    from snn_estimators.sweep import outputs

    def full(*args, **kwargs):
        raise OSError("no space left on device")

    monkeypatch.setattr(outputs, "write_tables", full)
    code, output, errors = run("sweep", tale, "--output", tmp_path / "out", *TINY_SWEEP)
    assert code == 2
    assert "perplexity" in output
    assert "the sweep is done" in errors
    assert "no space left" in errors


def test_bad_corpora_are_refused(no_fit, run, tmp_path):
    (tmp_path / "empty.txt").touch()
    (tmp_path / "digits.txt").write_text("123 456")
    for corpus in ("empty.txt", "digits.txt", "missing.txt"):
        code, _, errors = run("sweep", tmp_path / corpus, "--output", tmp_path / "out")
        assert code == 2
        assert errors.startswith("error: ")
        assert corpus in errors
    code, _, errors = run("sweep", "alphabet", "alphabet", "--output", tmp_path / "out")
    assert code == 2
    assert errors == "error: the corpus 'alphabet' is listed twice: name it once\n"
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


TINY_FIT = ["--steps=3", "--length=16", "--set=blocks=1", "--set=timesteps=1", "--set=heads=1"]


BPE = ["--set=tokenizer=bpe", "--set=tokenizer__vocab_size=270"]


@pytest.mark.parametrize("tokenizer", [["--set=tokenizer=word"], ["--set=tokenizer=char"], BPE])
def test_models_of_cleaned_text_clean_whatever_they_are_given(run, tale, tmp_path, tokenizer):
    model = tmp_path / "model"
    code, _, errors = run("fit", tale, "--output", model, "--clean", *tokenizer, *TINY_FIT)
    assert code == 0, errors
    clean = tmp_path / "clean.txt"
    clean.write_text("the cat. the dog. " * 9)
    raw = tmp_path / "raw.txt"
    raw.write_text("THE CAT!\nThe;Dog? " * 9)
    assert run("score", model, raw) == run("score", model, clean)
    assert run("energy", model, raw) == run("energy", model, clean)
    output = run("generate", model, "The CAT!", "--tokens=5", "--seed=1")[1]
    assert output.startswith("the cat. ")
    assert output == run("generate", model, "the cat. ", "--tokens=5", "--seed=1")[1]


def test_models_of_raw_text_take_it_as_it_is(run, tale, tmp_path):
    model = tmp_path / "model"
    code, _, errors = run("fit", tale, "--output", model, "--raw", *BPE, *TINY_FIT)
    assert code == 0, errors
    assert run("generate", model, "The CAT!", "--tokens=5")[1].startswith("The CAT!")


def test_a_word_model_sets_its_words_apart_from_the_prompt(run, tale, tmp_path):
    model = tmp_path / "model"
    code, _, errors = run("fit", tale, "--output", model, "--set=tokenizer=word", *TINY_FIT)
    assert code == 0, errors
    for prompt in ("The cat", "The cat "):
        output = run("generate", model, prompt, "--tokens=3", "--seed=1")[1]
        assert output.startswith("The cat ")
        assert len(output.split()) == 2 + 3
        assert "  " not in output


def test_parameters_of_another_tokenizer_are_known(run, tale, tmp_path):
    from snn_estimators import SpikeDecoderLM

    for options in (["--clean"], ["--raw"]):
        code, _, errors = run(
            "fit", tale, "--output", tmp_path / "model", *options, *TINY_FIT,
            "--set=tokenizer__min_frequency=2", "--set=tokenizer=word",
        )  # fmt: skip
        assert code == 0, errors
    model = SpikeDecoderLM.from_pretrained(tmp_path / "model")
    assert model.tokenizer_.min_frequency == 2


def test_models_of_token_ids_are_refused(run, tale, tmp_path):
    from snn_estimators import SpikeDecoderLM

    sizes = {"max_len": 4, "blocks": 1, "heads": 1, "timesteps": 1}
    model = SpikeDecoderLM(
        tokenizer=None, max_steps=1, **{f"module__{name}": size for name, size in sizes.items()}
    )
    model.fit([[0, 1, 2, 0, 1, 2]]).save_pretrained(tmp_path / "ids")
    for command in (["score", tmp_path / "ids", tale], ["generate", tmp_path / "ids"]):
        code, output, errors = run(*command)
        assert code == 2
        assert "token ids" in errors
        assert output == ""


def test_a_prompt_is_printed_once_everything_is_found_good(run, tale, tmp_path):
    model = tmp_path / "model"
    assert run("fit", tale, "--output", model, *TINY_FIT)[0] == 0
    for option in ("--top-p=2", "--seed=-1"):
        code, output, errors = run("generate", model, "the", option)
        assert code == 2
        assert output == ""
        assert errors.startswith("error: ")


def test_a_fit_that_was_interrupted_is_saved_and_scored(run, tale, tmp_path, monkeypatch):
    from snn_estimators import SpikeDecoderLM

    steps = []
    real = SpikeDecoderLM.train_step

    def train_step(self, *args, **kwargs):
        steps.append(1)
        if len(steps) == 3:
            raise KeyboardInterrupt
        return real(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(SpikeDecoderLM, "train_step", train_step)
        with pytest.warns(UserWarning, match="interrupted"):
            code, output, errors = run("fit", tale, "--output", tmp_path / "model", *TINY_FIT)
    assert code == 0, errors
    assert "perplexity" in output
    assert run("score", tmp_path / "model", tale)[0] == 0


@pytest.mark.parametrize("done", [0, 2])
def test_a_fit_that_diverges_keeps_what_it_learned(run, tale, tmp_path, monkeypatch, done):
    from snn_estimators import SpikeDecoderLM

    model, steps = tmp_path / "model", []
    real = SpikeDecoderLM.get_loss

    def get_loss(self, *args, **kwargs):
        steps.append(1)
        return real(self, *args, **kwargs) * (float("nan") if len(steps) > done else 1.0)

    monkeypatch.setattr(SpikeDecoderLM, "get_loss", get_loss)
    code, _, errors = run("fit", tale, "--output", model, *TINY_FIT)
    assert code == 2
    assert "error: The loss or its gradient is not finite" in errors
    assert (f"saved in {model}" in errors) == (done > 0)
    assert model.exists() == (done > 0)
    if done:
        monkeypatch.undo()
        assert run("score", model, tale)[0] == 0


@pytest.mark.parametrize(("text", "tokenizer"), [("abcdefghij", "char"), ("a b " * 4, "word")])
def test_a_short_text_is_fitted_without_a_score(run, tmp_path, text, tokenizer):
    (tmp_path / "short.txt").write_text(text)
    code, output, errors = run(
        "fit", tmp_path / "short.txt", "--output", tmp_path / "model",
        f"--set=tokenizer={tokenizer}", *TINY_FIT,
    )  # fmt: skip
    assert code == 0, errors
    assert "saved in" in output
    assert "too little to score" in output


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
    for command in ("sweep", "fit", "models", "score", "generate", "energy", "corpora"):
        assert command in output


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SNN_ESTIMATORS_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "models"


def test_a_named_fit_goes_on(run, tale, tmp_path, home):
    command = ["fit", tale, "--name", "GPT-1", "--save-every=2", *TINY_FIT]
    code, output, errors = run(*command)
    assert code == 0, errors
    assert f"saved in {home / 'GPT-1'}" in output
    assert run("score", "GPT-1", tale)[0] == 0
    code, _, errors = run(*command)
    assert code == 2
    assert "'GPT-1' is taken" in errors
    again = run(*command, "--resume", "--output", tmp_path / "model")
    assert again[0] == 0
    assert output.splitlines()[1:] == again[1].splitlines()[1:]
    assert run("score", tmp_path / "model", tale)[1] == run("score", "GPT-1", tale)[1]
    code, _, errors = run(*command, "--resume", "--steps=4")
    assert code == 2
    assert "max_steps (saved 3, given 4)" in errors


def test_a_spikegpt_is_trained_and_used(run, tale, home):
    size = ["--model=spikegpt", "--steps=2", "--length=16", "--set=n_layer=1", "--set=n_embd=8"]
    code, _, errors = run("fit", tale, "--name=GPT-2", *size)
    assert code == 0, errors
    code, output, errors = run("generate", "GPT-2", "the", "--tokens=4", "--seed=1")
    assert code == 0, errors
    assert len(output) == len("the") + 4 + 1


def test_what_is_saved_is_listed(run, tale, home):
    assert "nothing is saved" in run("models")[1]
    assert run("fit", tale, "--name=GPT-1", *TINY_FIT)[0] == 0
    assert run("fit", tale, "--output=cats", *TINY_FIT)[0] == 0
    (home / "cats" / "model.safetensors").write_bytes(b"cut")
    code, output, errors = run("models")
    assert code == 0, errors
    lines = {line.split()[0]: line for line in output.splitlines() if line.strip()}
    assert "finished" in lines["GPT-1"]
    assert "damaged" in lines["cats"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "--output FOLDER, or --name NAME"),
        (["--name=a/b"], "name must be None or"),
        (["--output=a", "--resume"], "resume=True needs a name"),
    ],
)
def test_names_that_make_no_sense(run, tale, home, options, message):
    code, _, errors = run("fit", tale, *options, *TINY_FIT)
    assert code == 2
    assert message in errors
    assert not home.exists() or not any(home.iterdir())


def test_classifiers_are_refused_in_words(run, tale, tmp_path):
    from snn_estimators import SpikeGPTClassifier

    model = SpikeGPTClassifier(module__n_layer=1, module__n_embd=4, max_steps=1, device="cpu")
    model.fit(["good", "bad"] * 4, [1, 0] * 4).save_pretrained(tmp_path / "judge")
    for command in ("score", "energy", "generate"):
        code, _, err = run(command, tmp_path / "judge", tale)
        assert code == 2
        assert "is a SpikeGPTClassifier, not a language model" in err


def test_one_place_is_not_given_twice(run, tale, home):
    code, _, err = run("fit", tale, "--name", "GPT-1", "--output", "GPT-1", "--steps", "1")
    assert code == 2
    assert "leave --output out" in err


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_sweep_that_is_terminated_says_how_to_go_on_and_leaves_no_worker(tale, tmp_path, jobs):
    """As schedulers and containers do: SIGTERM to the command alone, with its output in a pipe."""
    command = [
        sys.executable, "-m", "snn_estimators.cli", "sweep", tale, *TINY_SWEEP,
        "--output", tmp_path / "out", f"--jobs={jobs}", "--steps=100", "--seeds=3",
    ]  # fmt: skip
    scores = tmp_path / "out" / ".store" / "scores"
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as process:
        deadline = time.monotonic() + 200
        while not list(scores.glob("*.json")) and time.monotonic() < deadline:
            assert process.poll() is None, process.stdout.read()
            time.sleep(0.02)
        process.terminate()
        output = process.communicate(timeout=30)[0]  # until no worker holds the pipe any more
    assert process.returncode == 143
    last = output.strip().splitlines()[-1]
    assert last.startswith("interrupted with ")
    assert last.endswith("run the same again to go on from there")


def test_ctrl_c_while_planning_says_that_nothing_was_begun(
    no_fit, run, tale, tmp_path, monkeypatch
):
    from snn_estimators.sweep import sweep

    def load_texts(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(sweep, "load_texts", load_texts)
    code, _, errors = run("sweep", tale, "--output", tmp_path / "out")
    assert code == 130
    assert errors == "interrupted before the first fit: nothing was begun\n"
    assert not (tmp_path / "out").exists()

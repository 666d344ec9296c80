"""The command ``sweep``."""

from __future__ import annotations

import json
import re
import time

import pandas as pd
import pytest
from warm_process import all_running, run_module, running

TINY_SWEEP = [
    "--levels=1,2", "--heads=1", "--encoding=learned", "--set=blocks=1", "--steps=2",
    "--length=16", "--jobs=1", "--no-baselines",
]  # fmt: skip


@pytest.mark.slow
def test_a_sweep_from_another_process(tale, tmp_path):
    """The real thing: entry point, progress bar, two processes, files."""
    said, errors = tmp_path / "said.txt", tmp_path / "errors.txt"
    command = ["snn_estimators.cli", "sweep", tale, "--output", tmp_path / "out"]
    options = [option for option in TINY_SWEEP if option != "--jobs=1"]
    with running(
        run_module, *command, *options, "--jobs=2", "--grid", "lr=0.01,0.001",
        output=said, errors=errors,
    ) as process:  # fmt: skip
        process.join(300)
    assert process.exitcode == 0, errors.read_text("utf-8")
    assert "8/8" in errors.read_text("utf-8")
    assert "perplexity" in said.read_text("utf-8")
    table = pd.read_csv(tmp_path / "out" / "results.csv")
    assert len(table) == 4
    assert table["perplexity"].notna().all()
    assert {"levels", "heads", "encoding", "lr", "pareto"} <= set(table.columns)
    written = (tmp_path / "out" / "run.json").read_text()
    assert json.loads(written)["corpus"]["name"] == "tale.txt"
    assert str(tmp_path) not in written
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *("results.csv", "results.md", "results.tex", "pareto.png", "effects.png", "run.json"),
        *("fits.csv", ".memory"),
    }


@pytest.mark.slow
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
        (["--model", "spikegpt"], "--levels, --heads and --encoding are SpikeDecoder's here"),
        (["--engine", "spark"], "no engine 'spark'"),
        (["--engine", "dask://127.0.0.1:9"], "does not answer"),
        (["--budget", "much"], "budget must be a number of fits"),
        (
            ["--fresh", "--resume"],
            "--fresh starts from scratch, --resume does not: give one of the two",
        ),
        (["--set", "name=mine"], "leave name=None"),
        (["--track", "paper"], "choose one of ['tensorboard', 'mlflow']"),
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

    class Asked(sweep_room.Sweep):
        def run(self):
            calls.append((self.grid, self.estimator.get_params(), self.cost))
            raise ValueError("enough")

    monkeypatch.setattr(sweep_room, "Sweep", Asked)
    return calls


def test_what_is_set_is_no_longer_compared(run, tale, asked):
    run("sweep", tale, "--set=levels=8", "--set=module__encoding=two-hot", "--set=random_state=7")
    run("sweep", tale, "--heads=1,2", "--grid=module__levels=3", "--grid=random_state=1,2")
    (fixed, parameters, _), (listed, _, _) = asked
    assert fixed == {"module__heads": [1, 5]}
    assert parameters["module__levels"] == 8
    assert parameters["module__encoding"] == "two-hot"
    assert parameters["random_state"] == 7
    assert listed == {
        "module__levels": [3],
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


def test_the_front_is_over_the_cost_that_is_named(run, tale, asked):
    run("sweep", tale)
    run("sweep", tale, "--cost", "weight_reads")
    assert [cost for _, _, cost in asked] == ["total_with_memory", "weight_reads"]


@pytest.mark.slow
def test_a_sweep_stops_at_its_budget_and_is_resumed(run, tale, tmp_path):
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
        r"The fits take \d+\.\d MB in .*\.memory, which may be deleted when .*", last
    )
    assert len(pd.read_csv(tmp_path / "out" / "results.csv")) == 2
    code, output, errors = run(*command, "--fresh")
    assert "earlier runs" not in output


@pytest.mark.slow
def test_a_budget_for_no_candidate_says_so(run, tale, tmp_path):
    code, output, errors = run(
        "sweep", tale, "--output", tmp_path / "out", *TINY_SWEEP, "--budget=1"
    )
    assert code == 0, errors
    assert output.splitlines() == [
        f"Tables, plots and run.json are in {tmp_path / 'out'}",
        "The budget is spent, and 0 of 2 candidates are done: run the same command again to resume",
    ]


@pytest.mark.slow
def test_a_fresh_sweep_is_resumed_without_fresh(run, tale, tmp_path):
    command = ["sweep", tale, "--output", tmp_path / "out", *TINY_SWEEP, "--budget=2"]
    _, output, _ = run(*command, "--fresh")
    way = "run the same command again without --fresh to resume"
    assert output.splitlines()[-1].endswith(f"1 of 2 candidates are done: {way}")
    _, output, _ = run(*command)
    assert "2 of 4 fits are those of earlier runs" in output


@pytest.mark.slow
def test_ctrl_c_among_the_last_files_counts_the_fits(run, tale, tmp_path, monkeypatch):
    from snn_estimators.sweep import outputs

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(outputs, "write_tables", interrupted)
    code, _, errors = run("sweep", tale, "--output", tmp_path / "out", *TINY_SWEEP, "--fresh")
    assert code == 130
    assert errors.splitlines()[-1].startswith("interrupted with 4 of 4 fits done")
    assert errors.splitlines()[-1].endswith("run the same again without fresh to resume from there")


def test_ctrl_c_says_how_to_resume(run, tale, tmp_path, monkeypatch):
    from snn_estimators import SpikeDecoderLM

    def train_step(self, *args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(SpikeDecoderLM, "train_step", train_step)
    code, _, errors = run("sweep", tale, "--output", tmp_path / "out", *TINY_SWEEP)
    assert code == 130
    assert errors.splitlines()[-1].startswith("interrupted with 0 of 4 fits done")
    assert errors.splitlines()[-1].endswith("run the same again to resume from there")


def test_ctrl_c_while_planning_says_that_nothing_was_started(
    no_fit, run, tale, tmp_path, monkeypatch
):
    from snn_estimators.sweep import sweep

    def load_texts(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(sweep, "load_texts", load_texts)
    code, _, errors = run("sweep", tale, "--output", tmp_path / "out")
    assert code == 130
    assert errors == "interrupted before the first fit: nothing was started\n"
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_what_is_impossible_is_skipped_on_request(run, tale, tmp_path):
    command = ["sweep", tale, *TINY_SWEEP, "--grid=mlp_ratio=1,0", "--output", tmp_path / "out"]
    code, _, errors = run(*command)
    assert code == 2
    assert "impossible candidate" in errors
    with pytest.warns(UserWarning, match="2 of 4 candidates are impossible"):
        code, output, _ = run(*command, "--skip-impossible")
    assert code == 0
    assert "impossible: " in output
    failure = pd.read_csv(tmp_path / "out" / "results.csv")["failure"]
    assert failure.str.startswith("impossible: ").sum() == 2


@pytest.mark.slow
def test_spikegpt_is_swept_with_seeds_and_halving(run, tale, tmp_path):
    code, _, errors = run(
        "sweep", tale, tale.parent / "song.txt", "--model=spikegpt", "--set=n_layer=1",
        "--set=n_embd=8", "--steps=2", "--length=16", "--jobs=1", "--seeds=2", "--halving=2",
        "--no-baselines", "--output", tmp_path / "out",
    )  # fmt: skip
    assert code == 0, errors
    table = pd.read_csv(tmp_path / "out" / "results.csv")
    assert set(table["levels"]) == {8, 16, 32}
    assert set(table["corpus"]) == {"tale.txt", "song.txt"}
    assert table["n_resources"].value_counts().to_dict() == {1: 6, 2: 4}
    assert "Δ perplexity" in (tmp_path / "out" / "results.md").read_text()


@pytest.mark.slow
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


@pytest.mark.slow
def test_bad_corpora_are_errors(no_fit, run, tmp_path):
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


@pytest.mark.slow
def test_a_folder_that_cannot_be_written_is_an_error(no_fit, run, tale):
    code, _, errors = run("sweep", tale, "--output", tale)
    assert code == 2
    assert "cannot write into the output folder" in errors


def test_debug_shows_the_traceback(run, tale):
    for arguments in (["--debug", "sweep"], ["sweep", "--debug"]):
        code, _, errors = run(*arguments, "no-such-corpus", "--output", tale.parent / "out")
        assert code == 2
        assert "Traceback" in errors


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_terminated_sweep_says_how_to_resume_and_leaves_no_worker(tale, tmp_path, jobs):
    """As schedulers and containers do: SIGTERM to the command alone, with its output in a file."""
    said = tmp_path / "said.txt"
    scores = tmp_path / "out" / ".memory" / "scores"
    others = all_running()
    with running(
        run_module, "snn_estimators.cli", "sweep", tale, *TINY_SWEEP, "--output", tmp_path / "out",
        f"--jobs={jobs}", "--steps=100", "--seeds=3", output=said,
    ) as process:  # fmt: skip
        deadline = time.monotonic() + 200
        while not list(scores.glob("*.json")) and time.monotonic() < deadline:
            assert process.is_alive(), said.read_text()
            time.sleep(0.02)
        expected = 1 if jobs == 1 else 1 + jobs
        while len(all_running() - others) != expected:  # helpers of a start may not have ended
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.terminate()
        process.join(30)
        assert process.exitcode == 143
    while all_running() - others:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    last = said.read_text().strip().splitlines()[-1]
    assert last.startswith("interrupted with ")
    assert last.endswith("run the same again to resume from there")

from __future__ import annotations

import json
import os

import pandas as pd
import pytest
from no_plots import skip_plots

from snn_estimators.model_selection import (
    check_writable,
    describe_corpus,
    describe_run,
    present,
    report,
    results_table,
    write_tables,
)

FILES = ["effects.png", "pareto.png", "results.csv", "results.md", "results.tex", "run.json"]


@pytest.fixture
def no_plots(monkeypatch):
    skip_plots(monkeypatch)


@pytest.mark.slow
def test_all_files_are_written_whole(search, tmp_path):
    folder = write_tables(results_table(search), tmp_path / "new" / "results")
    assert sorted(os.listdir(folder)) == FILES
    for name in ("pareto.png", "effects.png"):
        assert (folder / name).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert json.loads((folder / "run.json").read_text())["versions"]["torch"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["search", "failing_search"])
def test_the_csv_reads_back_equal(kind, request, tmp_path):
    table = results_table(request.getfixturevalue(kind))
    folder = write_tables(table, tmp_path)
    again = pd.read_csv(folder / "results.csv")
    pd.testing.assert_frame_equal(table, again, rtol=1e-14)
    # A table that was read back, which has lost its attributes, gives the same files.
    again_folder = write_tables(again, tmp_path / "again")
    for name in set(FILES) - {"run.json"}:
        assert (folder / name).read_bytes() == (again_folder / name).read_bytes(), name


@pytest.mark.slow
def test_markdown_and_latex_hold_each_candidate(no_plots, search, tmp_path):
    folder = write_tables(results_table(search), tmp_path)
    markdown, words = (folder / "results.md").read_text().split("\nMain effects")
    markdown = markdown.splitlines()
    assert "* `alpha`: " in words
    assert len(markdown) == 2 + 6
    assert "perplexity" in markdown[0]
    assert all(line.count("|") == markdown[0].count("|") for line in markdown)
    latex = (folder / "results.tex").read_text()
    assert latex.count(r"\\") == 1 + 6
    assert r"\pm" in latex
    assert "±" not in latex
    assert r"fit\_intercept" in latex


def test_a_table_without_a_single_success_is_written_too(big_results, tmp_path):
    for key in big_results:
        if "test" in key:
            big_results[key] = big_results[key] * float("nan")
    folder = write_tables(results_table(big_results), tmp_path)
    assert sorted(os.listdir(folder)) == FILES


@pytest.mark.slow
def test_older_results_survive_a_failing_replacement(no_plots, search, tmp_path, monkeypatch):
    table = results_table(search)
    write_tables(table, tmp_path)
    before = {name: (tmp_path / name).read_bytes() for name in FILES}

    def fail(table):
        raise RuntimeError("the plot fails")

    monkeypatch.setattr(report, "plot_effects", fail)
    with pytest.raises(RuntimeError):
        write_tables(table.head(2), tmp_path)
    assert {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)} == before


@pytest.mark.slow
def test_a_full_disk_leaves_no_temporary_file(no_plots, search, tmp_path, monkeypatch):
    def fail(source, target):
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="no space"):
        write_tables(results_table(search), tmp_path)
    assert os.listdir(tmp_path) == []


def test_folders_that_cannot_be_written_are_refused(search, tmp_path):
    (tmp_path / "file").write_text("mine")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OSError, match=r"cannot write into the output folder .* choose"):
            check_writable(folder)
    with pytest.raises(OSError, match="it is a file"):
        write_tables(results_table(search), tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write all")
def test_a_read_only_folder_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OSError, match="Permission denied"):
        check_writable(tmp_path)


def test_presentation_rounds_to_the_column_and_marks_gaps(failing_search):
    neat = present(results_table(failing_search))
    assert neat["perplexity"].iloc[-1] == "-"
    assert " ± " in neat["perplexity"].iloc[0]
    assert neat["parameters"].tolist() == ["3", "3", "-"]
    brief = present(results_table(failing_search), brief=True)
    assert "±" not in brief["perplexity"].iloc[0]
    assert "fit (s)" not in brief


def test_gaps_are_dashes_for_people_and_empty_for_machines(no_plots, one_at_a_time, tmp_path):
    folder = write_tables(results_table(one_at_a_time), tmp_path)
    rows = [line.split(",")[1:6] for line in (folder / "results.csv").read_text().splitlines()]
    assert rows == [
        ["token_shift", "attention_decay", "float_embedding", "attention_scale", "surrogate"],
        *(["0", "", "", "", ""], ["1", "", "", "", ""], ["2", "", "", "", ""]),
        *(["", "none", "", "", ""], ["", "learned", "", "", ""]),
        ["", "", "False", "", ""],
        *(["", "", "", "0.125", ""], ["", "", "", "1.0", ""]),
        ["", "", "", "", "atan"],
    ]
    lines = (folder / "results.md").read_text().partition("\nMain effects")[0].splitlines()
    cells = [[cell.strip() for cell in line.split("|")[2:7]] for line in lines[2:]]
    assert cells == [[{"": "-", "1.0": "1"}.get(cell, cell) for cell in row] for row in rows[1:]]
    assert "nan" not in (folder / "results.tex").read_text().lower()
    again = pd.read_csv(folder / "results.csv")
    pd.testing.assert_frame_equal(present(again), present(results_table(one_at_a_time)))


def test_unknown_tokens_are_shown_where_there_are_any():
    table = pd.DataFrame({"a": [1, 2], "unknown_rate": [0.0, None], "unknown_rate_std": [0.0, 0.0]})
    assert list(present(table)) == ["a"]
    assert list(present(table.fillna(0.25))["unknown (%)"]) == ["0.00 ± 0.00", "25.00 ± 0.00"]


def test_run_description_is_plain_json_without_a_trace_of_the_user(tmp_path):
    run = describe_run(
        parameters={"grid": {"lr": (0.1, None)}, "estimator": int, "file": tmp_path / "a.txt"},
        seed=3,
        corpus=describe_corpus(tmp_path / "tale.txt", ["ab", "c"]),
        duration=1.23456,
        command=["/usr/bin/snn-estimators", "sweep", "/home/me/tale.txt", "--output=~/out",
                 "--heads", "1,5", "results/here"],
    )  # fmt: skip
    assert json.loads(json.dumps(run)) == run
    assert run["command"] == "snn-estimators sweep tale.txt --output=out --heads 1,5 results/here"
    assert run["parameters"] == {
        "grid": {"lr": [0.1, None]},
        "estimator": "int",
        "file": "a.txt",
    }
    assert run["corpus"]["characters"] == 3
    assert run["corpus"]["documents"] == 2
    assert len(run["corpus"]["sha256"]) == 64
    assert run["duration_seconds"] == 1.235
    assert {"python", "snn_estimators", "torch", "sklearn", "numba"} <= set(run["versions"])
    assert str(tmp_path) not in json.dumps(run)

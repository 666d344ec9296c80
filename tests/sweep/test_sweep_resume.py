"""Sweeps that are run again: what is kept, and what is trained again."""

from __future__ import annotations

import signal
import time
import warnings
from pathlib import Path

import joblib
import pandas as pd
import pytest
from sklearn.model_selection import GridSearchCV
from tiny_sweep import LONG, SONG, TALE, Waiter, timeless
from warm_process import all_running, running

from snn_estimators.sweep import (
    Sweep,
    SweepInterrupted,
    outputs,
    prepare_text,
    sweep_model,
)
from snn_estimators.text import WindowKFold, split_windows


@pytest.mark.slow
def test_finished_fits_are_not_done_again(make, kept, steps):
    output, first = kept
    again = make({"heads": [1, 2]}, output=output).run()
    assert not steps
    assert again.run["fits"] == {"done": 4, "taken_over": 4}
    pd.testing.assert_frame_equal(again.table, first.table)
    more = make({"heads": [1, 2, 5]}, output=output).run()
    assert len(steps) == 4
    assert more.run["fits"]["taken_over"] == 4
    fresh = make({"heads": [1, 2]}, output=output, fresh=True).run()
    assert len(steps) == 4 + 8
    pd.testing.assert_frame_equal(timeless(fresh.table), timeless(first.table))


@pytest.mark.slow
@pytest.mark.parametrize("through_a_link", [False, True])
def test_fresh_leaves_other_fits_and_files_alone(make, tmp_path, steps, through_a_link):
    memory = tmp_path / "memory"
    make({"heads": [1]}, memory=memory, output=tmp_path / "a").run()
    make({"heads": [2]}, memory=memory).run()
    (memory / "notes.txt").write_text("mine")
    if through_a_link:
        (tmp_path / "link").symlink_to(memory)
        memory = tmp_path / "link"
    del steps[:]
    assert make({"heads": [1]}, memory=memory, fresh=True).run().run["fits"]["taken_over"] == 0
    assert len(steps) == 2 * 2
    assert (memory / "notes.txt").read_text() == "mine"
    assert make({"heads": [1, 2]}, memory=memory).run().run["fits"]["taken_over"] == 4
    assert len(list((memory / "fits").iterdir())) == 4


@pytest.mark.slow
@pytest.mark.parametrize(
    "other", [{"corpora": SONG}, {"seeds": [1]}, {"folds": 3}, {"limit": 300}, {"length": 15}]
)
def test_fits_of_another_sweep_are_not_mistaken(make, kept, other):
    assert make({"heads": [1]}, **{"memory": kept[0] / ".memory"} | other).run().run["fits"][
        "taken_over"
    ] == 0  # fmt: skip


@pytest.mark.slow
def test_a_damaged_record_is_done_again(make, kept):
    output, first = kept
    damages = (b'{"cut', None) * 2
    for path, damage in zip(
        sorted((output / ".memory" / "scores").iterdir()), damages, strict=True
    ):
        content = path.read_bytes()
        path.write_bytes(damage or content.replace(b'"accuracy": 0.', b'"accuracy": 1.'))
    with pytest.warns(UserWarning, match="damaged"):
        again = make({"heads": [1, 2]}, output=output).run()
    assert again.run["fits"]["taken_over"] == 0
    pd.testing.assert_frame_equal(timeless(again.table), timeless(first.table))


@pytest.mark.slow
def test_rows_stream_into_the_file(make, tmp_path, monkeypatch):
    seen = []
    real = outputs.replace_file

    def replace_file(path, content):
        real(path, content)
        if path.name == "results.csv":
            seen.append(pd.read_csv(path))

    monkeypatch.setattr(outputs, "replace_file", replace_file)
    result = make({"heads": [1, 2, 5]}, output=tmp_path).run()
    assert list(map(len, seen)) == [0, 1, 2, 3]
    assert all(list(table.columns) == list(result.table.columns) for table in seen)
    pd.testing.assert_frame_equal(seen[-1], result.table)


@pytest.mark.slow
def test_an_interrupted_fit_ends_the_sweep_and_says_how_to_resume(
    make, tiny, tmp_path, monkeypatch
):
    fits = []
    real = type(tiny).train_step

    def train_step(self, *args, **kwargs):
        if self.module__heads == 2:
            fits.append(1)
            raise KeyboardInterrupt
        return real(self, *args, **kwargs)

    with monkeypatch.context() as patch, warnings.catch_warnings(action="error"):
        patch.setattr(type(tiny), "train_step", train_step)
        with pytest.raises(SweepInterrupted, match=r"2 of 6 fits done.*run the same again"):
            make({"heads": [1, 2, 5]}, output=tmp_path).run()
    assert len(fits) == 1
    assert pd.read_csv(tmp_path / "results.csv")["heads"].tolist() == [1]
    assert make({"heads": [1, 2, 5]}, output=tmp_path).run().run["fits"]["taken_over"] == 2


def run_in_two_processes(output, go):
    Sweep(
        {"heads": [1, 2, 5]}, TALE, baselines=False, length=16, n_jobs=2, output=output,
        estimator=sweep_model(**LONG, callbacks=[("waiter", Waiter(go))]),
    ).run()  # fmt: skip


@pytest.fixture(scope="module")
def whole():
    """Return the table of that sweep if nobody stops it."""
    options = {"estimator": sweep_model(**LONG), "length": 16, "n_jobs": 1}
    return Sweep({"heads": [1, 2, 5]}, TALE, baselines=False, **options).run().table


@pytest.mark.slow
@pytest.mark.parametrize("way", [signal.SIGKILL, signal.SIGINT])
def test_a_sweep_that_is_stopped_gives_the_same_table_when_it_is_run_again(
    make, whole, tmp_path, way
):
    """Really stopped, with its workers, when half of the fits are done."""
    output = tmp_path / "out"
    go, said = str(tmp_path / "go"), tmp_path / "said.txt"
    scores = output / ".memory" / "scores"
    others = all_running()
    with running(run_in_two_processes, output, go, output=said) as process:
        deadline = time.monotonic() + 300
        while len(list(scores.glob("*.json"))) < 3 and time.monotonic() < deadline:
            assert process.is_alive(), said.read_text()
            time.sleep(0.02)
        group = all_running() - others
        assert len(group) == 3
        for one in group:
            one.send_signal(way)
        process.join(60)
        assert not process.is_alive()
    if way == signal.SIGINT:
        assert "run the same again to resume" in said.read_text()
    scored = list(scores.glob("*.json"))
    kept = {path: path.stat().st_mtime_ns for path in scored}
    kept |= {
        path: path.stat().st_mtime_ns
        for path in (output / ".memory" / "fits").glob("[0-9a-f]*.safetensors")
        if "unfinished" not in path.name
    }
    assert len(pd.read_csv(output / "results.csv")) < 3
    Path(go).touch()
    grid = {"heads": [1, 2, 5]}
    waits = sweep_model(**LONG, callbacks=[("waiter", Waiter(go))])
    again = make(grid, estimator=waits, output=output).run()
    assert again.run["fits"]["taken_over"] == len(scored) >= 3
    assert all(path.stat().st_mtime_ns == time for path, time in kept.items())
    pd.testing.assert_frame_equal(timeless(again.table), timeless(whole))


@pytest.mark.slow
def test_fits_of_a_sweep_may_save_themselves_in_between(make, tiny, tmp_path):
    tiny.set_params(save_every_n_steps=1)
    result = make({"heads": [1, 2]}, output=tmp_path / "out").run()
    assert result.table["failure"].isna().all()
    result.best.fit([prepare_text(TALE["tale"])])
    assert len(list((tmp_path / "out" / ".memory" / "fits").iterdir())) == 4 + 1


@pytest.mark.slow
@pytest.mark.parametrize("output", [None, "out"])
def test_the_estimators_memory_is_the_sweeps(make, tiny, tmp_path, steps, output):
    tiny.set_params(memory=tmp_path / "mine")
    output = output and tmp_path / output
    first = make({"heads": [1, 2]}, output=output).run()
    assert len(list((tmp_path / "mine" / "fits").iterdir())) == 4
    assert output is None or not (output / ".memory").exists()
    assert first.best.memory == tmp_path / "mine"
    del steps[:]
    assert make({"heads": [1, 2]}, memory=tmp_path / "mine").run().run["fits"]["taken_over"] == 4
    windows = split_windows(prepare_text(TALE["tale"]), 17)
    GridSearchCV(tiny, {"module__heads": [1, 2]}, cv=WindowKFold(2, length=17), refit=False).fit(
        windows
    )
    assert not steps


@pytest.mark.slow
def test_a_memory_of_joblib_will_do(make, tiny, tmp_path):
    tiny.set_params(memory=joblib.Memory(tmp_path))
    make({"heads": [1]}).run()
    assert len(list((tmp_path / "snn_estimators" / "fits").iterdir())) == 2

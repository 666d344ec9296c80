"""Sweeps whose disk, workers or user leave them."""

from __future__ import annotations

import importlib.util
import sys
import warnings
from contextlib import contextmanager
from itertools import count

import pytest
from joblib.externals.loky.process_executor import BrokenProcessPool
from tiny_sweep import TINY
from tqdm import tqdm

from snn_estimators.sweep import (
    SweepInterrupted,
    TablesNotWrittenError,
    outputs,
    runner,
    score_cache,
    sweep,
    sweep_model,
)


def full_from(number, real):
    """Return what writes files until the disk is full."""
    written = count(1)

    def replace_file(path, content):
        if next(written) >= number:
            raise OSError(28, "No space left on device")
        real(path, content)

    return replace_file


# The disk


def test_a_memory_that_is_full_costs_one_warning(make, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        # The first file is .gitignore.
        patch.setattr(score_cache, "replace_file", full_from(3, score_cache.replace_file))
        with pytest.warns(UserWarning) as caught:
            result = make({"heads": [1, 2]}, memory=tmp_path / "memory").run()
    (message,) = [str(one.message) for one in caught if "No space left" in str(one.message)]
    assert "the sweep goes on, but tale,heads=1,seed=0,fold=1, maybe others" in message
    assert result.complete
    assert result.table["perplexity"].notna().all()
    again = make({"heads": [1, 2]}, memory=tmp_path / "memory").run()
    assert again.run["fits"]["taken_over"] == 1


def test_a_full_disk_leaves_the_result_in_the_error(make, tmp_path, monkeypatch):
    monkeypatch.setattr(outputs, "replace_file", full_from(4, outputs.replace_file))
    with (
        pytest.warns(UserWarning, match="No space left.*: the sweep continues") as caught,
        pytest.raises(TablesNotWrittenError, match="No space left") as error,
    ):
        make({"heads": [1, 2, 5]}, output=tmp_path).run()
    assert len([one for one in caught if "No space left" in str(one.message)]) == 1
    assert len(error.value.result.table) == 3
    assert error.value.result.table["perplexity"].notna().all()
    assert (tmp_path / "results.csv").read_text().count("\n") == 1 + 1


# Workers


MINE = """
from skorch.callbacks import Callback

class Mine(Callback):
    pass
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """Return a class that only this process knows, by reference."""
    (tmp_path / "mine_alone.py").write_text(MINE)
    spec = importlib.util.spec_from_file_location("mine_alone", tmp_path / "mine_alone.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "mine_alone", module)
    spec.loader.exec_module(module)
    return module.Mine


@pytest.mark.slow
def test_code_that_no_worker_can_import_ends_the_sweep_in_words(make, mine):
    model = sweep_model(**TINY, callbacks=[("mine", mine())])
    with pytest.raises(
        RuntimeError, match=r"No module named 'mine_alone'.*own into a module.*n_jo"
    ):
        make({"heads": [1, 2]}, estimator=model, n_jobs=2, budget=20).run()


@pytest.fixture
def breaking(monkeypatch):
    """Have the processes end before they begin a fit, so many times."""

    def breaking(times):
        left = [times]

        @contextmanager
        def open_engine(*_):
            def work(calls):
                for function, args, kwargs in calls:
                    if left[0]:
                        left[0] -= 1
                        raise BrokenProcessPool("it is gone")
                    yield function(*args, **kwargs)

            yield work

        monkeypatch.setattr(runner, "open_engine", open_engine)
        return left

    return breaking


def test_processes_that_end_once_before_a_fit_are_forgiven(make, breaking):
    left = breaking(1)
    result = make({"heads": [1, 2]}, n_jobs=2).run()
    assert left == [0]
    assert result.table["perplexity"].notna().all()


@pytest.mark.parametrize("budget", [None, 1])
def test_processes_that_never_begin_a_fit_end_the_sweep(make, breaking, tmp_path, budget):
    breaking(20)
    options = {"n_jobs": 2, "budget": budget, "memory": tmp_path / "memory", "fresh": True}
    with pytest.raises(RuntimeError) as error:
        make({"heads": [1, 2]}, **options).run()
    message = str(error.value)
    assert "end before they begin tale,heads=1,seed=0,fold=0 (it is gone)" in message
    assert "0 of 4 fits are done and kept" in message
    assert message.endswith("run the same again without fresh to resume")


# The user


@pytest.mark.parametrize("fresh", [False, True])
def test_ctrl_c_says_how_to_resume_and_deletes_nothing(make, tmp_path, monkeypatch, fresh):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(outputs, "write_tables", interrupted)
        with pytest.raises(SweepInterrupted) as error:
            make({"heads": [1]}, output=tmp_path, fresh=fresh).run()
    message = str(error.value)
    assert message.startswith("interrupted with 2 of 2 fits done, see ")
    way = "run the same again without fresh" if fresh else "run the same again"
    assert message.endswith(f"; {way} to resume from there")
    assert make({"heads": [1]}, output=tmp_path).run().run["fits"]["taken_over"] == 2


def test_the_time_left_is_that_of_the_rung(make, monkeypatch):
    """By a clock that stands still but for 100 seconds a fit."""
    now = [0.0]
    seen = []

    class Bar(tqdm):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            if not self.disable:
                self._time = lambda: now[0]
                self.start_t = now[0]

        def update(self, n=1):
            now[0] += 100.0
            super().update(n)
            seen.append(self.format_dict["elapsed"] / (self.n - self.initial))

    monkeypatch.setattr(sweep, "tqdm", Bar)
    monkeypatch.setattr(sweep.time, "time", lambda: now[0])
    with warnings.catch_warnings(action="error"):
        make({"heads": [1, 2]}, halving=2, progress=True).run()
    assert seen == [100.0] * (4 + 2)

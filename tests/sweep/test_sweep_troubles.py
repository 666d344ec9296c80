"""Sweeps whose disk or user leave them."""

from __future__ import annotations

import warnings
from itertools import count

import pytest
from tqdm import tqdm

from snn_estimators.sweep import (
    SweepInterrupted,
    TablesNotWrittenError,
    outputs,
    score_cache,
    sweep,
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


@pytest.mark.slow
def test_a_memory_that_is_full_costs_one_warning(make, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        # The first file is .gitignore.
        patch.setattr(score_cache, "replace_file", full_from(3, score_cache.replace_file))
        with pytest.warns(UserWarning) as caught:
            result = make({"heads": [1, 2]}, memory=tmp_path / "memory").run()
    (message,) = [str(one.message) for one in caught if "No space left" in str(one.message)]
    assert "the sweep continues, but tale,heads=1,seed=0,fold=1, maybe others" in message
    assert result.complete
    assert result.table["perplexity"].notna().all()
    again = make({"heads": [1, 2]}, memory=tmp_path / "memory").run()
    assert again.run["fits"]["taken_over"] == 1


@pytest.mark.slow
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


# The user


@pytest.mark.slow
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


@pytest.mark.slow
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

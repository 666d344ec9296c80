"""The table of the steps of a named fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from snn_estimators.persistence.step_log import StepLog


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full disk at hand")
def test_a_full_disk_under_the_log(tmp_path):
    log = StepLog(tmp_path / "log.csv")
    log._file.close()
    log._file = Path("/dev/full").open("a")  # noqa: SIM115
    log.add(7, 1.0, 0.1, 10.0)
    with pytest.raises(OSError, match=r"row of step 7 .*log.csv \(No space left .*resume=True"):
        log.complete()
    with pytest.raises(ZeroDivisionError), log:
        raise ZeroDivisionError


def test_rows_of_steps_to_be_done_again_are_cut_off(tmp_path):
    path = tmp_path / "log.csv"
    with StepLog(path) as log:
        for step in range(1, 6):
            log.add(step, 1.0, 0.1, 10.0)
    path.write_text(path.read_text() + "6,1.0,,0.")  # a kill in the middle of a line
    with StepLog(path, 3) as log:
        assert [line[0] for line in path.read_text().splitlines()[1:]] == ["1", "2", "3"]
        log.add(4, 0.5, 0.1, 10.0)
        assert len(path.read_text().splitlines()) == 4
        log.complete(0.75)
        assert path.read_text().splitlines()[-1] == "4,0.5,0.75,0.1,10.0"
    path.unlink()
    StepLog(path, 3).close()
    assert len(path.read_text().splitlines()) == 1


def test_the_last_row_waits_for_its_validation(tmp_path):
    path = tmp_path / "log.csv"
    with StepLog(path) as log:
        for step in (1, 2):
            log.add(step, 1.0, 0.1, 10.0)
    before = path.read_text()
    with StepLog(path, 2, is_complete=False) as log:
        assert path.read_text() == before  # a kill now loses no row
        log.complete(0.75)
        log.add(3, 0.5, 0.1, 10.0)
    rows = path.read_text().splitlines()[1:]
    assert rows == ["1,1.0,,0.1,10.0", "2,1.0,0.75,0.1,10.0", "3,0.5,,0.1,10.0"]
    with StepLog(path, 3, is_complete=False) as log:
        log.add(4, 0.25, 0.1, 10.0)
    assert path.read_text().splitlines()[1:] == [*rows, "4,0.25,,0.1,10.0"]

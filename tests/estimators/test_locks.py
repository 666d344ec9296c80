"""Locks that leave nothing behind."""

from __future__ import annotations

import os
import threading

import pytest

from snn_estimators.estimators.locks import passing_lock

pytestmark = pytest.mark.skipif(os.name != "posix", reason="there is no flock")


def test_one_at_a_time_and_no_file_is_left(tmp_path):
    path, inside, most = tmp_path / "lock", [], []

    def work():
        for _ in range(50):
            with passing_lock(path):
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 200
    assert set(most) == {1}
    assert list(tmp_path.iterdir()) == []


def test_an_error_releases_it(tmp_path):
    for _ in range(2):
        with pytest.raises(RuntimeError), passing_lock(tmp_path / "lock"):
            raise RuntimeError
    with pytest.raises(FileNotFoundError), passing_lock(tmp_path / "nowhere" / "lock"):
        pass

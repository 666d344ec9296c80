"""Locks that leave nothing behind."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from snn_estimators.persistence.file_lock import lock, passing_lock

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


def test_a_forked_child_does_not_keep_it(tmp_path):
    """As a DataLoader's workers are, which live on for seconds when their parent is killed."""
    with open(tmp_path / "lock", "w") as file:
        assert lock(file)
        child = os.fork()
        if child == 0:
            time.sleep(60)
            os._exit(0)
    try:
        with open(tmp_path / "lock") as again:
            assert lock(again, within=30)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_it_is_waited_for(tmp_path):
    with open(tmp_path / "lock", "w") as file, open(tmp_path / "lock") as again:
        assert lock(file)
        assert not lock(again, within=0.05)
        threading.Timer(0.1, file.close).start()
        assert lock(again, within=30)

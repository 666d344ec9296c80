"""Locks that leave nothing behind."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import threading
import time

import filelock
import pytest

from snn_estimators.persistence.file_lock import hold_lock, is_locked, try_lock

pytestmark = pytest.mark.skipif(os.name != "posix", reason="there is no flock")


def test_one_at_a_time_and_no_file_is_left(tmp_path):
    path, inside, most = tmp_path / "lock", [], []

    def work():
        for _ in range(50):
            with hold_lock(path):
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
        with pytest.raises(RuntimeError), hold_lock(tmp_path / "lock"):
            raise RuntimeError
    with pytest.raises(FileNotFoundError), hold_lock(tmp_path / "nowhere" / "lock"):
        pass
    assert not (tmp_path / "nowhere").exists()


def test_a_forked_child_does_not_keep_it(tmp_path):
    """As a DataLoader's workers are, which live on for seconds when their parent is killed."""
    with try_lock(tmp_path / "lock") as acquired:
        assert acquired
        child = os.fork()
        if child == 0:
            time.sleep(60)
            os._exit(0)
    try:
        with try_lock(tmp_path / "lock", timeout=30) as acquired:
            assert acquired
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def hold_for_long(path, taken):
    with hold_lock(path):
        taken.set()
        time.sleep(60)


def test_a_killed_process_does_not_keep_it(tmp_path):
    context = multiprocessing.get_context("fork")
    taken = context.Event()
    process = context.Process(target=hold_for_long, args=(tmp_path / "lock", taken))
    process.start()
    assert taken.wait(30)
    assert is_locked(tmp_path / "lock")
    process.kill()
    with hold_lock(tmp_path / "lock"):
        process.join()
    assert list(tmp_path.iterdir()) == []


def test_it_is_waited_for(tmp_path):
    path, taken, leave = tmp_path / "lock", threading.Event(), threading.Event()

    def hold():
        with try_lock(path) as acquired:
            assert acquired
            taken.set()
            leave.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    assert taken.wait(30)
    with try_lock(path, timeout=0.05) as acquired:
        assert not acquired
    assert is_locked(path)  # whoever failed to lock it has not unlocked it
    threading.Timer(0.1, leave.set).start()
    with try_lock(path, timeout=30) as acquired:
        assert acquired
    thread.join()


def test_one_may_look_without_waiting_or_writing(tmp_path):
    path = tmp_path / "lock"
    assert not is_locked(path)
    assert not path.exists()
    with try_lock(path):
        path.chmod(0o444)
        assert is_locked(path)
    assert not is_locked(path)


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK])
def test_a_file_system_without_locks(code, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(filelock._unix.fcntl, "flock", fail)
    with hold_lock(tmp_path / "lock"), try_lock(tmp_path / "other") as acquired:
        assert acquired
        assert not is_locked(tmp_path / "other")
    assert [path.name for path in tmp_path.iterdir()] in ([], ["other"])

from __future__ import annotations

import os
from pathlib import Path

import pytest

from snn_estimators.sweep.score_cache import ScoreCache
from snn_estimators.sweep.worker import FitResult

FIGURES = {"neg_perplexity": -2.0}
UNWRITABLE = Path("/proc/sys/kernel")


@pytest.fixture
def score_cache(tmp_path):
    score_cache = ScoreCache(tmp_path / "memory")
    score_cache.open()
    return score_cache


def test_processes_of_one_number_do_not_spoil_each_others_records(score_cache, monkeypatch):
    """As those of two containers: one writes while the other is about to."""
    real, depth = Path.write_bytes, []

    def write_bytes(path, content):
        real(path, content)
        if not depth:
            depth.append(1)
            score_cache.note("key", FitResult(1.0, FIGURES))

    monkeypatch.setattr(os, "getpid", lambda: 1)
    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    score_cache.note("key", FitResult(2.0, FIGURES))
    assert score_cache.recall("key").fit_time == 2.0
    assert [path.name for path in (score_cache.folder / "scores").iterdir()] == ["key.json"]


@pytest.mark.parametrize("name", ["fits", "scores"])
def test_a_memory_with_a_file_for_a_folder_is_an_error(score_cache, name):
    (score_cache.folder / name).rmdir()
    (score_cache.folder / name).touch()
    message = f"cannot write into the memory.*{name}.*it is a file.*choose"
    with pytest.raises(OSError, match=message):
        score_cache.open()


@pytest.mark.skipif(not UNWRITABLE.is_dir(), reason="no folder that root cannot write to")
@pytest.mark.parametrize("name", ["fits", "scores"])
def test_a_memory_that_takes_no_more_files_is_an_error(score_cache, name):
    (score_cache.folder / name).rmdir()
    (score_cache.folder / name).symlink_to(UNWRITABLE)
    with pytest.raises(OSError, match=f"cannot write into the memory.*{name}.*choose"):
        score_cache.open()

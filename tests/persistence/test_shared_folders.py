"""Folders that several things share: a memory with a sweep, a run's with another process."""

from __future__ import annotations

import threading

import pytest

from snn_estimators.persistence import named_run, training_state
from snn_estimators.persistence.fit_cache import FitCache
from snn_estimators.persistence.run_folder import RunFolder


def test_a_memory_whose_mark_was_deleted_as_advised_works_again(tmp_path) -> None:
    FitCache(tmp_path).open()
    (tmp_path / "scores").mkdir()
    (tmp_path / "memory.json").write_text("{")
    with pytest.raises(ValueError, match="Delete it"):
        FitCache(tmp_path)
    (tmp_path / "memory.json").unlink()
    FitCache(tmp_path).open()
    assert (tmp_path / "memory.json").is_file()


@pytest.mark.slow
def test_one_may_wait_for_a_fit_that_never_begins(tmp_path) -> None:
    """Its folder is removed at the end, while the other waits for the lock in it."""
    first_is_in, errors = threading.Event(), []

    def wait() -> None:
        first_is_in.wait()
        try:
            with RunFolder(tmp_path / "GPT-1").held():
                pass
        except Exception as error:
            errors.append(error)

    other = threading.Thread(target=wait, daemon=True)
    other.start()
    with RunFolder(tmp_path / "GPT-1").held():
        first_is_in.set()
        other.join(timeout=0.3)
    other.join()
    assert errors == []


@pytest.mark.slow
def test_a_checkpoint_that_cannot_be_read_now_is_not_damaged(
    make_model, texts, tmp_path, monkeypatch
) -> None:
    monkeypatch.setenv("SNN_ESTIMATORS_HOME", str(tmp_path))
    model = make_model(name="run", max_epochs=2).fit(texts)
    before = sorted((tmp_path / "models" / "run" / "checkpoints").iterdir())
    monkeypatch.setattr(
        named_run.NamedRun, "_read", lambda *_: (_ for _ in ()).throw(OSError(24, "too many files"))
    )
    with pytest.raises(OSError, match="too many files"):
        model.set_params(max_epochs=3).fit(texts, resume=True)
    assert sorted((tmp_path / "models" / "run" / "checkpoints").iterdir()) == before


@pytest.mark.parametrize("value", [{1, 2}, frozenset({1, 2}), {frozenset({1}), frozenset({2})}])
def test_sets_come_back_as_what_they_were(value: object) -> None:
    unpacked = training_state.unpack(training_state.pack(value, "", {}), {})
    assert unpacked == value
    assert type(unpacked) is type(value)

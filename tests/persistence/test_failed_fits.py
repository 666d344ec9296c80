"""Named fits that end in an exception, divergence or a full disk."""

from __future__ import annotations

import errno
import os

import numpy as np
import pytest
from named_runs import cut_at, weights
from skorch.callbacks import Callback
from tiny_language_model import tiny_model

from snn_estimators.estimators import SpikeDecoderLM
from snn_estimators.persistence.run_folder import STATE


class Fail(Callback):
    def __init__(self, error):
        self.error = error

    def on_batch_end(self, net, **kwargs):
        if net.history[-1, "epoch"] == 2:
            raise self.error


@pytest.mark.parametrize("error", [MemoryError("no memory"), OSError("no disk"), RuntimeError("x")])
def test_an_exception_leaves_its_traceback(home, texts, error):
    with pytest.raises(type(error), match=str(error)):
        tiny_model(name="a", callbacks=[Fail(error)]).fit(texts)
    told = (home / "a" / "error.log").read_text()
    assert "after step 4" in told
    assert "Traceback" in told
    assert f"{type(error).__name__}: {error}" in told
    assert SpikeDecoderLM.from_pretrained("a").n_steps_ == 3
    assert len((home / "a" / "log.csv").read_text().splitlines()) == 4


def test_divergence_leaves_the_last_good_checkpoint(home, texts):
    with pytest.raises(FloatingPointError, match="not finite"):
        tiny_model(name="a", lr=1e30, clip=None, schedule="constant", save_every_n_steps=1).fit(
            texts
        )
    assert "FloatingPointError" in (home / "a" / "error.log").read_text()
    assert all(np.isfinite(weights(SpikeDecoderLM.from_pretrained("a"))))


def test_an_error_log_that_cannot_be_written_hides_nothing(home, texts):
    (home / "a" / "error.log").mkdir(parents=True)
    (home / "a" / "checkpoints").mkdir()
    with pytest.raises(RuntimeError, match="the real one") as caught:
        tiny_model(name="a", callbacks=[Fail(RuntimeError("the real one"))]).fit(texts)
    assert "error.log could not be written" in caught.value.__notes__[0]


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="limits of file sizes are POSIX's")
def test_a_full_disk_in_the_middle_of_a_save(run, whole, model, texts):
    import resource

    cut_at(run, 2)
    size = (run.checkpoint(2) / STATE).stat().st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            model.fit(texts, resume=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.errno == caught.value.__cause__.errno == errno.EFBIG
    told = f"Step 3 could not be saved in {run.folder} (File too large); step 2 is whole: free"
    assert told in str(caught.value)
    assert run.steps() == [1, 2]
    assert [path.name for path in run.checkpoints.iterdir() if path.name.startswith(".")] == []
    assert "File too large" in (run.folder / "error.log").read_text()
    assert SpikeDecoderLM.from_pretrained("GPT-1").n_steps_ == 2
    assert weights(model.fit(texts, resume=True)) == weights(whole[1])


@pytest.mark.slow
def test_a_full_disk_before_the_first_save(home, texts, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("snn_estimators.persistence.named_run.write_model", full)
    with pytest.raises(OSError, match=r"Step 3 .*\(No space left .*nothing is: .*start again"):
        tiny_model(name="a").fit(texts)
    monkeypatch.undo()
    monkeypatch.setenv("SNN_ESTIMATORS_HOME", str(home.parent))
    assert tiny_model(name="a").fit(texts).n_steps_ == 6

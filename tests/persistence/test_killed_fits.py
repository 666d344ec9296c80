"""Processes that are really killed, and what the next one makes of what they left."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest
from skorch.dataset import ValidSplit
from tiny_language_model import TEXTS, tiny_model
from warm_process import running

from snn_estimators.estimators import SpikeDecoderLM
from snn_estimators.persistence.run_folder import RunFolder

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX's"),
]

SETTINGS = {
    "name": "GPT-1", "module__mlp_dropout": 0.2, "max_steps": 48, "save_every_n_steps": 5,
    "evaluate_every_n_steps": 7, "train_split": ValidSplit(3), "steps_per_epoch": 16,
}  # fmt: skip


def die_in_mid_save():
    whole = Path.write_bytes

    def half(path, content):
        if path.name == "training.safetensors" and "step-00000030" in path.parent.name:
            whole(path, content[: len(content) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        return whole(path, content)

    Path.write_bytes = half


def die_while_replacing():
    rename = Path.rename

    def last(path, target):
        if ".step-00000030" in path.name:
            os.kill(os.getpid(), signal.SIGKILL)
        return rename(path, target)

    Path.rename = last


def fit(prepare=None):
    if prepare is not None:
        prepare()
    tiny_model(**SETTINGS).fit(TEXTS)


@pytest.fixture(scope="module")
def uninterrupted():
    settings = {k: v for k, v in SETTINGS.items() if k not in ("name", "save_every_n_steps")}
    return tiny_model(**settings).fit(TEXTS)


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("SNN_ESTIMATORS_HOME", str(tmp_path))
    monkeypatch.setattr("snn_estimators._files.sync", lambda _: None)  # slow
    return RunFolder(tmp_path / "models" / "GPT-1")


def assert_resumes(run, uninterrupted):
    rows = (run.folder / "log.csv").read_text().splitlines()
    done = run.steps()[-1]
    assert SpikeDecoderLM.from_pretrained("GPT-1").n_steps_ == done
    resumed = tiny_model(**SETTINGS, resume=True).fit(TEXTS)
    assert [path for path in run.checkpoints.iterdir() if path.name.startswith(".")] == []
    states = [model.module_.state_dict() for model in (uninterrupted, resumed)]
    assert all(states[0][name].equal(states[1][name]) for name in states[0])
    losses = [
        [row for epoch in model.history for row in epoch["batches"]]
        for model in (uninterrupted, resumed)
    ]
    assert losses[0] == losses[1]
    log = (run.folder / "log.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in log[1:]] == [str(step) for step in range(1, 49)]
    assert log[: done + 1] == rows[: done + 1]


@pytest.mark.slow
@pytest.mark.parametrize(
    "prepare", [die_in_mid_save, die_while_replacing], ids=["writing", "renaming"]
)
def test_killed_in_the_middle_of_a_save(run, uninterrupted, prepare):
    with running(fit, prepare) as process:
        process.join(120)
    assert process.exitcode == -signal.SIGKILL
    assert run.steps()[-1] < 30
    drafts = [path for path in run.checkpoints.iterdir() if path.name.startswith(".step-00000030")]
    assert len(drafts) == 1
    assert_resumes(run, uninterrupted)


@pytest.mark.slow
def test_killed_at_any_moment(run, uninterrupted):
    with running(fit) as process:
        deadline = time.monotonic() + 120
        while not run.steps() and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(random.uniform(0, 0.3))
        process.kill()
        process.join(60)
    assert process.exitcode in (-signal.SIGKILL, 0)  # 0: a fast machine had finished
    assert_resumes(run, uninterrupted)

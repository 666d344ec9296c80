"""A resumed fit equals an uninterrupted one to the bit, wherever it was cut off."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import warnings

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning
from skorch.callbacks import Callback, EarlyStopping, Freezer, LRScheduler
from skorch.dataset import ValidSplit
from tiny_language_model import TEXTS, flat, tiny_model
from torch.optim.lr_scheduler import ExponentialLR

from snn_estimators.estimators import SpikeDecoderLM, SpikeGPTLM
from snn_estimators.persistence.names import models_home
from snn_estimators.persistence.run_folder import RunFolder
from snn_estimators.persistence.training_state import pack, unpack

EVERY_STEP = {"save_every_n_steps": 1, "keep_checkpoints": 99}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SNN_ESTIMATORS_HOME", str(tmp_path))
    monkeypatch.setattr("snn_estimators._files.sync", lambda _: None)  # slow
    return tmp_path


def outcome(model):
    """All that two equal fits have in common, as plain values."""
    times = ("dur",)
    history = [{k: v for k, v in epoch.items() if k not in times} for epoch in model.history]
    states = (model.module_.state_dict(), model.optimizer_.state_dict())
    generator = model._states_after_training[0]
    counts = (model.n_iter_, model.n_steps_, model.planned_steps_, model.interrupted_)
    return flat(states), history, generator.tolist(), counts


def cut_at(step, name="whole", into="cut"):
    """Leave of a fit what a kill after a step's save would have left."""
    shutil.rmtree(models_home() / into, ignore_errors=True)
    shutil.copytree(models_home() / name, models_home() / into)
    run = RunFolder(models_home() / into)
    for later in run.steps():
        if later > step:
            shutil.rmtree(run.checkpoint(later))


def stopper(patience=1, **parameters):
    return EarlyStopping("train_loss", patience=patience, sink=lambda _: None, **parameters)


class Counter(Callback):
    """Has a state of every kind that a checkpoint can hold."""

    def initialize(self):
        self.seen_, self._last, self.sums_ = {"steps": 0}, (), {(0, "a"): np.zeros(2)}
        self.tensor_, self.kinds_, self.plain = torch.zeros(2), set(), 0
        return self

    def on_batch_end(self, net, training=False, **kwargs):
        self.seen_["steps"] += 1
        self.plain += 1
        self._last = (self.seen_["steps"], np.float32(0.1))
        self.sums_[0, "a"] += 1
        self.tensor_ += 1
        self.kinds_.add("training" if training else "validation")


CASES = {
    "shuffled epochs": {"module__mlp_dropout": 0.2},
    "drawn windows": {"steps_per_epoch": 4, "max_steps": 9, "module__mlp_dropout": 0.2},
    "validation": {
        "train_split": ValidSplit(3), "evaluate_every_n_steps": 2, "steps_per_epoch": 3,
        "module__mlp_dropout": 0.2,
    },
    "Adam": {"optimizer": torch.optim.Adam, "schedule": "trapezoid", "warmup_steps": 3},
    "momentum": {"optimizer": torch.optim.SGD, "optimizer__momentum": 0.9, "clip": None},
    "batch norm": {"module__normalization": "batch", "module__learnable_threshold": True},
    "without a seed": {"random_state": None, "module__mlp_dropout": 0.2},
    "no callbacks": {"callbacks": "disable"},
    "an early stop": {"callbacks": [stopper(2, threshold=10.0, load_best=True)], "max_epochs": 8},
    "other callbacks": {
        "callbacks": [Counter, LRScheduler(ExponentialLR, gamma=0.9, step_every="batch"),
                      Freezer("head.bias", at=2)],
        "schedule": "constant",
    },
}  # fmt: skip


SOME_SLOW = [
    pytest.param(case, marks=[pytest.mark.slow] * (index > 0), id=case)
    for index, case in enumerate(CASES)
]


@pytest.mark.slow
@pytest.mark.parametrize("case", SOME_SLOW)
def test_wherever_it_was_cut_off(case):
    settings = CASES[case]
    np.random.seed(0)  # noqa: NPY002
    unnamed = tiny_model(**settings).fit(TEXTS)
    np.random.seed(0)  # noqa: NPY002
    whole = tiny_model(name="whole", **EVERY_STEP, **settings).fit(TEXTS)
    assert outcome(whole) == outcome(unnamed)
    log = (models_home() / "whole" / "log.csv").read_text()
    for step in (2, 3, whole.n_steps_ - 1):  # in an epoch, between two, before the end
        cut_at(step)
        resumed = tiny_model(name="cut", resume=True, **settings).fit(TEXTS)
        assert outcome(resumed) == outcome(whole), step
        assert without_speed((models_home() / "cut" / "log.csv").read_text()) == without_speed(log)
    if case == "other callbacks":
        counters = [dict(model.callbacks_)["Counter"] for model in (whole, resumed)]
        assert flat(vars(counters[0])["seen_"]) == flat(vars(counters[1])["seen_"])
        assert counters[0].sums_[0, "a"].tolist() == counters[1].sums_[0, "a"].tolist()
        assert counters[0].kinds_ == counters[1].kinds_ == {"training"}
        assert counters[0].plain == counters[1].plain == whole.n_steps_
        assert counters[0]._last == counters[1]._last
        assert counters[0].tensor_.tolist() == counters[1].tensor_.tolist()


def without_speed(log):
    return [line.rpartition(",")[0] for line in log.splitlines()]


@pytest.mark.slow
def test_spikegpt():
    settings = {
        "module__ctx_len": 8, "module__n_layer": 2, "module__n_embd": 8, "batch_size": 4,
        "max_epochs": 2, "random_state": 0, "warmup_tokens": 64,
    }  # fmt: skip
    whole = SpikeGPTLM(name="whole", **EVERY_STEP, **settings).fit(TEXTS)
    cut_at(2)
    resumed = SpikeGPTLM(name="cut", resume=True, **settings).fit(TEXTS)
    assert outcome(resumed) == outcome(whole)


@pytest.mark.slow
def test_a_resumed_fit_may_be_cut_off_again():
    settings = {"module__mlp_dropout": 0.2, "max_epochs": 3}
    whole = tiny_model(name="whole", **EVERY_STEP, **settings).fit(TEXTS)
    cut_at(2)
    tiny_model(name="cut", resume=True, **EVERY_STEP, **settings).fit(TEXTS)
    cut_at(5, "cut", "again")
    resumed = tiny_model(name="again", **settings).fit(TEXTS, resume=True)
    assert outcome(resumed) == outcome(whole)


@pytest.mark.slow
def test_a_finished_fit_is_read_and_not_repeated(monkeypatch):
    settings = {"callbacks": [LRScheduler(ExponentialLR, gamma=0.9)], "schedule": "constant"}
    whole = tiny_model(name="whole", **settings).fit(TEXTS)
    monkeypatch.setattr(SpikeDecoderLM, "train_step", lambda *_, **__: pytest.fail("trained"))
    again = tiny_model(name="whole", resume=True, **settings).fit(TEXTS)
    assert outcome(again) == outcome(whole)
    monkeypatch.undo()
    assert outcome(again.partial_fit(TEXTS)) == outcome(whole.partial_fit(TEXTS))


@pytest.mark.slow
def test_partial_fit_saves_nothing():
    model = tiny_model(name="whole").fit(TEXTS)
    steps = RunFolder(models_home() / "whole").steps()
    with pytest.warns(UserWarning, match="partial_fit saves nothing under name='whole'"):
        assert model.partial_fit(TEXTS).n_steps_ == 2 * steps[-1]
    assert RunFolder(models_home() / "whole").steps() == steps


@pytest.mark.slow
def test_evaluation_leaves_the_random_numbers_of_training_alone():
    settings = {"train_split": ValidSplit(3), "module__mlp_dropout": 0.2}
    plain = tiny_model(**settings).fit(TEXTS)
    evaluated = tiny_model(evaluate_every_n_steps=1, **settings).fit(TEXTS)
    assert outcome(evaluated)[0] == outcome(plain)[0]
    last = [epoch["batches"] for epoch in evaluated.history][-1]
    loss = [row for row in last if "train_loss" in row][-1]["step_valid_loss"]
    assert loss == pytest.approx(evaluated.history[-1, "valid_loss"], abs=1e-6)


class CtrlC(Callback):
    """Comes in the middle of a step."""

    times = 0
    step = 5

    def on_grad_computed(self, net, **kwargs):
        if net._position.steps + 1 == self.step:
            for _ in range(self.times):
                os.kill(os.getpid(), signal.SIGINT)


class Copier(Callback):
    def on_batch_end(self, net, **kwargs):
        pickle.loads(pickle.dumps(net))


@pytest.mark.slow
def test_a_net_in_mid_fit_can_be_copied(texts):
    model = tiny_model(name="whole", callbacks=[Copier()]).fit(texts)
    again = pickle.loads(pickle.dumps(model))
    assert outcome(again.partial_fit(texts)) == outcome(model.partial_fit(texts))


@pytest.mark.slow
def test_ctrl_c_waits_for_the_end_of_a_step(texts, monkeypatch):
    settings = {"module__mlp_dropout": 0.2, "callbacks": [CtrlC], "callbacks__progress": None}
    whole = tiny_model(name="whole", **settings).fit(texts)
    monkeypatch.setattr(CtrlC, "times", 1)
    model = tiny_model(name="cut", **settings)
    with pytest.warns(ConvergenceWarning, match=r"resume=True\) resumes .* from step 5"):
        model.fit(texts)
    assert model.interrupted_
    assert model.n_steps_ == 5
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert SpikeDecoderLM.from_pretrained("cut").n_steps_ == 5
    assert outcome(model.fit(texts, resume=True)) == outcome(whole)


@pytest.mark.slow
@pytest.mark.parametrize("step", [3, 6])
def test_ctrl_c_in_the_last_step_of_an_epoch_leaves_its_validation_to_come(
    texts, monkeypatch, step
):
    def log(name):
        rows = (models_home() / name / "log.csv").read_text().splitlines()
        return [row.rpartition(",")[0] for row in rows]  # without the speed

    settings = {"callbacks": [CtrlC], "train_split": ValidSplit(3), "evaluate_every_n_steps": 2}
    settings |= {"steps_per_epoch": 3, "max_epochs": 2}
    whole = tiny_model(name="whole", **settings).fit(texts)
    monkeypatch.setattr(CtrlC, "times", 1)
    monkeypatch.setattr(CtrlC, "step", step)
    with pytest.warns(ConvergenceWarning, match=f"from step {step}"):
        tiny_model(name="cut", **settings).fit(texts)
    assert outcome(tiny_model(name="cut", **settings).fit(texts, resume=True)) == outcome(whole)
    assert log("cut") == log("whole")


def test_a_second_ctrl_c_does_not_wait(texts, monkeypatch):
    monkeypatch.setattr(CtrlC, "times", 2)
    model = tiny_model(name="cut", callbacks=[CtrlC])
    with pytest.warns(ConvergenceWarning, match="resumes 'cut' from step 3"):
        model.fit(texts)
    assert RunFolder(models_home() / "cut").steps() == [3]


class Fragile(Callback):
    """Holds what no checkpoint can, and what it does not mind losing."""

    not_resumed = ("spare_",)

    def on_train_begin(self, net, **kwargs):
        self.file_ = self.spare_ = self.not_fitted = iter(())


@pytest.mark.slow
def test_callbacks_that_cannot_be_kept_are_named(texts):
    with pytest.warns(UserWarning, match="'Fragile' has 'file_', a tuple_iterator") as caught:
        tiny_model(name="whole", callbacks=[Fragile()]).fit(texts)
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tiny_model(callbacks=[Fragile()]).fit(texts)


@pytest.mark.slow
def test_batches_that_cannot_be_drawn_again(texts):
    class Restless(torch.utils.data.RandomSampler):
        def __iter__(self):
            yield from np.random.permutation(len(self.data_source)).tolist()  # noqa: NPY002

    class Loader(torch.utils.data.DataLoader):
        def __init__(self, dataset, shuffle, **parameters):
            super().__init__(dataset, sampler=Restless(dataset), **parameters)

    tiny_model(name="whole", iterator_train=Loader, **EVERY_STEP).fit(texts)
    cut_at(2)
    with pytest.raises(ValueError, match="cannot be drawn again"):
        tiny_model(name="cut", iterator_train=Loader, resume=True).fit(texts)


@pytest.mark.parametrize(
    "value",
    [None, True, 0, -0.1, float("inf"), "text", [1, [2.5]], (1, (2,)), {1: {"a": ()}}, {1, 2}],
)
def test_packed_values_come_back(value):
    packed = pack(value, "path", {})
    assert unpack(packed, {}) == value
    assert type(unpack(packed, {})) is type(value)


@pytest.mark.parametrize("value", [object(), iter(()), {"a": [open]}, np.array([object()])])
def test_what_cannot_be_packed(value):
    with pytest.raises(TypeError):
        pack(value, "path", {})

"""`DataParallel` in one process, without a launcher, and what it raises."""

from __future__ import annotations

import builtins
import pickle
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch
from fit_outcomes import assert_equal
from sklearn.base import clone, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.neighbors import KernelDensity
from sklearn.utils.validation import check_is_fitted
from tiny_language_model import TEXTS, tiny_model

from snn_estimators import DataParallel, SpikeDecoderClassifier, SpikeDecoderLM
from snn_estimators.distributed.data_parallel import _check_accelerator

accelerate = pytest.importorskip("accelerate")


@pytest.mark.slow
def test_one_process_does_what_the_estimator_does(alone):
    model = tiny_model(module__mlp_dropout=0.2)
    assert_equal(alone(DataParallel(model)), alone(model))


@pytest.mark.slow
def test_one_process_saves_where_the_estimator_does(alone, tmp_path, monkeypatch):
    monkeypatch.setenv("SNN_ESTIMATORS_HOME", str(tmp_path))
    remembered = tiny_model(memory=tmp_path / "memory")
    named = tiny_model(name="one")
    told = [alone(DataParallel(model)) for model in (remembered, named)]
    assert_equal(told[0], alone(remembered))
    assert len([*(tmp_path / "memory" / "fits").glob("[!.]*")]) == 1
    assert_equal(told[1], alone(named.set_params(resume=True)))


@pytest.mark.slow
def test_conventions():
    model = DataParallel(tiny_model(lr=0.5))
    assert model.get_params()["estimator__lr"] == 0.5
    assert clone(model.set_params(estimator__lr=0.25)).estimator.lr == 0.25
    assert repr(model) == f"DataParallel(estimator={model.estimator!r})"
    assert not hasattr(model, "estimator_")
    with pytest.raises(NotFittedError):
        check_is_fitted(model)
    with pytest.raises(NotFittedError):
        model.save_pretrained("nothing")
    model.fit(TEXTS)
    check_is_fitted(model)
    assert not model.estimator.initialized_
    assert clone(model).get_params().keys() == model.get_params().keys()
    again = pickle.loads(pickle.dumps(model))
    assert again.score(TEXTS) == model.estimator_.score(TEXTS)
    assert again.estimator_.get_params().keys() == model.estimator.get_params().keys()
    assert is_classifier(DataParallel(SpikeDecoderClassifier()))
    assert not is_classifier(model)


@pytest.mark.slow
def test_a_fitted_model_is_trained_further_and_stays(fitted):
    before = fitted.score(TEXTS)
    model = DataParallel(fitted).partial_fit(TEXTS)
    assert model.n_steps_ == 2 * fitted.n_steps_
    assert fitted.score(TEXTS) == before


@pytest.mark.slow
def test_a_pretrained_model_is_taken_as_it_is(fitted):
    classifier = SpikeDecoderClassifier(pretrained=fitted, max_epochs=1, random_state=0)
    model = DataParallel(classifier).fit(TEXTS, [0, 1, 0, 1])
    assert list(model.classes_) == [0, 1]


# Bad input


def test_without_accelerate(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "accelerate":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"snn-estimators\[accelerate\]"):
        DataParallel(tiny_model()).fit(TEXTS)


def test_device_is_the_launchers():
    with pytest.raises(ValueError, match="device='cpu' does not go with DataParallel"):
        DataParallel(tiny_model(device="cpu")).fit(TEXTS)


@pytest.mark.parametrize("estimator", [KernelDensity(), SpikeDecoderLM, None])
def test_other_estimators(estimator):
    with pytest.raises(TypeError, match="DataParallel takes an estimator of snn_estimators"):
        DataParallel(estimator).fit(TEXTS)


def test_bad_parameters_are_the_estimators_own():
    with pytest.raises(ValueError, match="batch_size must be a whole number from 1 on"):
        DataParallel(tiny_model(batch_size=0)).fit(TEXTS)


class Moved(torch.nn.CrossEntropyLoss):
    to_devices: ClassVar = []

    def to(self, device):
        self.to_devices.append(str(device))
        return super().to(device)


@pytest.mark.slow
def test_a_fitted_criterion_goes_where_the_training_is():
    fitted = tiny_model(criterion=Moved).fit(TEXTS)
    Moved.to_devices.clear()
    DataParallel(fitted).partial_fit(TEXTS)
    assert Moved.to_devices == ["cpu"]


class Trained(torch.nn.CrossEntropyLoss):
    def __init__(self) -> None:
        super().__init__()
        self.temperature = torch.nn.Parameter(torch.ones(()))


def test_a_criterion_to_train():
    with pytest.raises(ValueError, match="has parameters to train"):
        DataParallel(tiny_model(criterion=Trained)).fit(TEXTS)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"mixed_precision": "fp16"}, "not in fp16"),
        ({"gradient_accumulation_steps": 2}, "gradient_accumulation_steps=2"),
        ({"distributed_type": SimpleNamespace(value="FSDP")}, "does without FSDP"),
    ],
)
def test_accelerators_that_train_something_else(setting, words):
    plain = {
        "mixed_precision": "no",
        "gradient_accumulation_steps": 1,
        "distributed_type": SimpleNamespace(value="NO"),
    }
    with pytest.raises(ValueError, match=words):
        _check_accelerator(SimpleNamespace(**{**plain, **setting}))


@pytest.fixture
def fresh_accelerate():
    """accelerate as it is before any Accelerator was made, and again afterwards."""
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    accelerate.state.GradientState._reset_state()
    yield
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    accelerate.state.GradientState._reset_state()


def test_memory_in_mixed_precision(fresh_accelerate, tmp_path):
    accelerate.Accelerator(cpu=True, mixed_precision="bf16")
    with pytest.raises(ValueError, match="memory keeps no fits in mixed precision"):
        DataParallel(tiny_model(memory=tmp_path)).fit(TEXTS)


def test_an_accelerator_of_the_scripts_own_that_accumulates(fresh_accelerate):
    own = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=4)
    for _ in range(2):
        with pytest.raises(ValueError, match="gradient_accumulation_steps=4 is not supported"):
            DataParallel(tiny_model()).fit(TEXTS)
    assert own.gradient_accumulation_steps == 4


def test_more_processes_than_gpus(fresh_accelerate, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with pytest.raises(RuntimeError, match=r"2 processes were launched on 1 GPU"):
        DataParallel(tiny_model()).fit(TEXTS)


@pytest.mark.slow
def test_launched_processes_that_accelerate_does_not_know(monkeypatch):
    DataParallel(tiny_model(max_steps=1)).fit(TEXTS)  # accelerate has its state from now on
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RuntimeError, match="2 processes were launched"):
        DataParallel(tiny_model()).fit(TEXTS)

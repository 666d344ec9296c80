"""One model trained by several processes: two real ones, started by real launchers.

`two_processes` holds what they do.
"""

from __future__ import annotations

import builtins
import os
import pickle
import subprocess
import sys
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch
import two_processes
from sklearn.base import clone, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.neighbors import KernelDensity
from sklearn.utils.validation import check_is_fitted
from tiny_language_model import TEXTS, tiny_model
from two_processes import KINDS, model_of

from snn_estimators import DataParallel, SpikeDecoderClassifier, SpikeDecoderLM
from snn_estimators.distributed.data_parallel import _check_accelerator
from snn_estimators.persistence.file_lock import hold_lock

accelerate = pytest.importorskip("accelerate")

TORCHRUN = ("torch.distributed.run", "--standalone", "--nproc-per-node", "2")
ACCELERATE = ("accelerate.commands.launch", "--multi_gpu", "--num_processes", "2",
              "--num_machines", "1", "--mixed_precision", "bf16", "--dynamo_backend", "no",
              "--main_process_port", "0")  # fmt: skip


def start(launcher, folder, *scenarios):
    return subprocess.Popen(
        [sys.executable, "-m", *launcher, two_processes.__file__, str(folder), *scenarios],
        env={
            **os.environ,
            "CUDA_VISIBLE_DEVICES": "",
            "OMP_NUM_THREADS": "1",
            "SNN_ESTIMATORS_HOME": str(folder),
        },
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process):
    """Wait, not for ever, and return the exit status and what was said."""
    try:
        _, said = process.communicate(timeout=300)
    except subprocess.TimeoutExpired:
        process.terminate()  # the launcher, which ends its processes
        return "hung", process.communicate()[1]
    return process.returncode, said


@pytest.fixture(scope="session")
def launches(tmp_path_factory):
    """Two launches, the second of which is to fail in the end, whoever asks first.

    Returns
    -------
    folder : Path
        With what the launches have left in its folders 0 and 1.
    ended : list of (status, str)
    """
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # of all workers
    folder = folder / "launches"
    folder.mkdir(exist_ok=True)
    ended = folder / "ended.pickle"
    with hold_lock(folder / "lock"):
        if not ended.exists():
            asked = (TORCHRUN,), (ACCELERATE, "decoder", "in the backward pass")
            processes = []
            for i, (launcher, *scenarios) in enumerate(asked):
                (folder / str(i)).mkdir()
                processes.append(start(launcher, folder / str(i), *scenarios))
            ended.write_bytes(pickle.dumps([end(process) for process in processes]))
    return folder, pickle.loads(ended.read_bytes())


@pytest.fixture(scope="session")
def folder(launches):
    return launches[0] / "0"


@pytest.fixture(scope="session")
def outcomes(launches, folder):
    """What each of two processes tells of the scenarios."""
    status, said = launches[1][0]
    assert status == 0, said
    assert "FutureWarning" not in said
    return told(folder)


def told(folder):
    return [pickle.loads((folder / f"{rank}.pickle").read_bytes()) for rank in (0, 1)]


@pytest.fixture
def alone():
    """A fit in this process, with its outcome."""
    return lambda model, kind="decoder": two_processes.outcome(two_processes.fit(model, kind))


def assert_equal(one, other, tolerance=0.0):
    for name, weight in one["weights"].items():
        torch.testing.assert_close(weight, other["weights"][name], rtol=0, atol=tolerance)
    for mine, theirs in zip(one["history"], other["history"], strict=True):
        assert mine.keys() == theirs.keys()
        for key in mine.keys() - {"batches"}:
            assert mine[key] == pytest.approx(theirs[key], abs=tolerance)
        for batch, its in zip(mine["batches"], theirs["batches"], strict=True):
            assert batch == pytest.approx(its, abs=tolerance)


# The same training


@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_do_what_one_does_with_batches_twice_as_large(outcomes, alone, kind):
    assert_equal(outcomes[0][kind], alone(model_of(kind, 8), kind), tolerance=1e-5)


@pytest.mark.parametrize("kind", ["decoder", "decoder classifier"])
def test_last_batches_were_ragged(outcomes, kind):
    for epoch in outcomes[0][kind]["history"]:
        sizes = [row["train_batch_size"] for row in epoch["batches"] if "train_loss" in row]
        assert min(sizes) < max(sizes)
        assert min(sizes) % 2 == 1


def test_more_processes_than_windows(outcomes, alone):
    one = two_processes.outcome(tiny_model(batch_size=1).fit(["abc"]))
    assert_equal(outcomes[0]["one window"], one, tolerance=1e-5)


def test_processes_end_with_the_same(outcomes):
    alike = {name for name, told in outcomes[0].items() if not isinstance(told, str)}
    alike -= {"afterwards", "saved by one"}
    assert len(alike) > 10
    for name in alike:
        assert_equal(outcomes[0][name], outcomes[1][name])


def test_what_was_trained_is_an_ordinary_estimator(outcomes):
    assert [outcomes[0][kind]["class"] for kind in KINDS] == [
        "SpikeDecoderLM", "SpikeGPTLM", "SpikeDecoderClassifier", "SpikeGPTClassifier",
    ]  # fmt: skip


def test_dropout_differs_between_processes_and_repeats(outcomes):
    masks, others = (told["dropout"]["masks"] for told in outcomes)
    assert all(not mask.equal(other) for mask, other in zip(masks, others, strict=True))
    assert not masks[0].equal(masks[1])
    assert_equal(outcomes[0]["dropout"], outcomes[0]["dropout again"])


def test_trained_further_together_and_alone(outcomes, folder):
    saved = SpikeDecoderLM.from_pretrained(folder / "saved")
    assert type(saved) is SpikeDecoderLM
    told = [outcome["afterwards"] for outcome in outcomes]
    assert told[0]["score"] == told[1]["score"] == pytest.approx(saved.score(TEXTS), abs=1e-6)
    assert_equal(told[0]["further"], told[1]["further"])
    assert told[0]["further"]["n_steps"] == 20
    assert told[0]["alone"]["n_steps"] == 28


# All stop together


def test_steps_and_stops(outcomes):
    assert outcomes[0]["max_steps"]["n_steps"] == 7
    assert len(outcomes[0]["early stopping"]["history"]) == 3
    assert not outcomes[0]["early stopping"]["interrupted"]


@pytest.mark.parametrize(("scenario", "n_steps"), [("one stops", 10), ("one is interrupted", 4)])
def test_what_stops_one_stops_the_other_at_the_same_step(outcomes, scenario, n_steps):
    for told in outcomes:
        assert told[scenario]["interrupted"]
        assert told[scenario]["n_steps"] == n_steps


def test_an_exception_in_one_ends_both(outcomes):
    for scenario in ("one fails", "one fails in between"):
        assert outcomes[1][scenario] == "OSError: the disk is full (in process 1 of the training)"
        assert outcomes[0][scenario] == (
            "RuntimeError: The training ended in all processes, as process 1 failed: OSError: the "
            "disk is full"
        )
    assert outcomes[1]["one exits"].startswith("SystemExit: enough")
    assert "process 1 failed: SystemExit: enough" in outcomes[0]["one exits"]
    assert outcomes[0]["one has no data"].startswith("ValueError: X holds no documents")
    assert "process 0 failed: ValueError" in outcomes[1]["one has no data"]


def test_a_share_that_is_no_number_spoils_nothing(outcomes):
    for told in outcomes:
        assert "not finite in epoch 1, batch 4" in told["one has no number"]


@pytest.mark.parametrize(
    ("scenario", "words"),
    [
        ("other data", "different data"),
        ("other text", "different data"),
        ("other sides", "train_split (give it a random_state)"),
        ("other parameters", "different parameters"),
        ("memory", "memory keeps no fits of several processes"),
        ("named, taken", "The name 'shared' is taken"),
    ],
)
def test_refused_by_both(outcomes, scenario, words):
    for told in outcomes:
        assert words in told[scenario]


def test_a_process_that_ends_ends_the_other(launches, outcomes):
    status, said = launches[1][1]
    assert status not in (0, "hung")
    assert "MemoryError: too much" in said
    mixed, other = (its["decoder"] for its in told(launches[0] / "1"))  # they were well before
    assert_equal(mixed, other)
    precise = outcomes[0]["decoder"]["history"][-1]["train_loss"]
    assert mixed["history"][-1]["train_loss"] == pytest.approx(precise, abs=0.05)
    assert mixed["history"][-1]["train_loss"] != pytest.approx(precise, abs=1e-5)


def test_a_process_that_others_leave_alone(outcomes):
    assert outcomes[1]["saved by one"] is None
    for words in ("cannot reach another one", "losed by peer", "save_pretrained in every process"):
        assert words in outcomes[0]["saved by one"]


# What callbacks do


@pytest.mark.parametrize("scenario", ["frozen", "thawed"])
def test_parameters_frozen_and_thawed(outcomes, alone, scenario):
    one = alone(getattr(two_processes, scenario)(8))
    assert_equal(outcomes[0][scenario], one, tolerance=1e-5)


def test_thawed_after_a_fit_of_a_part(outcomes):
    one = two_processes.outcome(two_processes.frozen_then_thawed(8, lambda model: model))
    synchronize = outcomes[0]["frozen, then thawed"]
    assert_equal(synchronize, one, tolerance=1e-5)
    before, after = (
        its["weights"]["head.linear.weight"] for its in (outcomes[0]["frozen"], synchronize)
    )
    assert not before.equal(after)


def test_the_best_is_loaded_by_all(outcomes, alone, tmp_path):
    assert_equal(outcomes[0]["best"], alone(two_processes.best(8, tmp_path)), tolerance=1e-4)


# Files


def test_a_named_fit_is_written_by_one_and_resumed_by_both(outcomes, folder):
    cut_off = [told["named, cut off"] for told in outcomes]
    assert [told["n_steps"] for told in cut_off] == [4, 4]
    assert any("step-00000004" in path for path in cut_off[0]["written"])
    assert cut_off[1]["written"] == []
    for told in outcomes:
        assert_equal(told["named, resumed"], told["not named"])
        assert_equal(told["named, finished"], told["not named"])
    rows = (folder / "models" / "shared" / "log.csv").read_text().splitlines()
    assert [row.partition(",")[0] for row in rows[1:]] == [str(n) for n in range(1, 16)]


def test_a_fit_of_two_processes_is_not_resumed_by_one(outcomes, folder, monkeypatch):
    monkeypatch.setenv("SNN_ESTIMATORS_HOME", str(folder))
    saved = SpikeDecoderLM.from_pretrained("shared")
    assert saved.device == "auto"
    model = clone(saved).set_params(name="shared", resume=True)
    with pytest.raises(ValueError, match=r"processes \(saved 2, given nothing\)"):
        model.fit(two_processes.MANY_TEXTS)


# In one process, without a launcher


def test_one_process_does_what_the_estimator_does(alone):
    model = tiny_model(module__mlp_dropout=0.2)
    assert_equal(alone(DataParallel(model)), alone(model))


def test_one_process_saves_where_the_estimator_does(alone, tmp_path, monkeypatch):
    monkeypatch.setenv("SNN_ESTIMATORS_HOME", str(tmp_path))
    remembered = tiny_model(memory=tmp_path / "memory")
    named = tiny_model(name="one")
    told = [alone(DataParallel(model)) for model in (remembered, named)]
    assert_equal(told[0], alone(remembered))
    assert len([*(tmp_path / "memory" / "fits").glob("[!.]*")]) == 1
    assert_equal(told[1], alone(named.set_params(resume=True)))


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


def test_a_fitted_model_is_trained_further_and_stays(fitted):
    before = fitted.score(TEXTS)
    model = DataParallel(fitted).partial_fit(TEXTS)
    assert model.n_steps_ == 2 * fitted.n_steps_
    assert fitted.score(TEXTS) == before


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


def test_launched_processes_that_accelerate_does_not_know(monkeypatch):
    DataParallel(tiny_model(max_steps=1)).fit(TEXTS)  # accelerate has its state from now on
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RuntimeError, match="2 processes were launched"):
        DataParallel(tiny_model()).fit(TEXTS)

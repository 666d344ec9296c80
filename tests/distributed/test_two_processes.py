"""One model trained by two real processes, started by real launchers.

`two_processes` holds what they do.
"""

from __future__ import annotations

import os
import pickle
from contextlib import contextmanager

import pytest
import two_processes
from fit_outcomes import assert_equal
from sklearn.base import clone
from tiny_language_model import TEXTS
from two_processes import KINDS, model_of, tiny_model
from warm_process import run_module, running

from snn_estimators import SpikeDecoderLM
from snn_estimators.persistence.file_lock import hold_lock

pytest.importorskip("accelerate")
pytestmark = pytest.mark.slow

TORCHRUN = ("torch.distributed.run", "--standalone", "--nproc-per-node", "2")  # `torchrun`
ACCELERATE = ("accelerate.commands.launch", "--multi_gpu", "--num_processes", "2",
              "--num_machines", "1", "--mixed_precision", "bf16", "--dynamo_backend", "no",
              "--main_process_port", "0")  # fmt: skip


@contextmanager
def launched(launcher, folder, *scenarios):
    """Have a launcher fork two processes, and yield what waits for the exit status and all said."""
    said = folder / "said.txt"
    env = {
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": "1",
        "SNN_ESTIMATORS_HOME": str(folder),
        "PET_START_METHOD": "fork",  # options of torchrun, to which accelerate passes them on
        "PET_RUN_PATH": "1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in env.items():
            patch.setenv(name, value)
        process = running(
            run_module, *launcher, two_processes.__file__, folder, *scenarios, output=said
        )
        with process as launcher:

            def end():
                launcher.join(300)
                if launcher.exitcode is None:
                    launcher.terminate()  # which ends its processes
                    launcher.join(30)
                    return "hung", said.read_text()
                return launcher.exitcode, said.read_text()

            yield end


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
            for i in "01":
                (folder / i).mkdir()
            with (
                launched(TORCHRUN, folder / "0") as end,
                launched(ACCELERATE, folder / "1", "decoder", "in the backward pass") as its_end,
            ):
                ended.write_bytes(pickle.dumps([end(), its_end()]))
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

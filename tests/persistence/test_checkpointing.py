"""When a `Checkpointer` calls its store and role, with a net and a store that only take notes."""

from __future__ import annotations

import signal
from types import SimpleNamespace

import pytest
import torch

from snn_estimators.persistence.checkpointing import Checkpointer, Position, Role, Saved, Store
from snn_estimators.persistence.training_state import ResumeError


class NotingStore(Store):
    """Has saved some fits, the best first, and notes what is called."""

    compares_data = True

    def __init__(self, *saved):
        self.saved, self.calls = list(saved), []

    def open(self, role):
        self.calls.append("open")
        return self.saved.pop(0) if self.saved else None

    def close(self, *exception):
        self.calls.append("close")

    def check_data(self, saved, documents_hash):
        self.calls.append(f"check_data {documents_hash}")

    def check_begin(self, saved, metadata, role):
        self.calls.append("check_begin")

    def fallback(self, saved, error, role):
        self.calls.append(f"fallback: {error}")
        return self.saved.pop(0) if self.saved else None

    def on_fit_begin(self, net, position):
        self.calls.append("on_fit_begin")

    def on_step_end(self, net, position):
        self.calls.append(f"step {position.steps}")

    def on_epoch_end(self, net, position):
        self.calls.append(f"epoch {position.epochs}")

    def save(self, net, position, metadata, *, finished):
        self.metadata = dict(metadata)
        self.calls.append(f"save {position.steps}{' finished' if finished else ''}")

    def on_interrupt(self):
        self.calls.append("on_interrupt")

    def on_error(self, error, position):
        self.calls.append(f"error {error!r}")


class Follower(Role):
    """A process beside the one that writes."""

    writes = False
    is_alone = False


class Net:
    """Trains two epochs of two steps, and does not take states that are called "bad"."""

    device_ = torch.device("cpu")
    planned_steps_ = 4

    def __init__(self, save_every_n_steps=None):
        self.save_every_n_steps = save_every_n_steps
        self.interrupted_ = False
        self.loaded = []

    def load_training_state_dict(self, state, data=None):
        if state == "bad":
            raise ResumeError("does not fit")
        self.loaded.append(state)


def saved(state, *, finished=False):
    return Saved(2, 4, finished, SimpleNamespace(to_dict=lambda: state), None, 3)


def train(checkpointer, net, at_step=lambda step: None):
    """Do what the training loop does, except that nothing is trained."""
    position = Position(epoch_length=2)
    with checkpointer:
        checkpointer.check_data(lambda: "hash")
        if checkpointer.restore_finished(net):
            return
        checkpointer.on_fit_begin(net, position, (None, None))
        try:
            for _ in range(2):
                for position.batches in (1, 2):
                    position.steps += 1
                    at_step(position.steps)
                    checkpointer.on_step_end(net, position)
                position.batches, position.epochs = 0, position.epochs + 1
                checkpointer.on_epoch_end(net, position)
        except KeyboardInterrupt:
            net.interrupted_ = True
        checkpointer.on_fit_end(net, position)


def test_order_of_calls():
    store = NotingStore()
    train(Checkpointer(store), Net())
    assert store.calls == [
        "open", "check_data hash", "on_fit_begin", "step 1", "step 2", "epoch 1", "save 2",
        "step 3", "step 4", "epoch 2", "save 4 finished", "close",
    ]  # fmt: skip
    assert store.metadata.keys() == {"data", "split", "device"}
    assert store.metadata["data"] == "hash"


@pytest.mark.parametrize(
    ("every", "saves"),
    [
        (None, ["save 2", "save 4 finished"]),
        (1, ["save 1", "save 2", "save 3", "save 4 finished"]),
        (3, ["save 3", "save 4 finished"]),
        (9, ["save 4 finished"]),
    ],
)
def test_saves_when_it_is_due_and_once(every, saves):
    store = NotingStore()
    train(Checkpointer(store), Net(every))
    assert [call for call in store.calls if call.startswith("save")] == saves


def test_resumes_from_what_was_saved():
    store, net = NotingStore(saved("good"), saved("older")), Net()
    train(Checkpointer(store), net)
    assert net.loaded == ["good"]
    assert store.calls[:4] == ["open", "check_data hash", "check_begin", "on_fit_begin"]


def test_falls_back_to_an_older_checkpoint():
    store, net = NotingStore(saved("bad"), saved("bad"), saved("older")), Net()
    train(Checkpointer(store), net)
    assert net.loaded == ["older"]
    once = ["check_begin", "fallback: does not fit", "check_data hash"]
    assert store.calls[2:9] == [*once, *once, "check_begin"]
    assert "save 4 finished" in store.calls


def test_starts_from_scratch_when_no_state_fits():
    store, net = NotingStore(saved("bad")), Net()
    train(Checkpointer(store), net)
    assert net.loaded == []
    assert store.calls[3:5] == ["fallback: does not fit", "on_fit_begin"]
    assert "save 4 finished" in store.calls


def test_a_store_without_a_fallback_raises():
    class One(NotingStore):
        fallback = Store.fallback

    store = One(saved("bad"))
    with pytest.raises(ResumeError, match="does not fit"):
        train(Checkpointer(store), Net())
    assert store.calls[-1] == "close"


def test_a_state_that_does_not_fit_elsewhere_is_loaded_nowhere():
    class Pair(Role):
        is_alone = False
        failures = iter([True, False])

        def any_failed(self, failed):
            return next(self.failures)

    store, net = NotingStore(saved("good"), saved("older")), Net()
    train(Checkpointer(store, Pair()), net)
    assert net.loaded == ["good", "older"]
    assert "fallback: The state does not fit in another process." in store.calls


def test_a_finished_fit_is_restored():
    store, net = NotingStore(saved("bad", finished=True), saved("good", finished=True)), Net()
    train(Checkpointer(store), net)
    assert net.loaded == ["good"]
    assert store.calls[-1] == "close"
    assert not any(call.startswith(("step", "save")) for call in store.calls)


def test_behind_a_finished_fit_there_may_be_one_to_resume():
    store, net = NotingStore(saved("bad", finished=True), saved("good")), Net()
    train(Checkpointer(store), net)
    assert net.loaded == ["good"]
    assert "save 4 finished" in store.calls


def test_a_follower_reads_and_writes_nothing():
    store, net = NotingStore(saved("good")), Net(save_every_n_steps=1)
    train(Checkpointer(store, Follower()), net)
    assert net.loaded == ["good"]
    assert store.calls == ["open", "check_data hash", "check_begin", "close"]


@pytest.mark.parametrize("step", [1, 2, 4])
def test_ctrl_c_is_saved_at_the_end_of_its_step(step):
    def interrupt(now):
        if now == step:
            signal.raise_signal(signal.SIGINT)

    store, net = NotingStore(), Net(save_every_n_steps=9)
    train(Checkpointer(store), net, interrupt)
    assert net.interrupted_
    assert store.calls[-4:] == [f"step {step}", f"save {step}", "close", "on_interrupt"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_ctrl_c_does_not_wait():
    def interrupt(now):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    store = NotingStore()
    train(Checkpointer(store), Net(), interrupt)
    assert store.calls == ["open", "check_data hash", "on_fit_begin", "close", "on_interrupt"]


def test_an_exception_closes_the_store():
    def fail(now):
        raise ZeroDivisionError

    store = NotingStore()
    checkpointer = Checkpointer(store)
    with pytest.raises(ZeroDivisionError):
        train(checkpointer, Net(), fail)
    assert store.calls[-2:] == ["on_fit_begin", "close"]
    checkpointer.on_error(ZeroDivisionError(), Position())
    Checkpointer(store, Follower()).on_error(OSError(), Position())
    assert store.calls[-1] == "error ZeroDivisionError()"


def test_a_store_that_does_not_open_is_closed():
    class Locked(NotingStore):
        def open(self, role):
            raise RuntimeError("locked")

    store = Locked()
    with pytest.raises(RuntimeError, match="locked"), Checkpointer(store):
        pass
    assert store.calls == ["close"]


def test_without_a_store_nothing_is_hashed():
    def fail():
        raise AssertionError

    with Checkpointer() as checkpointer:
        checkpointer.check_data(fail)
        assert not checkpointer.restore_finished(Net())
        checkpointer.on_fit_begin(Net(), Position(), (None, None))
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert checkpointer.saved is None
    assert checkpointer.resume_hint() == ""

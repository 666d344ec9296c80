"""The state of a net's training: taken out, put into another net, or not taken at all."""

from __future__ import annotations

import copy

import pytest
import torch
from skorch.callbacks import Callback, LRScheduler
from tiny_language_model import TEXTS, flat, tiny_model
from torch.optim.lr_scheduler import ExponentialLR

from snn_estimators.estimators.net.net_state import (
    load_training_state,
    training_state,
    unsaved_attributes,
)
from snn_estimators.persistence.training_state import ResumeError


class Stateful(Callback):
    """Learns a number and something that no file can hold."""

    def __init__(self, rate=0.5):
        self.rate = rate

    def initialize(self):
        self.seen_, self.open_ = 0, None
        return self

    def on_batch_end(self, net, **kwargs):
        self.seen_ += 1
        self.open_ = (i for i in ())


class Forgetful(Stateful):
    not_resumed = ("open_",)


def fit(**parameters):
    scheduler = LRScheduler(ExponentialLR, gamma=0.9)
    callbacks = [("scheduler", scheduler), ("stateful", Forgetful())]
    return tiny_model(callbacks=callbacks, **parameters).fit(TEXTS)


@pytest.fixture(scope="module")
def net():
    return fit()


def plain(net):
    state = training_state(net)
    return flat({**state, "generators": None, "history": None}), state["history"]


@pytest.mark.slow
def test_round_trip(net):
    other = fit(random_state=1, max_epochs=1)
    assert plain(other) != plain(net)
    load_training_state(other, copy.deepcopy(training_state(net)), None)
    assert plain(other)[1] == plain(net)[1]
    assert other.score(TEXTS) == net.score(TEXTS)
    for name in ("parts", "frozen", "position"):
        assert plain(other)[0][name] == plain(net)[0][name]
    assert dict(other.callbacks_)["stateful"].seen_ == dict(net.callbacks_)["stateful"].seen_ > 0


def test_random_generators_are_put_back(net):
    state = copy.deepcopy(training_state(net))
    drawn = torch.rand(3)
    load_training_state(net, state, None)
    assert torch.rand(3).equal(drawn)


def test_frozen_parameters_come_back_frozen(net):
    state = copy.deepcopy(training_state(net))
    name, parameter = next(iter(net.module_.named_parameters()))
    load_training_state(net, {**state, "frozen": [name]}, None)
    assert not parameter.requires_grad
    assert training_state(net)["frozen"] == [name]
    load_training_state(net, state, None)
    assert parameter.requires_grad


DAMAGES = {
    "other sizes": lambda state: state["parts"]["module_"].update(
        {"head.linear.weight": torch.zeros(1, 1)}
    ),
    "no optimizer": lambda state: state["parts"].pop("optimizer_"),
    "other groups": lambda state: state["parts"]["optimizer_"]["param_groups"].clear(),
    "no history": lambda state: state.pop("history"),
    "no position": lambda state: state.update(position=None),
    "no generators": lambda state: state.update(generators=()),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_state_that_does_not_fit_changes_nothing(net, damage):
    before = copy.deepcopy(plain(net))
    state = copy.deepcopy(training_state(fit(random_state=1, max_epochs=1)))
    DAMAGES[damage](state)
    with pytest.raises(ResumeError, match="does not fit this SpikeDecoderLM"):
        load_training_state(net, state, None)
    assert plain(net) == before


def test_what_no_checkpoint_can_hold_is_named():
    model = tiny_model(callbacks=[("a", Stateful()), ("b", Forgetful())], max_epochs=1).fit(TEXTS)
    assert unsaved_attributes(model) == [("a", "open_", "generator")]
    callbacks = training_state(model)["callbacks"]
    assert callbacks["a"]["attributes"] == callbacks["b"]["attributes"]
    assert callbacks["a"]["attributes"]["seen_"] > 0
    assert "rate" not in callbacks["a"]["attributes"]

from __future__ import annotations

import math
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GroupKFold
from skorch.callbacks import Callback, EarlyStopping
from skorch.dataset import ValidSplit
from tiny_language_model import tiny_model

from snn_estimators.estimators import SpikeDecoderLM
from snn_estimators.estimators.net.callbacks import StepSchedule
from snn_estimators.nn import SpikingDecoder


class Recorder(Callback):
    """Notes the learning rate and the batch's shape at every training step."""

    def on_train_begin(self, net, **kwargs):
        self.rates, self.shapes, self.inputs = [], [], []

    def on_grad_computed(self, net, batch=None, **kwargs):
        self.rates.append(net.optimizer_.param_groups[0]["lr"])
        self.shapes.append(tuple(batch[0].shape))
        self.inputs.append(batch[0])


def test_steps_and_epochs_are_counted(texts):
    model = tiny_model(max_epochs=3).fit(texts)
    n_windows = sum(math.ceil((len(text) - 1) / 8) for text in texts)
    assert model.n_iter_ == 3
    assert model.n_steps_ == model.planned_steps_ == 3 * math.ceil(n_windows / 4)
    assert model.interrupted_ is False


@pytest.mark.slow
@pytest.mark.parametrize("max_steps", [1, 3, 5, 13])
def test_max_steps_is_exact(texts, max_steps):
    model = tiny_model(max_steps=max_steps).fit(texts)
    assert model.n_steps_ == max_steps
    assert len(model.history[:, "train_loss"]) == model.n_iter_


def test_random_windows(texts):
    recorder = Recorder()
    model = tiny_model(steps_per_epoch=5, max_epochs=2, callbacks=[recorder]).fit(["ab" * 50])
    assert model.n_steps_ == 10
    assert set(recorder.shapes) == {(4, 8)}
    assert {int(batch[0, 0]) for batch in recorder.inputs} == {0, 1}  # odd positions start too


@pytest.mark.slow
def test_stride(texts):
    steps = [
        tiny_model(stride=stride, max_epochs=1, batch_size=1).fit(["a" * 33]).n_steps_
        for stride in (None, 8, 4, 1)
    ]
    assert steps == [4, 4, 7, 25]


@pytest.mark.slow
def test_the_schedule_of_a_fit(texts):
    recorder = Recorder()
    model = tiny_model(max_steps=20, warmup_steps=4, callbacks=[recorder]).fit(texts)
    rates = recorder.rates
    np.testing.assert_allclose(rates[:4], [0.0025, 0.005, 0.0075, 0.01])
    assert rates[4] == pytest.approx(0.01)
    assert rates == sorted(rates[:5]) + sorted(rates[5:], reverse=True)
    assert rates[-1] == pytest.approx(0.0005)
    assert model.optimizer_.param_groups[0]["lr"] == 0.01
    model.set_params(schedule="constant", warmup_steps=0, lr=0.003).fit(texts)
    assert set(recorder.rates) == {0.003}


def test_the_schedule_at_its_edges():
    assert StepSchedule().factor(0, 1) == 1
    assert StepSchedule().factor(2, 3, rise=3) == 1
    assert StepSchedule("constant").factor(5, 10) == 1


def test_what_decays():
    model = tiny_model(module__learnable_threshold=True, module__encoding="learned")
    model.fit(["abcabcabc"])
    rates = {
        id(parameter): group["weight_decay"]
        for group in model.optimizer_.param_groups
        for parameter in group["params"]
    }
    for name, parameter in model.module_.named_parameters():
        decays = (parameter.dim() == 2 and "encoding" not in name) or name.endswith("v_threshold")
        assert rates[id(parameter)] == (0.1 if decays else 0.0), name
    assert all(group["betas"] == (0.9, 0.95) for group in model.optimizer_.param_groups)


@pytest.mark.slow
def test_groups_of_ones_own_and_other_optimizers(texts):
    model = tiny_model(
        optimizer__param_groups=[("head.*", {"lr": 0.5, "weight_decay": 0.7})],
        schedule="constant",
    ).fit(texts)
    assert [g["weight_decay"] for g in model.optimizer_.param_groups] == [0.7, 0.1, 0.0]
    assert [g["lr"] for g in model.optimizer_.param_groups] == [0.5, 0.01, 0.01]
    assert tiny_model(optimizer=torch.optim.SGD, optimizer__momentum=0.9).fit(texts).n_iter_ == 2


@pytest.mark.slow
def test_two_halves_make_a_whole(texts):
    def weights(model):
        return torch.cat([p.detach().ravel() for p in model.module_.parameters()])

    settings = {"schedule": "constant", "module__mlp_dropout": 0.1}
    whole = tiny_model(max_epochs=4, **settings).fit(texts)
    halves = tiny_model(max_epochs=2, **settings).fit(texts).partial_fit(texts)
    assert torch.equal(weights(whole), weights(halves))
    assert halves.n_iter_ == 4
    assert halves.n_steps_ == whole.n_steps_
    assert whole.history[:, "train_loss"] == halves.history[:, "train_loss"]


@pytest.mark.slow
def test_partial_fit_keeps_the_vocabulary(texts):
    model = tiny_model().partial_fit(texts)
    vocabulary = model.tokenizer_.vocabulary_
    model.partial_fit(["new letters: xyz"])
    assert model.tokenizer_.vocabulary_ == vocabulary
    warm = tiny_model(warm_start=True).fit(texts).fit(texts)
    assert warm.n_iter_ == 4


@pytest.mark.slow
def test_a_new_rate_reaches_partial_fit(texts):
    recorder = Recorder()
    model = tiny_model(schedule="constant", callbacks=[recorder]).fit(texts)
    model.set_params(lr=0.5).partial_fit(texts)
    assert set(recorder.rates) == {0.5}


def test_losses_are_means_over_tokens(texts):
    settings = {"lr": 1e-12, "spike_penalty": 0.0, "module__normalization": "layer"}
    model = tiny_model(max_epochs=1, batch_size=3, **settings).fit(texts)
    assert model.history[-1, "train_loss"] == pytest.approx(-model.score(texts), abs=1e-6)


def test_validation_is_weighted_by_tokens_too(texts):
    settings = {"lr": 1e-12, "module__normalization": "layer"}
    model = tiny_model(train_split=ValidSplit(2), max_epochs=2, **settings).fit(texts)
    losses = model.history[:, "valid_loss"]
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)
    assert model.history[0, "valid_loss_best"] is True


def test_the_validation_loss_is_the_score_of_the_validation_windows():
    ragged = ["ab", "the cat sat on the mat", "a dog", "the dog ran at the cat", "mat", "on a mat"]
    model = tiny_model(train_split=ValidSplit(2), lr=1e-12, max_epochs=1, batch_size=2).fit(ragged)
    tokens = model.tokenizer_.transform(ragged)
    valid = model.get_split_datasets(model.get_dataset(tokens)).valid
    windows = model.tokenizer_.inverse_transform(
        [torch.cat([inputs, targets[-1:]]).numpy() for inputs, targets in valid]
    )
    lengths = [len(window) for window in windows]
    assert len(set(lengths)) > 2
    loss = model.history[-1, "valid_loss"]
    assert loss == pytest.approx(-model.score(windows), abs=1e-6)
    by_window = np.mean([-model.score([window]) for window in windows])
    by_batch = np.mean([b["valid_loss"] for b in model.history[-1, "batches"] if "valid_loss" in b])
    assert abs(loss - by_window) > 1e-3
    assert abs(loss - by_batch) > 1e-3


@pytest.mark.slow
def test_a_split_with_random_windows_and_groups(texts):
    model = tiny_model(train_split=ValidSplit(2), steps_per_epoch=3).fit(texts)
    assert model.n_steps_ == 6
    n_windows = sum(math.ceil((len(text) - 1) / 8) for text in texts)
    split = ValidSplit(GroupKFold(2))
    grouped = tiny_model(train_split=split).fit(texts, groups=np.arange(n_windows) % 2)
    assert grouped.history[-1, "valid_loss"] > 0


def test_divergence_stops_before_the_weights_are_spoilt(texts):
    model = tiny_model(lr=1e30, clip=None, schedule="constant", max_epochs=5)
    with pytest.raises(FloatingPointError, match=r"not finite in epoch \d.*lower lr than 1e\+30"):
        model.fit(texts)
    assert model.n_iter_ >= 1
    assert len(model.history) == model.n_iter_
    assert all(torch.isfinite(p).all() for p in model.module_.parameters())


class InfiniteLoss(torch.nn.CrossEntropyLoss):
    """Infinite, while its gradient is that of any other loss."""

    def forward(self, *args):
        return super().forward(*args) + torch.inf


def test_an_infinite_loss_stops_the_fit_even_if_its_gradient_is_finite(texts):
    module = SpikingDecoder(40, 8, blocks=1, heads=1, token_dim=4, position_dim=2)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    with pytest.raises(FloatingPointError, match="not finite in epoch 1, batch 1"):
        SpikeDecoderLM(module, criterion=InfiniteLoss, device="cpu").fit(texts)
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())


class Interrupt(Callback):
    def __init__(self, epoch=2):
        self.epoch = epoch

    def on_batch_end(self, net, training=False, **kwargs):
        if len(net.history) == self.epoch:
            raise KeyboardInterrupt


@pytest.mark.slow
def test_an_interrupted_fit_says_so(texts):
    model = tiny_model(max_epochs=5, callbacks=[Interrupt()])
    with pytest.warns(ConvergenceWarning, match="interrupted in epoch 2"):
        model.fit(texts)
    assert model.interrupted_ is True
    assert model.n_iter_ == 2
    assert len(model.history[:, "train_loss"]) == 2
    assert np.isfinite(model.score(texts))
    assert model.set_params(callbacks=None).fit(texts).interrupted_ is False


def test_early_stopping_is_no_interruption(texts, recwarn):
    stopper = EarlyStopping("train_loss", patience=1, threshold=10.0, sink=lambda text: None)
    model = tiny_model(max_epochs=5, callbacks=[stopper]).fit(texts)
    assert model.n_iter_ == 2
    assert model.interrupted_ is False
    assert not [w for w in recwarn if issubclass(w.category, ConvergenceWarning)]


@pytest.mark.slow
def test_fits_in_threads_equal_fits_in_turn(texts):
    """PyTorch's generators are the process's: one fit must not draw another's numbers."""
    models = [tiny_model(random_state=i, module__mlp_dropout=0.3, max_epochs=3) for i in range(4)]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(lambda model: clone(model).fit(texts).score(texts), models))
    assert together == [model.fit(texts).score(texts) for model in models]


@pytest.mark.slow
def test_the_progress_bar(texts, capsys):
    tiny_model(verbose=0).fit(texts)
    assert capsys.readouterr().err == ""
    tiny_model(verbose=1).fit(texts).fit(texts)
    assert capsys.readouterr().out == ""
    model = tiny_model(verbose=1, callbacks=[("interrupt", Interrupt(9))]).fit(texts)
    shown = capsys.readouterr().err
    assert f"{model.n_steps_}/{model.n_steps_}" in shown
    assert "loss=" in shown
    pickle.dumps(model)


@pytest.mark.slow
def test_callbacks_can_be_switched_off(texts):
    model = tiny_model(verbose=1, callbacks__progress=None).fit(texts)
    assert "progress" not in dict(model.callbacks_)
    assert tiny_model(callbacks="disable").fit(texts).n_steps_ == model.n_steps_


def test_a_module_instance_is_used_as_it_is(texts):
    module = SpikingDecoder(40, 8, blocks=1, heads=1, token_dim=4, position_dim=2)
    model = SpikeDecoderLM(module, max_epochs=1, random_state=0).fit(texts)
    assert model.module_ is module
    assert model.predict_proba(["the"])[0].shape == (3, 40)

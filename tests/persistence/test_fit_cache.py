"""Fits that a memory keeps: which are the same, what is loaded, and what survives."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import threading
import time
import warnings
from functools import partial
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Callback, EarlyStopping, LRScheduler
from skorch.dataset import ValidSplit
from tiny_language_model import TEXTS, flat, tiny_model
from torch.optim.lr_scheduler import ExponentialLR

from snn_estimators.estimators import SpikeDecoderClassifier, SpikeGPTClassifier, SpikeGPTLM
from snn_estimators.nn import SpikingDecoder
from snn_estimators.persistence.fit_cache import FitCache
from snn_estimators.text import CharTokenizer, WordTokenizer

LABELS = ["good", "bad", "good", "bad"]
posix = pytest.mark.skipif(os.name != "posix", reason="locks and SIGKILL are POSIX's")


def holds(estimator, X, y=None):
    """Whether a fit would be loaded."""
    trial = clone(estimator)
    key, memory = trial._key_of_fit(X, y, {}), FitCache.of(trial.memory)
    return None not in (key, memory) and memory.finished(key).is_file()


class Noted(Callback):
    """Leaves a line for every training, and may end its process in the middle of one."""

    def __init__(self, path, kill_in_epoch=None):
        self.path = path
        self.kill_in_epoch = kill_in_epoch

    def on_train_begin(self, net, **kwargs):
        with Path(self.path).open("a") as file:
            file.write(f"{net.lr}\n")

    def on_epoch_end(self, net, **kwargs):
        mark = Path(f"{self.path}.killed")
        if len(net.history) == self.kill_in_epoch and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)


class Counter(Callback):
    """Has a state."""

    def initialize(self):
        self.seen_ = np.zeros(2)
        return self

    def on_batch_end(self, net, **kwargs):
        self.seen_ += 1


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    """Children of a fork must not share a pool of threads, and all sums have one order."""
    monkeypatch.setattr("snn_estimators._files.sync", lambda _: None)  # slow
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "memory"


@pytest.fixture
def notes(tmp_path):
    return tmp_path / "notes.txt"


def tiny_classifier(kind=SpikeGPTClassifier, **parameters):
    sizes = {"module__n_layer": 1, "module__n_embd": 8, "max_epochs": 2, "random_state": 0}
    return kind(**{**({} if "pretrained" in parameters else sizes), **parameters})


def trainings(notes):
    return notes.read_text().split() if notes.exists() else []


def finished(folder):
    files = (folder / "fits").glob("*.safetensors")
    return sorted(path for path in files if ".unfinished" not in path.name)


def outcome(model):
    """All that equal fits have in common, as plain values."""
    states = [part.state_dict() for part in (model.module_, model.optimizer_)]
    counts = model.n_iter_, model.n_steps_, model.planned_steps_, model.interrupted_
    callbacks = dict(model.callbacks_)
    stateful = [vars(callbacks[n]) for n in ("Counter", "EarlyStopping") if n in callbacks]
    return repr((flat(states), counts, model._states_after_training[0].tolist(), stateful))


def without_times(history):
    return [{k: v for k, v in epoch.items() if k != "dur"} for epoch in history]


# What is loaded


CASES = {
    "plain": {"module__mlp_dropout": 0.2},
    "words": {"tokenizer": WordTokenizer(), "tokenizer__min_frequency": np.int64(1)},
    "validation": {"train_split": ValidSplit(3), "evaluate_every_n_steps": 2},
    "an early stop": {
        "callbacks": [EarlyStopping("train_loss", patience=1, threshold=9.0, load_best=True,
                                    sink=print)],
        "max_epochs": 8,
    },
    "callbacks": {
        "callbacks": [Counter, LRScheduler(ExponentialLR, gamma=0.9)], "schedule": "constant",
    },
}  # fmt: skip


SOME_SLOW = [
    pytest.param(case, marks=[pytest.mark.slow] * (index > 0), id=case)
    for index, case in enumerate(CASES)
]


@pytest.mark.slow
@pytest.mark.parametrize("case", SOME_SLOW)
def test_a_loaded_fit_is_the_one_that_was_trained(case, folder):
    settings = CASES[case]
    without = tiny_model(**settings).fit(TEXTS)
    trained = tiny_model(**settings, memory=folder).fit(TEXTS)
    loaded = tiny_model(**settings, memory=folder).fit(TEXTS)
    assert outcome(without) == outcome(trained) == outcome(loaded)
    assert loaded.history_ == trained.history_
    assert without_times(loaded.history_) == without_times(without.history_)
    assert loaded.score_samples(TEXTS).tolist() == trained.score_samples(TEXTS).tolist()
    assert loaded.tokenizer_.vocabulary_ == trained.tokenizer_.vocabulary_
    assert repr(loaded.tokenizer_.get_params()) == repr(trained.tokenizer_.get_params())
    for model in (trained, loaded):
        model.partial_fit(TEXTS)
    assert outcome(trained) == outcome(loaded)
    assert trained.generate("the", random_state=0) == loaded.generate("the", random_state=0)
    assert len(finished(folder)) == 1
    assert {path.name for path in folder.iterdir()} == {"fits", "memory.json"}
    assert len(list((folder / "fits").iterdir())) == 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", [SpikeGPTClassifier, SpikeDecoderClassifier])
def test_classifiers(kind, folder, notes):
    sizes = {"module__max_len": 8, "module__blocks": 1, "module__token_dim": 6,
             "module__position_dim": 2, "module__heads": 1}  # fmt: skip
    make = partial(tiny_classifier, memory=folder, callbacks=[Noted(str(notes))])
    if kind is SpikeDecoderClassifier:
        make = partial(kind, **sizes, **make.keywords, max_epochs=2, random_state=0)
    trained, loaded = (make().fit(TEXTS, LABELS) for _ in range(2))
    assert outcome(trained) == outcome(loaded)
    assert loaded.classes_.tolist() == ["bad", "good"]
    assert loaded.predict_proba(TEXTS).tolist() == trained.predict_proba(TEXTS).tolist()
    for model in (trained, loaded):
        model.partial_fit(TEXTS, LABELS)
    assert outcome(trained) == outcome(loaded)
    assert len(trainings(notes)) == 3
    numbers = make().fit(TEXTS, [1, 0, 1, 0])
    assert len(trainings(notes)) == 4
    assert numbers.classes_.tolist() == [0, 1]
    assert holds(make(), TEXTS, LABELS)
    assert not holds(make(), TEXTS, LABELS[::-1])


def test_ids_and_tables(folder, notes):
    make = partial(
        tiny_model, tokenizer=None, memory=folder, callbacks=[Noted(str(notes))], max_epochs=1
    )
    table = np.arange(24).reshape(4, 6) % 7
    assert make().fit(table).n_features_in_ == make().fit(table.tolist()).n_features_in_ == 6
    assert not hasattr(make().fit([row[:5] for row in table] + [np.arange(3)]), "n_features_in_")
    assert len(trainings(notes)) == 2


# Which fits are the same


def key(memory, **parameters):
    return tiny_model(memory=memory, **parameters)._key_of_fit(TEXTS, None, {})


@pytest.mark.slow
def test_a_pretrained_model_is_told_by_its_content(tmp_path, folder, notes):
    def gpt(lr):
        return SpikeGPTLM(
            module__n_layer=1, module__n_embd=8, tokenizer="word", max_epochs=1, lr=lr,
            random_state=0,
        ).fit(TEXTS)  # fmt: skip

    def fit(model):
        classifier = tiny_classifier(
            pretrained=model, memory=folder, random_state=0, max_epochs=1,
            callbacks=[Noted(str(notes))],
        )  # fmt: skip
        return classifier.fit(TEXTS, LABELS)

    first = fit(gpt(0.1))
    saved = gpt(0.1).save_pretrained(tmp_path / "gpt")
    for same in (gpt(0.1), FrozenEstimator(gpt(0.1)), saved):
        assert outcome(fit(same)) == outcome(first)
        assert fit(same).tokenizer_.vocabulary_ == first.tokenizer_.vocabulary_
    assert len(trainings(notes)) == 1
    gpt(0.2).save_pretrained(saved)
    assert outcome(fit(saved)) != outcome(first)
    assert len(trainings(notes)) == 2


@pytest.mark.slow
def test_a_joblib_memory(folder):
    memory = joblib.Memory(folder, verbose=0)
    model = tiny_model(memory=memory)
    assert not holds(model, TEXTS)
    one = model.fit(TEXTS)
    assert holds(clone(model), TEXTS)
    assert clone(model).fit(TEXTS).history == one.history
    memory.clear(warn=False)
    assert not holds(model, TEXTS)
    assert not holds(tiny_model(memory=joblib.Memory(None)).fit(TEXTS), TEXTS)


# What is refused


def test_what_cannot_be_told_from_its_like(folder, tmp_path):
    with (tmp_path / "open").open("w") as file:
        model = tiny_model(memory=folder, callbacks=[EarlyStopping(sink=file.write)])
        with pytest.raises(TypeError, match=r"With memory, callbacks must .* or set memory=None"):
            model.fit(TEXTS)
        with pytest.raises(TypeError, match="callbacks"):
            model.check(TEXTS)
    assert not folder.exists()


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"memory": 3}, TypeError, "memory must be None, the path of a folder or .* got 3"),
        ({"memory": ""}, TypeError, "memory must be None, the path"),
        ({"memory": __file__}, ValueError, "is no folder"),
        ({"memory": Path(__file__).parent}, ValueError, "holds other things"),
        ({"memory": "m", "name": "GPT-1"}, ValueError, "leave out either memory='m' or name"),
        ({"memory": "m", "iterator_train__generator": torch.Generator()}, ValueError, "generator"),
        ({"memory": "m", "save_every_n_steps": 0}, ValueError, "whole number from 1"),
    ],
)
def test_bad_input(parameters, error, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for method in ("fit", "check"):
        with pytest.raises(error, match=message):
            getattr(tiny_model(**parameters), method)(TEXTS)
    assert not any(tmp_path.iterdir())


def test_saving_needs_a_place(folder):
    with pytest.raises(ValueError, match="save_every_n_steps=2 needs a memory"):
        tiny_classifier(save_every_n_steps=2).fit(TEXTS, LABELS)


def test_a_store_of_a_newer_version(folder, notes):
    tiny_model(memory=folder).fit(TEXTS)
    (folder / "memory.json").write_text(json.dumps({"format": 99}))
    model = tiny_model(memory=folder, callbacks=[Noted(str(notes))])
    for method in (model.fit, model.check):
        with pytest.raises(ValueError, match=r"from a newer version .*format 99.* upgrade"):
            method(TEXTS)
    assert trainings(notes) == []


@pytest.mark.slow
def test_a_damaged_store_says_what_to_do(folder):
    tiny_model(memory=folder).fit(TEXTS)
    (folder / "memory.json").write_text("")
    with pytest.raises(ValueError, match=r"memory\.json is damaged: .*Delete it: the fits are"):
        tiny_model(memory=folder).fit(TEXTS)
    (folder / "memory.json").unlink()
    tiny_model(memory=folder).fit(TEXTS)
    assert len(finished(folder)) == 1


@pytest.mark.parametrize("seed", [None, np.random.RandomState(0)])
def test_without_a_whole_seed_nothing_is_kept(seed, folder):
    model = tiny_model(memory=folder, random_state=seed, max_epochs=1)
    with pytest.warns(UserWarning, match="no fit equals another, so memory keeps none") as told:
        model.fit(TEXTS)
    assert len(told) == 1
    assert not holds(model, TEXTS)
    assert not folder.exists()


# What is damaged, interrupted or cannot be written


def halved(data):
    return data[: len(data) // 2]


def flipped(data):
    return data[:-100] + bytes([data[-100] ^ 1]) + data[-99:]


@pytest.mark.slow
@pytest.mark.parametrize(
    "damage", [halved, flipped, lambda data: b"", lambda data: b"{}", lambda data: data * 2]
)
def test_a_damaged_file_is_fitted_again(damage, folder, notes):
    make = partial(tiny_model, memory=folder, callbacks=[Noted(str(notes))], max_epochs=1)
    first = outcome(make().fit(TEXTS))
    (file,) = finished(folder)
    file.write_bytes(damage(file.read_bytes()))
    with pytest.warns(UserWarning, match="is damaged"):
        assert outcome(make().fit(TEXTS)) == first
    assert outcome(make().fit(TEXTS)) == first
    assert len(trainings(notes)) == 2


@pytest.mark.slow
def test_a_file_of_another_fit_is_not_trusted(folder):
    tiny_model(memory=folder).fit(TEXTS)
    (file,) = finished(folder)
    expected = outcome(tiny_model(lr=0.2).fit(TEXTS))
    shutil.copy(file, FitCache(folder).finished(key(folder, lr=0.2)))
    with pytest.warns(UserWarning, match="is of another fit"):
        assert outcome(tiny_model(lr=0.2, memory=folder).fit(TEXTS)) == expected


class Stop(Callback):
    """Interrupts, or fails, after some steps of its first life."""

    def __init__(self, path, step, error):
        self.path, self.step, self.error = path, step, error

    def on_batch_begin(self, net, training=False, **kwargs):
        if training and net._position.steps == self.step and not Path(self.path).exists():
            Path(self.path).touch()
            raise self.error


@pytest.mark.slow
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_what_did_not_end_is_not_finished_and_goes_on(error, folder, tmp_path):
    stop = Stop(str(tmp_path / "stopped"), 4, error)
    make = partial(
        tiny_model, memory=folder, callbacks=[stop, Counter()], save_every_n_steps=3,
        module__mlp_dropout=0.2,
    )  # fmt: skip
    model = make()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Training was interrupted")
        with pytest.raises(error, match="resumes from" if error is KeyboardInterrupt else ""):
            model.fit(TEXTS)
    assert model.interrupted_ == (error is KeyboardInterrupt)
    assert np.isfinite(model.score(TEXTS))  # usable as it stands
    assert finished(folder) == []
    assert not holds(make(), TEXTS)
    (unfinished,) = (folder / "fits").glob("*.unfinished.safetensors")
    resumed = make().fit(TEXTS)
    whole = make(memory=None, save_every_n_steps=None).fit(TEXTS)
    assert outcome(resumed) == outcome(whole)
    assert without_times(resumed.history_) == without_times(whole.history_)
    assert not unfinished.exists()
    assert outcome(make().fit(TEXTS)) == outcome(whole)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Training was interrupted", "ignore:.*tokens of X are unknown")
def test_ctrl_c_ends_a_search(folder, tmp_path):
    """skorch swallows it, and the search would score the half-trained and begin the next fit."""
    stop = Stop(str(tmp_path / "stopped"), 2, KeyboardInterrupt)
    model = tiny_model(memory=folder, callbacks=[stop])
    search = GridSearchCV(model, {"lr": [0.01, 0.02]}, cv=2)
    with pytest.raises(KeyboardInterrupt):
        search.fit(TEXTS)
    assert finished(folder) == []
    scores = search.fit(TEXTS).cv_results_["mean_test_score"]
    whole = clone(search).set_params(estimator__memory=None).fit(TEXTS)
    assert scores.tolist() == whole.cv_results_["mean_test_score"].tolist()


@pytest.mark.slow
def test_damage_to_an_unfinished_fit(folder, tmp_path):
    stop = Stop(str(tmp_path / "stopped"), 5, RuntimeError)
    make = partial(tiny_model, memory=folder, callbacks=[stop], save_every_n_steps=1)
    with pytest.raises(RuntimeError):
        make().fit(TEXTS)
    (unfinished,) = (folder / "fits").glob("*.unfinished.safetensors")
    unfinished.write_bytes(halved(unfinished.read_bytes()))
    with pytest.warns(UserWarning, match="is damaged"):
        resumed = make().fit(TEXTS)
    assert outcome(resumed) == outcome(tiny_model(callbacks=[stop]).fit(TEXTS))


@pytest.mark.slow
def test_a_split_that_changes_begins_anew(folder, tmp_path, monkeypatch):
    stop = Stop(str(tmp_path / "stopped"), 3, RuntimeError)
    split = ValidSplit(2, stratified=False, random_state=None)
    make = partial(
        tiny_model, memory=folder, callbacks=[stop], save_every_n_steps=1, train_split=split
    )
    with pytest.raises(RuntimeError):
        make().fit(TEXTS)
    monkeypatch.setattr("snn_estimators.persistence.checkpointing.hash_split", lambda _: "other")
    with pytest.warns(UserWarning, match="the fit starts from scratch.*random_state"):
        model = make().fit(TEXTS)
    assert model.n_steps_ == model.planned_steps_


class Sparse(SpikingDecoder):
    """Holds what no safetensors file can."""

    def __init__(self, vocab_size, **parameters):
        super().__init__(vocab_size, **parameters)
        self.register_buffer("eye", torch.eye(2).to_sparse())


def test_a_module_that_cannot_be_saved_costs_a_warning_and_not_the_fit(folder):
    with pytest.warns(UserWarning, match="could not be saved, and continues without"):
        assert tiny_model(module=Sparse, memory=folder).fit(TEXTS).n_steps_ == 6
    assert not finished(folder)


@pytest.mark.slow
def test_a_full_disk_costs_a_warning_and_not_the_fit(folder, monkeypatch):
    expected = outcome(tiny_model().fit(TEXTS))
    whole = Path.write_bytes

    def full(path, content):
        if path.name.endswith(".tmp") and "safetensors" in path.name:
            whole(path, content[:100])
            raise OSError(28, "No space left on device")
        return whole(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.warns(UserWarning, match="could not be saved.*No space left") as told:
            model = tiny_model(memory=folder, save_every_n_steps=1).fit(TEXTS)
    assert len(told) == 1
    assert outcome(model) == expected
    assert list((folder / "fits").iterdir()) == []
    assert outcome(tiny_model(memory=folder).fit(TEXTS)) == expected
    assert len(finished(folder)) == 1


@pytest.mark.slow
def test_a_memory_that_may_only_be_read(folder, monkeypatch):
    first = tiny_model(memory=folder).fit(TEXTS)

    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("snn_estimators.persistence.fit_cache.hold_lock", refuse)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert outcome(tiny_model(memory=folder).fit(TEXTS)) == outcome(first)
    with pytest.warns(UserWarning, match="others may do the same fit"):
        tiny_model(memory=folder, lr=0.2).fit(TEXTS)


def test_a_memory_that_cannot_be_made(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(PermissionError):
        tiny_model(memory=tmp_path / "new").fit(TEXTS)


class Opaque(Callback):
    def on_train_begin(self, net, **kwargs):
        self._file = object()


def test_a_callback_that_no_file_can_hold(folder):
    with pytest.warns(UserWarning, match="not kept, as no file can hold '_file' of the callback"):
        tiny_model(memory=folder, callbacks=[Opaque()]).fit(TEXTS)
    assert finished(folder) == []


# Searches and processes


def search(memory, notes, n_jobs=None, rates=(0.01, 0.02, 0.03), **settings):
    callbacks = [Noted(str(notes), **settings), EarlyStopping(sink=print, patience=9)]
    model = tiny_model(
        memory=memory, callbacks=callbacks, max_epochs=3, train_split=ValidSplit(2), verbose=0,
        tokenizer=CharTokenizer(handle_unknown="token"),
    )  # fmt: skip
    return GridSearchCV(model, {"lr": list(rates)}, cv=2, n_jobs=n_jobs, refit=False)


def scores(found):
    names = [name for name in found.cv_results_ if name.startswith(("split", "param"))]
    return [np.asarray(found.cv_results_[name]).tolist() for name in names]


@pytest.mark.parametrize("n_jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_search_is_not_done_twice(n_jobs, folder, notes):
    first = search(folder, notes, n_jobs).fit(TEXTS)
    assert len(trainings(notes)) == 6
    again = search(folder, notes, 1).fit(TEXTS)
    assert len(trainings(notes)) == 6
    assert scores(again) == scores(first)
    search(folder, notes, 1, rates=[0.02, 0.04]).fit(TEXTS)
    assert len(trainings(notes)) == 8


def in_child(function, *args):
    process = multiprocessing.get_context("fork").Process(target=function, args=args)
    process.start()
    return process


@pytest.mark.slow
@posix
def test_a_search_that_was_killed(folder, notes, tmp_path):
    plain = search(None, tmp_path / "others.txt").fit(TEXTS)
    killed = in_child(lambda: search(folder, notes, kill_in_epoch=2).fit(TEXTS))
    killed.join(60)
    assert killed.exitcode == -signal.SIGKILL
    assert len(trainings(notes)) == 1
    again = search(folder, notes, kill_in_epoch=2).fit(TEXTS)
    assert scores(again) == scores(plain)
    assert len(trainings(notes)) == 7
    assert len(list((folder / "fits").iterdir())) == 6


@pytest.mark.slow
@posix
def test_killed_in_the_middle_of_a_save(folder):
    def fit():
        whole = Path.write_bytes

        def half(path, content):
            if "unfinished" in path.name:
                whole(path, content[: len(content) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            return whole(path, content)

        Path.write_bytes = half
        tiny_model(memory=folder, save_every_n_steps=2).fit(TEXTS)

    fit = in_child(fit)
    fit.join(60)
    assert fit.exitcode == -signal.SIGKILL
    assert len([p for p in (folder / "fits").iterdir() if p.name.endswith(".tmp")]) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        model = tiny_model(memory=folder).fit(TEXTS)
    assert outcome(model) == outcome(tiny_model().fit(TEXTS))
    assert len(list((folder / "fits").iterdir())) == 1


class Slow(Callback):
    def on_batch_end(self, net, training=False, **kwargs):
        time.sleep(0.05)


@pytest.mark.slow
@posix
def test_of_processes_at_the_same_fit_one_trains(folder, notes, tmp_path):
    def fit(number):
        model = tiny_model(memory=folder, callbacks=[Noted(str(notes)), Slow()])
        (tmp_path / f"{number}.txt").write_text(outcome(model.fit(TEXTS)))

    processes = [in_child(fit, number) for number in range(3)]
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert len(trainings(notes)) == 1
    assert len({(tmp_path / f"{number}.txt").read_text() for number in range(3)}) == 1
    assert len(list((folder / "fits").iterdir())) == 1


class Stuck(Callback):
    """Never comes back from the second epoch of its first life."""

    def __init__(self, path):
        self.path = path

    def on_epoch_begin(self, net, **kwargs):
        if len(net.history) == 2 and not Path(self.path).exists():
            Path(self.path).touch()
            time.sleep(100)


@pytest.mark.slow
@posix
def test_a_killed_process_keeps_nobody_waiting(folder, notes, tmp_path):
    mark = tmp_path / "stuck"
    callbacks = [Noted(str(notes)), Stuck(str(mark))]
    make = partial(tiny_model, memory=folder, callbacks=callbacks, save_every_n_steps=3)
    first = in_child(lambda: make().fit(TEXTS))
    deadline = time.monotonic() + 60
    while not mark.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    start = time.monotonic()
    threading.Timer(0.2, first.kill).start()
    model = make().fit(TEXTS)
    assert 0.2 < time.monotonic() - start < 50
    assert outcome(model) == outcome(tiny_model().fit(TEXTS))
    assert len(trainings(notes)) == 2

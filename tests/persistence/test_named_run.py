"""Named fits: what is written where, what is kept, and what is refused."""

from __future__ import annotations

import errno
import json
import os
import pickle
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from sklearn.base import clone
from skorch.callbacks import Callback
from skorch.dataset import ValidSplit
from tiny_language_model import TEXTS, tiny_model

from snn_estimators.estimators import SpikeDecoderLM, SpikeGPTLM, pretrained_io
from snn_estimators.estimators.pretrained_io import load_pretrained
from snn_estimators.persistence.run_folder import STATE, RunFolder, Summary, read_state, write_state
from snn_estimators.persistence.step_log import StepLog
from snn_estimators.persistence.training_state import TrainingState

FILES = {
    "config.json", "model.safetensors", "tokenizer.json", "history.json", "README.md",
    "training.safetensors", "checkpoint.json",
}  # fmt: skip


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SNN_ESTIMATORS_HOME", str(tmp_path))
    monkeypatch.setattr("snn_estimators._files.sync", lambda _: None)  # slow
    return tmp_path / "models"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a fit of six steps that was saved after each."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SNN_ESTIMATORS_HOME", str(home))
        model = tiny_model(
            name="GPT-1", save_every_n_steps=1, keep_checkpoints=9, train_split=ValidSplit(3),
            steps_per_epoch=3, max_epochs=2, evaluate_every_n_steps=2,
        ).fit(TEXTS)  # fmt: skip
    return home / "models" / "GPT-1", model


@pytest.fixture
def run(whole, home):
    """A copy of that folder, to be changed."""
    shutil.copytree(whole[0], home / "GPT-1")
    return RunFolder(home / "GPT-1")


@pytest.fixture
def model(whole):
    return tiny_model(**whole[1].get_params())


def cut_at(run, step):
    for later in run.steps():
        if later > step:
            shutil.rmtree(run.checkpoint(later))


def weights(model):
    return torch.cat([p.detach().ravel() for p in model.module_.parameters()]).tolist()


# What is written


def test_what_a_named_fit_leaves(run):
    assert {path.name for path in run.folder.iterdir()} == {"checkpoints", "log.csv", ".lock"}
    assert run.steps() == [1, 2, 3, 4, 5, 6]
    for step in run.steps():
        assert {path.name for path in run.checkpoint(step).iterdir()} == FILES
        summary = Summary.read(run.checkpoint(step))
        assert (summary.step, summary.planned_steps) == (step, 6)
        assert summary.finished == (step == 6)
        assert (summary.valid_loss is not None) == (step in (2, 3, 4, 6))


def test_the_log_has_a_row_a_step(run, whole):
    rows = [line.split(",") for line in (run.folder / "log.csv").read_text().splitlines()]
    assert rows[0] == ["step", "train_loss", "valid_loss", "lr", "tokens_per_second"]
    steps = [b for epoch in whole[1].history for b in epoch["batches"] if "train_loss" in b]
    assert [int(row[0]) for row in rows[1:]] == [1, 2, 3, 4, 5, 6]
    assert [float(row[1]) for row in rows[1:]] == [batch["train_loss"] for batch in steps]
    assert [bool(row[2]) for row in rows[1:]] == [False, True, True, True, False, True]
    assert float(rows[3][2]) == whole[1].history[0, "valid_loss"]
    assert float(rows[1][3]) == 0.01
    assert float(rows[-1][3]) == pytest.approx(0.0005)
    assert all(float(row[4]) > 0 for row in rows[1:])


def test_by_default_there_is_a_checkpoint_an_epoch(home, texts):
    tiny_model(name="GPT-1", max_epochs=5).fit(texts)
    assert RunFolder(home / "GPT-1").steps() == [9, 12, 15]
    with pytest.raises(FileNotFoundError, match="none is the best"):
        SpikeDecoderLM.from_pretrained("GPT-1", checkpoint="best")


def test_the_best_is_kept_beside_the_newest(home, texts, monkeypatch):
    losses = iter([5.0, 3.0, 1.0, 2.0, 4.0, 6.0])
    monkeypatch.setattr(SpikeDecoderLM, "_validation_loss", lambda self: next(losses))
    tiny_model(
        name="GPT-1", callbacks="disable", train_split=ValidSplit(3), evaluate_every_n_steps=1,
        save_every_n_steps=1, max_steps=6, keep_checkpoints=2,
    ).fit(texts)  # fmt: skip
    run = RunFolder(home / "GPT-1")
    assert run.steps() == [3, 5, 6]
    assert run.best() == (1.0, 3)
    assert SpikeDecoderLM.from_pretrained("GPT-1", checkpoint="best").n_steps_ == 3


def test_a_new_best_is_saved_when_it_is_found(home, texts, monkeypatch):
    losses = iter([5.0, 6.0, 3.0, float("nan"), 3.0, 6.0])
    monkeypatch.setattr(SpikeDecoderLM, "_validation_loss", lambda self: next(losses))
    tiny_model(
        name="GPT-1", callbacks="disable", train_split=ValidSplit(3), evaluate_every_n_steps=1,
        save_every_n_steps=99, steps_per_epoch=6, max_epochs=1,
    ).fit(texts)  # fmt: skip
    assert RunFolder(home / "GPT-1").steps() == [1, 3, 6]


# What is read


def test_every_checkpoint_is_a_model(run, whole, texts):
    last = SpikeDecoderLM.from_pretrained("GPT-1")
    assert weights(last) == weights(whole[1])
    assert last.score(texts) == whole[1].score(texts)
    for choice in ("latest", 6, "best", 2, np.int64(2)):
        model = SpikeDecoderLM.from_pretrained("GPT-1", checkpoint=choice)
        step = {"latest": 6, "best": run.best()[1]}.get(choice, choice)
        assert model.n_steps_ == step
        assert weights(model) == weights(SpikeDecoderLM.from_pretrained(run.checkpoint(step)))
    assert weights(SpikeDecoderLM.from_pretrained(run.folder)) == weights(last)
    assert 'from_pretrained("GPT-1", checkpoint=2)' in (run.checkpoint(2) / "README.md").read_text()


@pytest.mark.parametrize(
    ("choice", "error", "message"),
    [
        (7, FileNotFoundError, r"step 7 in .*steps \[1, 2, 3, 4, 5, 6\]"),
        ("newest", ValueError, r"'latest', 'best' or a step, got 'newest'.*\[1, 2"),
        (True, ValueError, "got True"),
    ],
)
def test_a_checkpoint_that_is_not_there(run, choice, error, message):
    with pytest.raises(error, match=message):
        SpikeDecoderLM.from_pretrained("GPT-1", checkpoint=choice)


def test_a_saved_model_has_no_checkpoints(fitted, home):
    fitted.save_pretrained("cats")
    with pytest.raises(ValueError, match="without checkpoints to choose from"):
        SpikeDecoderLM.from_pretrained("cats", checkpoint="latest")
    (home / "empty" / "checkpoints").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        SpikeDecoderLM.from_pretrained("empty")
    with pytest.raises(FileNotFoundError, match=r"there are: \['cats', 'empty'\]"):
        SpikeDecoderLM.from_pretrained("dogs")


def test_a_run_is_no_place_to_save_a_model(run, fitted):
    for place in ("GPT-1", run.folder):
        with pytest.raises(ValueError, match="folder of a named fit"):
            fitted.save_pretrained(place)
    with pytest.raises(ValueError, match="which saving would delete"):
        fitted.save_pretrained(run.checkpoint(6))


def test_the_class_of_a_model_is_found(run, fitted, tmp_path, home):
    fitted.save_pretrained("cats")
    assert type(load_pretrained("cats", device="cpu")) is SpikeDecoderLM
    assert load_pretrained("GPT-1", checkpoint=2).n_steps_ == 2
    settings = {"module__ctx_len": 8, "module__n_layer": 1, "module__n_embd": 8, "max_steps": 1}
    SpikeGPTLM(**settings).fit(TEXTS).save_pretrained("rwkv")
    assert type(load_pretrained("rwkv")) is SpikeGPTLM
    config = home / "cats" / "config.json"
    config.write_text(config.read_text().replace("SpikeDecoderLM", "os.system"))
    with pytest.raises(ValueError, match=r"holds a 'os.system', and there are only .*SpikeGPTLM"):
        load_pretrained("cats")


# What is refused


def test_a_taken_name(run, model, texts, fitted, monkeypatch):
    monkeypatch.setattr(SpikeDecoderLM, "_check_X", lambda *_, **__: pytest.fail("work was done"))
    with pytest.raises(ValueError, match=r"'GPT-1' is taken.*at step 6.*resume=True") as caught:
        model.fit(texts)
    assert "in a search or a cross-validation leave name=None" in str(caught.value)
    with pytest.raises(ValueError, match="is taken"):
        model.check(texts)
    with pytest.raises(ValueError, match="is taken"):
        model.set_params(resume=True).fit(texts, resume=False)
    monkeypatch.undo()
    monkeypatch.setenv("SNN_ESTIMATORS_HOME", str(run.folder.parents[1]))
    fitted.save_pretrained("cats")
    with pytest.raises(ValueError, match=r"'cats' is taken by .*, no named fit"):
        model.set_params(name="cats", resume=True).fit(texts)


@pytest.mark.parametrize(
    "name", ["a/b", "a\\b", "", ".", "..", "../a", ".a", "-a", "a b", 1, "a" * 101]
)
def test_what_is_no_name(name, texts, home):
    with pytest.raises(ValueError, match="name must be None or"):
        tiny_model(name=name).fit(texts)
    assert not home.exists()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"resume": True}, "resume=True needs a name"),
        ({"save_every_n_steps": 5}, "save_every_n_steps=5 needs a name"),
        ({"name": "a", "save_every_n_steps": 0}, "save_every_n_steps must be"),
        ({"name": "a", "keep_checkpoints": 0}, "keep_checkpoints must be"),
        ({"name": "a", "warm_start": True}, "warm_start=True .* nothing would be saved"),
        ({"evaluate_every_n_steps": 2}, "evaluate_every_n_steps=2 needs data.*train_split"),
        ({"evaluate_every_n_steps": 1.5}, "evaluate_every_n_steps must be"),
        ({"name": "a", "iterator_train__generator": torch.Generator()}, "a generator of"),
        ({"name": "a", "module__heads": 5}, "heads=5 must divide"),
        ({"name": "a", "module__vocab_size": 2}, "too small"),
    ],
)
def test_parameters_that_make_no_sense(parameters, message, texts, home):
    with pytest.raises(ValueError, match=message):
        tiny_model(**parameters).fit(texts)
    assert not home.exists() or not any(home.iterdir())
    with pytest.raises(ValueError, match="needs a name to resume"):
        tiny_model().fit(texts, resume=True)


def test_resuming_with_other_parameters(run, model, texts):
    model.set_params(
        resume=True, lr=0.5, max_epochs=9, module__mlp_dropout=0.1, optimizer=torch.optim.Adam,
        train_split=ValidSplit(4), verbose=0, save_every_n_steps=2, keep_checkpoints=1,
    )  # fmt: skip
    with pytest.raises(ValueError, match="cannot be resumed with other parameters") as caught:
        model.fit(texts)
    for told in (
        "lr (saved 0.01, given 0.5)",
        "max_epochs (saved 2, given 9)",
        "module__mlp_dropout (saved 0.0, given 0.1)",
        "optimizer (saved 'torch.optim.adamw.AdamW', given 'torch.optim.adam.Adam')",
        "use from_pretrained('GPT-1') and partial_fit",
    ):
        assert told in str(caught.value)
    assert "train_split" in str(caught.value)
    assert "keep_checkpoints" not in str(caught.value)


def test_resuming_with_another_path(home, texts):
    class Quiet(Callback):
        def __init__(self, place):
            self.place = place

    def fit(place):
        return tiny_model(name="a", callbacks=[Quiet(place)], resume=True).fit(texts)

    assert fit(Path("one")).n_steps_ == fit(Path("one")).n_steps_
    for other in (Path("two"), torch.float64):
        with pytest.raises(ValueError, match=r"callbacks \(saved .*one.*, given .*(two|float64)"):
            fit(other)


def test_defaults_may_be_written_out(run, model, texts):
    model.set_params(resume=True, module__mlp_dropout=0.0, callbacks=[])
    assert model.fit(texts).n_steps_ == 6


@pytest.mark.parametrize(
    "other", [["the cat sat on the mat!"], list(reversed(TEXTS)), [*TEXTS, "the end."], TEXTS[:-1]]
)
def test_resuming_with_other_data(run, model, other):
    for step in (6, 3):
        cut_at(run, step)
        with pytest.raises(ValueError, match="another X"):
            model.fit(other, resume=True)


def test_resuming_on_another_split(home, texts):
    class Split:
        def __init__(self, seed):
            self.rows = np.random.default_rng(seed).permutation(8)

        def __call__(self, dataset, y=None, groups=None):
            subset = torch.utils.data.Subset
            return subset(dataset, self.rows[:4]), subset(dataset, self.rows[4:])

    tiny_model(name="a", train_split=Split(0), save_every_n_steps=1).fit(texts)
    run = RunFolder(home / "a")
    shutil.rmtree(run.checkpoint(run.steps()[-1]))
    with pytest.raises(ValueError, match=r"another train_split.*random_state"):
        tiny_model(name="a", train_split=Split(1), resume=True).fit(texts)
    assert not (run.folder / "error.log").exists()


def test_resuming_as_another_class(run, texts):
    told = (
        r"cannot be resumed here: .*holds a SpikeDecoderLM, no SpikeGPTLM: use the class SpikeDec"
    )
    with pytest.raises(ValueError, match=told):
        SpikeGPTLM(name="GPT-1", resume=True).fit(texts)


def test_what_another_checkpoint_would_not_cure(run):
    for kind, overrides in (
        (SpikeGPTLM, {}),
        (SpikeDecoderLM, {"module__blocks": 2}),
        (SpikeDecoderLM, {"lr": "fast"}),
    ):
        with pytest.raises(ValueError, match="GPT-1") as caught:
            kind.from_pretrained("GPT-1", **overrides)
        assert "at steps" not in str(caught.value)
    assert "in format" not in str(caught.value)


def test_what_is_loaded_is_no_named_fit(run, texts):
    model = SpikeDecoderLM.from_pretrained("GPT-1", max_steps=1, train_split=None)
    assert (model.name, model.resume, model.save_every_n_steps) == (None, False, None)
    clone(model).set_params(evaluate_every_n_steps=None).fit(texts)
    named = SpikeDecoderLM.from_pretrained("GPT-1", name="GPT-2", save_every_n_steps=3)
    assert (named.name, named.save_every_n_steps) == ("GPT-2", 3)


def test_a_checkpoint_deleted_while_it_is_read(run, monkeypatch):
    read = pretrained_io.read_history

    def late(path):
        if "00000006" in str(path):
            cut_at(run, 5)
        return read(path)

    monkeypatch.setattr(pretrained_io, "read_history", late)
    assert SpikeDecoderLM.from_pretrained("GPT-1").n_steps_ == 5


def test_other_versions_are_told(run, model, texts, monkeypatch):
    monkeypatch.setattr("snn_estimators.persistence.checkpointing.__version__", "99")
    with pytest.warns(UserWarning, match="resumes with .*99.*may not equal"):
        model.fit(texts, resume=True)
    monkeypatch.setattr("snn_estimators.persistence.training_state.FORMAT", 99)
    with pytest.raises(ValueError, match=r"cannot be resumed here: .* in format 4"):
        model.fit(texts, resume=True)


def test_what_a_kill_left_is_swept_up(home, texts):
    (home / "a" / "checkpoints" / ".step-00000003.0a.new").mkdir(parents=True)
    (home / "a" / ".log.csv.123.tmp").write_text("half")
    with pytest.raises(ValueError, match="heads=5"):
        tiny_model(name="a", module__heads=5).fit(texts)
    assert not (home / "a").exists()


def test_a_checkpoint_that_a_kill_had_moved_away_comes_back(run, model, texts, monkeypatch):
    """As when a step is saved once more after Ctrl-C: for a moment between two renames."""
    cut_at(run, 3)
    for step in (1, 2):
        shutil.rmtree(run.checkpoint(step))
    checkpoint = run.checkpoint(3)
    checkpoint.rename(checkpoint.with_name(f".{checkpoint.name}.0123abcd.old"))
    doomed = run.checkpoints / ".step-00000002.0123abcd.gone"
    doomed.mkdir()
    steps = []
    train_step = SpikeDecoderLM.train_step
    monkeypatch.setattr(
        SpikeDecoderLM, "train_step", lambda *a, **k: steps.append(1) or train_step(*a, **k)
    )
    model.fit(texts, resume=True)
    assert len(steps) == 3
    assert not doomed.exists()


def test_two_fits_of_one_name(home, texts):
    class Second(Callback):
        def on_epoch_begin(self, net, **kwargs):
            with pytest.raises(ValueError, match="Another fit named 'a' is at work"):
                tiny_model(name="a", resume=True).fit(texts)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        tiny_model(name="a", callbacks=[Second()]).fit(texts)
    assert tiny_model(name="a").fit(texts).n_iter_ == 2  # nothing was saved: the name is free


# What is damaged


class Bomb:
    def __reduce__(self):
        return Path.touch, (Path("exploded"),)


DAMAGES = {
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "empty": lambda path: path.write_bytes(b""),
    "a pickle": lambda path: path.write_bytes(pickle.dumps(Bomb())),
    "torch's pickle": lambda path: torch.save({"weights": Bomb()}, path),
    "gone": lambda path: path.unlink(),
    "other text": lambda path: path.write_text('{"format": 1}'),
}


ESSENTIAL = [
    STATE, "config.json", "tokenizer.json", "checkpoint.json", "model.safetensors", "history.json",
]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ESSENTIAL)
def test_a_damaged_checkpoint_is_passed_over(
    run, whole, model, texts, tmp_path, monkeypatch, name, damage
):
    monkeypatch.chdir(tmp_path)
    cut_at(run, 5)
    DAMAGES[damage](run.checkpoint(5) / name)
    with pytest.warns(UserWarning, match=f"resumes from step 4.*{name}"):
        model.fit(texts, resume=True)
    assert weights(model) == weights(whole[1])
    assert run.steps() == [1, 2, 3, 4, 5, 6]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert model.fit(texts, resume=True).n_steps_ == 6
    assert not Path("exploded").exists()


@pytest.mark.parametrize("name", ["model.safetensors", "history.json"])
def test_resuming_repairs_a_finished_fit(run, whole, model, texts, name):
    sound = (run.checkpoint(6) / name).read_bytes()
    DAMAGES["cut short"](run.checkpoint(6) / name)
    with pytest.warns(UserWarning, match=f"resumes from step 5.*{name} is damaged"):
        model.fit(texts, resume=True)
    assert weights(SpikeDecoderLM.from_pretrained("GPT-1")) == weights(whole[1])
    if name == "model.safetensors":  # the other one has times
        assert (run.checkpoint(6) / name).read_bytes() == sound


def test_a_single_bit_is_damage(run, model, texts):
    path = run.checkpoint(6) / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.warns(UserWarning, match="model.safetensors is damaged: it is not what was saved"):
        model.fit(texts, resume=True)


def test_a_single_bit_is_damage_to_whoever_loads(run, whole, tmp_path):
    saved = whole[1].save_pretrained(tmp_path / "saved")
    for folder, load in ((saved, saved), (run.checkpoint(6), "GPT-1")):
        path = folder / "model.safetensors"
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"model\.safetensors is damaged: it is not what"):
            SpikeDecoderLM.from_pretrained(load)


def test_weights_and_history_are_stored_once(run):
    state = TrainingState.read(run.checkpoint(6) / STATE)
    assert state.content["history"] == []
    assert not [name for name in state.tensors if name.startswith("parts/module_")]
    whole = read_state(run.checkpoint(6))
    assert len(whole.content["history"]) == 2
    assert [name for name in whole.tensors if name.startswith("parts/module_")]


def test_damaged_checkpoints_do_not_displace_sound_ones(run, model, texts):
    for step in (4, 5, 6):
        DAMAGES["cut short"](run.checkpoint(step) / STATE)
    model.set_params(max_epochs=2, save_every_n_steps=5, keep_checkpoints=1)
    with pytest.warns(UserWarning, match="resumes from step 3"):
        model.fit(texts, resume=True)
    assert set(run.steps()) == {run.best()[1], 6}


def test_nothing_but_damaged_checkpoints(run, model, texts):
    for step in run.steps():
        DAMAGES["cut short"](run.checkpoint(step) / STATE)
    with pytest.raises(ValueError, match="No checkpoint of the fit 'GPT-1' can be used; delete"):
        model.fit(texts, resume=True)
    assert run.steps() == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_weights_are_refused(run, texts, tmp_path, monkeypatch, damage):
    monkeypatch.chdir(tmp_path)
    DAMAGES[damage](run.checkpoint(6) / "model.safetensors")
    kind = FileNotFoundError if damage == "gone" else ValueError
    with pytest.raises(kind, match=r"model.safetensors.*at steps \[1, 2, 3, 4, 5\]"):
        SpikeDecoderLM.from_pretrained("GPT-1")
    assert SpikeDecoderLM.from_pretrained("GPT-1", checkpoint=5).n_steps_ == 5
    assert not Path("exploded").exists()


def test_a_state_that_says_nothing_of_itself(run, model, texts):
    cut_at(run, 5)
    state = TrainingState.read(run.checkpoint(5) / STATE)
    state.content["metadata"] = {"parameters": []}
    state.write(run.checkpoint(5) / STATE)
    with pytest.warns(UserWarning, match=r"from step 4.*training.safetensors is damaged"):
        model.fit(texts, resume=True)


def resize_a_weight(folder):
    """Write a sound checkpoint of another net."""
    state = read_state(folder)
    path = folder / "model.safetensors"
    tensors = safetensors.torch.load(path.read_bytes())
    tensors[next(iter(tensors))] = torch.zeros(3, 3, 3)
    path.write_bytes(safetensors.torch.save(tensors))
    for name in (STATE, "checkpoint.json"):
        (folder / name).rename(folder.parent / name)
    write_state(state, folder)
    (folder.parent / STATE).unlink()
    (folder.parent / "checkpoint.json").rename(folder / "checkpoint.json")


@pytest.mark.parametrize("step", [5, 6], ids=["unfinished", "finished"])
def test_a_state_of_other_sizes(run, whole, model, texts, step):
    cut_at(run, step)
    resize_a_weight(run.checkpoint(step))
    told = rf"from step {step - 1},.*step-0000000{step}/{STATE}: .* does not fit .*size mismatch"
    with pytest.warns(UserWarning, match=told):
        model.fit(texts, resume=True)
    assert weights(model) == weights(whole[1])
    assert weights(SpikeDecoderLM.from_pretrained("GPT-1")) == weights(whole[1])
    assert not (run.folder / "error.log").exists()


def test_nothing_but_states_of_other_sizes(run, model, texts):
    cut_at(run, 2)
    for step in (1, 2):
        resize_a_weight(run.checkpoint(step))
    with (
        pytest.warns(UserWarning, match="from step 1"),
        pytest.raises(ValueError, match=r"No checkpoint of .* can be used.*00002/.*00001/"),
    ):
        model.fit(texts, resume=True)


def test_a_summary_of_no_step(run, model, texts):
    cut_at(run, 5)
    path = run.checkpoint(5) / "checkpoint.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "step": "five"}))
    with pytest.warns(UserWarning, match="from step 4.*checkpoint.json is damaged"):
        model.fit(texts, resume=True)


def test_older_formats_are_told_from_damage(run, model, texts):
    path = run.checkpoint(6) / STATE
    state = TrainingState.read(path)
    state.content["format"] = 1
    tensors = safetensors.torch.load(state.to_bytes())
    path.write_bytes(safetensors.torch.save(tensors))  # it had no checksum
    with pytest.raises(ValueError, match=r"in format 1, .*use the version that wrote it"):
        model.fit(texts, resume=True)
    state.content["format"] = 4
    path.write_bytes(safetensors.torch.save(safetensors.torch.load(state.to_bytes())))
    with pytest.warns(UserWarning, match="damaged or no state of a training"):
        model.fit(texts, resume=True)


# What fails


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


def test_a_full_disk_before_the_first_save(home, texts, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("snn_estimators.persistence.named_run.write_model", full)
    with pytest.raises(OSError, match=r"Step 3 .*\(No space left .*nothing is: .*start again"):
        tiny_model(name="a").fit(texts)
    monkeypatch.undo()
    monkeypatch.setenv("SNN_ESTIMATORS_HOME", str(home.parent))
    assert tiny_model(name="a").fit(texts).n_steps_ == 6


# The log


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full disk at hand")
def test_a_full_disk_under_the_log(tmp_path):
    log = StepLog(tmp_path / "log.csv")
    log._file.close()
    log._file = Path("/dev/full").open("a")  # noqa: SIM115
    log.add(7, 1.0, 0.1, 10.0)
    with pytest.raises(OSError, match=r"row of step 7 .*log.csv \(No space left .*resume=True"):
        log.complete()
    with pytest.raises(ZeroDivisionError), log:
        raise ZeroDivisionError


def test_rows_of_steps_to_be_done_again_are_cut_off(tmp_path):
    path = tmp_path / "log.csv"
    with StepLog(path) as log:
        for step in range(1, 6):
            log.add(step, 1.0, 0.1, 10.0)
    path.write_text(path.read_text() + "6,1.0,,0.")  # a kill in the middle of a line
    with StepLog(path, 3) as log:
        assert [line[0] for line in path.read_text().splitlines()[1:]] == ["1", "2", "3"]
        log.add(4, 0.5, 0.1, 10.0)
        assert len(path.read_text().splitlines()) == 4
        log.complete(0.75)
        assert path.read_text().splitlines()[-1] == "4,0.5,0.75,0.1,10.0"
    path.unlink()
    StepLog(path, 3).close()
    assert len(path.read_text().splitlines()) == 1


def test_the_last_row_waits_for_its_validation(tmp_path):
    path = tmp_path / "log.csv"
    with StepLog(path) as log:
        for step in (1, 2):
            log.add(step, 1.0, 0.1, 10.0)
    before = path.read_text()
    with StepLog(path, 2, is_complete=False) as log:
        assert path.read_text() == before  # a kill now loses no row
        log.complete(0.75)
        log.add(3, 0.5, 0.1, 10.0)
    rows = path.read_text().splitlines()[1:]
    assert rows == ["1,1.0,,0.1,10.0", "2,1.0,0.75,0.1,10.0", "3,0.5,,0.1,10.0"]
    with StepLog(path, 3, is_complete=False) as log:
        log.add(4, 0.25, 0.1, 10.0)
    assert path.read_text().splitlines()[1:] == [*rows, "4,0.25,,0.1,10.0"]

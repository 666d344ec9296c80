"""Named fits: what is written where, what is kept and read, and what raises an error."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from named_runs import cut_at, weights
from sklearn.base import clone
from skorch.callbacks import Callback
from skorch.dataset import ValidSplit
from tiny_language_model import TEXTS, tiny_model

from snn_estimators.estimators import SpikeDecoderLM, SpikeGPTLM, pretrained_io
from snn_estimators.estimators.pretrained_io import load_pretrained
from snn_estimators.persistence.run_folder import RunFolder, Summary

FILES = {
    "config.json", "model.safetensors", "tokenizer.json", "history.json", "README.md",
    "training.safetensors", "checkpoint.json",
}  # fmt: skip


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


@pytest.mark.slow
def test_by_default_there_is_a_checkpoint_an_epoch(home, texts):
    tiny_model(name="GPT-1", max_epochs=5).fit(texts)
    assert RunFolder(home / "GPT-1").steps() == [9, 12, 15]
    with pytest.raises(FileNotFoundError, match="none is the best"):
        SpikeDecoderLM.from_pretrained("GPT-1", checkpoint="best")


@pytest.mark.slow
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


@pytest.mark.slow
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
    with pytest.raises(FileNotFoundError, match=r"choose one of \['cats', 'empty'\]"):
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_two_fits_of_one_name(home, texts):
    class Second(Callback):
        def on_epoch_begin(self, net, **kwargs):
            with pytest.raises(ValueError, match="Another fit named 'a' is at work"):
                tiny_model(name="a", resume=True).fit(texts)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        tiny_model(name="a", callbacks=[Second()]).fit(texts)
    assert tiny_model(name="a").fit(texts).n_iter_ == 2  # nothing was saved: the name is free

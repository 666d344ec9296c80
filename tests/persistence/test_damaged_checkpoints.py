"""Damaged checkpoints of a named fit: an older one is resumed from, and nothing is unpickled."""

from __future__ import annotations

import json
import pickle
import warnings
from pathlib import Path

import pytest
import safetensors.torch
import torch
from named_runs import cut_at, weights

from snn_estimators.estimators import SpikeDecoderLM
from snn_estimators.persistence.run_folder import STATE, read_state, write_state
from snn_estimators.persistence.training_state import TrainingState


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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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
    told = rf"from step {step - 1},.*step-0000000{step}/{STATE}: .* do not fit .* has shape "
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


@pytest.mark.slow
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

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_language_model import tiny_model

from snn_estimators.estimators import SpikeDecoderClassifier, SpikeDecoderLM
from snn_estimators.nn import SpikingDecoder
from snn_estimators.persistence.names import resolve_name
from snn_estimators.text import WordTokenizer


@pytest.mark.slow
def test_there_and_back(fitted, texts, home):
    folder = fitted.save_pretrained("cats")
    assert folder == home / "cats"
    assert {path.name for path in folder.iterdir()} == {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "history.json",
        "README.md",
    }
    model = SpikeDecoderLM.from_pretrained("cats")
    assert model.score_samples(texts).tolist() == fitted.score_samples(texts).tolist()
    assert model.get_params() == fitted.get_params()
    assert model.history == fitted.history
    assert (model.n_iter_, model.n_steps_) == (fitted.n_iter_, fitted.n_steps_)
    assert model.generate("the", 9, random_state=0) == fitted.generate("the", 9, random_state=0)
    assert model.save_pretrained("cats") == folder  # an older model is replaced
    assert [path.name for path in home.iterdir()] == ["cats"]


@pytest.mark.slow
def test_a_loaded_model_goes_on_learning(fitted, texts, home):
    fitted.save_pretrained("cats")
    model = SpikeDecoderLM.from_pretrained("cats", max_epochs=30)
    before = model.score(texts)
    assert model.partial_fit(texts).score(texts) > before
    assert model.n_iter_ == fitted.n_iter_ + 30


def test_ids_need_no_tokenizer(tmp_path):
    table = np.tile([0, 1, 2, 3], (4, 3))
    folder = tiny_model(tokenizer=None).fit(table).save_pretrained(tmp_path / "ids")
    assert not (folder / "tokenizer.json").exists()
    model = SpikeDecoderLM.from_pretrained(folder)
    assert model.tokenizer is None
    assert model.n_features_in_ == 12
    with pytest.raises(ValueError, match="features"):
        model.score(table[:, :3])


def test_what_json_cannot_hold_is_left_out(texts, tmp_path):
    model = tiny_model(
        tokenizer=WordTokenizer(min_frequency=2),
        optimizer=torch.optim.SGD,
        random_state=np.random.RandomState(0),
        module__blocks=np.int64(1),
    ).fit(texts)
    folder = model.save_pretrained(tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    assert sorted(config["left_out"]) == ["optimizer", "random_state", "tokenizer"]
    loaded = SpikeDecoderLM.from_pretrained(folder, lr=0.5)
    assert loaded.lr == 0.5
    assert isinstance(loaded.tokenizer, WordTokenizer)
    assert loaded.tokenizer.min_frequency == 2
    assert loaded.module__blocks == 1
    assert loaded.betas == (0.9, 0.95)
    assert loaded.score(texts) == model.score(texts)


def test_names_and_paths(home, monkeypatch):
    assert resolve_name("cats-2.0_b") == home / "cats-2.0_b"
    assert resolve_name("./cats") == Path("cats")
    assert resolve_name(Path("a/cats")) == Path("a/cats")
    assert resolve_name("~/cats") == Path.home() / "cats"
    assert resolve_name("/tmp/cats") == Path("/tmp/cats")
    monkeypatch.delenv("SNN_ESTIMATORS_HOME")
    assert resolve_name("cats") == Path.home() / ".snn_estimators" / "models" / "cats"


@pytest.mark.parametrize("name", ["a/b", "a\\b", "", ".hidden", "cats and dogs"])
def test_neither_name_nor_path(fitted, home, name):
    for use in (fitted.save_pretrained, SpikeDecoderLM.from_pretrained):
        with pytest.raises(ValueError, match="is no model name"):
            use(name)


def test_no_such_model(fitted, home, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no model 'cats' in .*there is none"):
        SpikeDecoderLM.from_pretrained("cats")
    fitted.save_pretrained("dogs")
    with pytest.raises(FileNotFoundError, match=r"choose one of \['dogs'\]"):
        SpikeDecoderLM.from_pretrained("cats")
    with pytest.raises(FileNotFoundError, match="There is no model in"):
        SpikeDecoderLM.from_pretrained(tmp_path / "nothing")


@pytest.mark.parametrize(
    "name", ["config.json", "model.safetensors", "tokenizer.json", "history.json"]
)
def test_missing_and_damaged_files(fitted, tmp_path, name):
    folder = fitted.save_pretrained(tmp_path / "m")
    (folder / name).write_bytes(b"\xff{ nonsense")
    with pytest.raises(ValueError, match=f"{name}.* damaged"):
        SpikeDecoderLM.from_pretrained(folder)
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"{name} is missing"):
        SpikeDecoderLM.from_pretrained(folder)


def test_files_that_do_not_fit(fitted, texts, tmp_path):
    folder = fitted.save_pretrained(tmp_path / "m")
    with pytest.raises(ValueError, match=r"does not fit .* has shape .* there and .* here"):
        SpikeDecoderLM.from_pretrained(folder, module__mlp_ratio=2)
    with pytest.raises(ValueError, match="tensors are in one of them only"):
        SpikeDecoderLM.from_pretrained(folder, module__blocks=2)
    other = tiny_model().fit(["a much larger alphabet: 0123456789 ABCDEFGHIJKLMNOPQRSTUVWXYZ"])
    other.tokenizer_.save(folder / "tokenizer.json")
    with pytest.raises(ValueError, match="tokens, but the checkpoint's vocabulary holds"):
        SpikeDecoderLM.from_pretrained(folder)


class Own(SpikingDecoder):
    """A module of one's own."""


@pytest.mark.slow
@pytest.mark.parametrize("ready", [False, True], ids=["class", "instance"])
def test_a_module_of_ones_own_is_asked_for(fitted, texts, home, ready):
    nested = {k: v for k, v in fitted.get_params().items() if k.startswith("module__")}
    built_with = {k.removeprefix("module__"): v for k, v in nested.items()}
    module = SpikingDecoder(20, **built_with) if ready else Own
    parameters = {"module": module, "max_steps": 1} | ({} if ready else nested)
    model = SpikeDecoderLM(**parameters).fit(texts)
    classifier = SpikeDecoderClassifier(
        module=SpikingDecoder if ready else Own, pretrained=model, max_steps=1
    ).fit(texts, [0, 1, 0, 1])
    for saved in (model, classifier):
        saved.save_pretrained("own")
        with pytest.raises(ValueError, match=r"models/own was made .* pass module=\.\.\."):
            type(saved).from_pretrained("own")
    again = SpikeDecoderClassifier.from_pretrained("own", module=module)
    assert again.predict_proba(texts).tolist() == classifier.predict_proba(texts).tolist()
    model.save_pretrained("own")
    assert SpikeDecoderLM.from_pretrained("own", module=module).score(texts) == model.score(texts)

"""What happens to a saved model when another takes its place."""

from __future__ import annotations

import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import safetensors.torch
from tiny_language_model import tiny_model

from snn_estimators.estimators import SpikeDecoderLM
from snn_estimators.estimators.pretrained_io import _read
from snn_estimators.persistence import atomic_folder
from snn_estimators.persistence.catalog import model_folders


@pytest.mark.slow
def test_two_writers_and_a_reader(fitted, texts, home):
    """Whoever reads gets a whole model of one writer's, whatever the others do."""
    sizes = (1, 2, 3)
    models = [tiny_model(module__blocks=n, max_steps=1).fit(texts) for n in sizes]
    fitted.save_pretrained("cats")
    enough = threading.Event()

    def write(model):
        while not enough.is_set():
            model.save_pretrained("cats")

    with ThreadPoolExecutor(2) as pool:
        writers = [pool.submit(write, model) for model in models[1:]]
        try:
            for _ in range(8):
                model = SpikeDecoderLM.from_pretrained("cats")
                assert len(model.module_.blocks) == model.get_params()["module__blocks"]
        finally:
            enough.set()
        for writer in writers:
            writer.result()
    assert [path.name for path in home.iterdir()] == ["cats"]


@pytest.mark.slow
def test_a_reader_among_hasty_writers(tmp_path, monkeypatch):
    """Small files, replaced as fast as can be, so that a reader is often between two renames."""
    monkeypatch.setattr("snn_estimators._files.sync", lambda path: None)
    folder = tmp_path / "cats"
    enough = threading.Event()

    def write(who):
        def fill(draft):
            for name in ("one", "two"):
                (draft / name).write_text(who)

        while True:
            with atomic_folder.locked_folder(folder):
                atomic_folder.write_folder(folder, fill)
            if enough.is_set():
                return

    def read(folder):
        return (folder / "one").read_text(), (folder / "two").read_text()

    with ThreadPoolExecutor(2) as pool:
        writers = [pool.submit(write, who) for who in "AB"]
        while not folder.exists():
            time.sleep(0.001)
        try:
            for _ in range(5_000):
                one, two = _read(folder, None, read)
                assert one == two
        finally:
            enough.set()
        for writer in writers:
            writer.result()


@pytest.mark.parametrize("use", ["read", "write", "list", "fit"])
def test_what_a_killed_writer_left(fitted, home, use):
    folder = fitted.save_pretrained("cats")
    folder.rename(home / ".cats.0123abcd.old")
    (home / ".cats.0123abcd.new").mkdir()
    (home / ".cats.and.0123abcd.new").mkdir()  # of somebody at work
    if use == "read":
        assert SpikeDecoderLM.from_pretrained("cats").n_steps_ == fitted.n_steps_
    elif use == "write":
        fitted.save_pretrained("cats")
    elif use == "list":
        assert model_folders() == [folder]
    else:
        with pytest.raises(ValueError, match="'cats' is taken"):
            tiny_model(name="cats").fit(["the cat"])
    assert sorted(path.name for path in home.iterdir()) == [".cats.and.0123abcd.new", "cats"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full disk at hand")
def test_a_full_disk_is_named(fitted, tmp_path, monkeypatch):
    write = Path.write_bytes

    def full(path, content):
        return write(Path("/dev/full") if path.name == "model.safetensors" else path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match=f"No space left on device: '{tmp_path / 'm'}'"):
        fitted.save_pretrained(tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("place", "told"), [("file", "is no folder"), ("/proc/no", "be written")])
def test_a_home_that_is_none(fitted, texts, tmp_path, monkeypatch, place, told):
    (tmp_path / "file").write_text("mine")
    monkeypatch.setenv("SNN_ESTIMATORS_HOME", str(tmp_path / place))
    uses = [lambda: fitted.save_pretrained("cats"), lambda: tiny_model(name="cats").fit(texts)]
    for use in uses if place == "/proc/no" else [*uses, model_folders]:
        with pytest.raises((OSError, ValueError), match=told) as caught:
            use()
        assert "SNN_ESTIMATORS_HOME" in str(caught.value)
    assert fitted.save_pretrained(tmp_path / "cats").is_dir()


def test_another_estimators_model(fitted, tmp_path):
    class OtherLM(SpikeDecoderLM):
        pass

    folder = fitted.save_pretrained(tmp_path / "m")
    with pytest.raises(ValueError, match="holds a SpikeDecoderLM, no OtherLM: use the class"):
        OtherLM.from_pretrained(folder)


def test_a_failed_save_leaves_the_old_model(fitted, texts, tmp_path, monkeypatch):
    folder = fitted.save_pretrained(tmp_path / "m")

    def fail(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(safetensors.torch, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        fitted.save_pretrained(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["m"]
    assert SpikeDecoderLM.from_pretrained(folder).score(texts) == fitted.score(texts)


def test_other_folders_are_not_replaced(fitted, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match="holds no model"):
        fitted.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="holds no model"):
        fitted.save_pretrained(tmp_path / "thesis.tex")
    (tmp_path / "empty").mkdir()
    assert fitted.save_pretrained(tmp_path / "empty").is_dir()


@pytest.mark.parametrize("config", ["{}", '{"name": "a project of mine"}', "[]", "nonsense"])
def test_a_config_of_somebody_elses_is_no_model(fitted, tmp_path, config):
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(ValueError, match="holds no model"):
        fitted.save_pretrained(tmp_path)
    assert (tmp_path / "config.json").read_text() == config


@pytest.mark.parametrize("other", ["notes.txt", ".git/HEAD", "README.md/thesis.tex"])
def test_nothing_beside_a_model_is_deleted(fitted, tmp_path, other):
    folder = fitted.save_pretrained(tmp_path / "m")
    if other.startswith("README.md"):
        (folder / "README.md").unlink()
    (folder / other).parent.mkdir(exist_ok=True)
    (folder / other).write_text("years of work")
    with pytest.raises(ValueError, match=f"also '{other.partition('/')[0]}'"):
        fitted.save_pretrained(folder)
    assert (folder / other).read_text() == "years of work"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_place_that_cannot_be_written(fitted, tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError):
        fitted.save_pretrained(tmp_path / "m")
    tmp_path.chmod(0o700)


def test_the_model_card_says_what_it_is(fitted, tmp_path):
    card = (fitted.save_pretrained(tmp_path / "cats") / "README.md").read_text()
    assert "# cats" in card
    assert str(tmp_path) not in card
    assert "| max_len | 8 |" in card
    assert f"{sum(p.numel() for p in fitted.module_.parameters()):,} parameters" in card


def load_lines(folder):
    """The code of the model card, as a program that leaves `model`."""
    return (folder / "README.md").read_text().partition("```python")[2].partition("```")[0]


@pytest.mark.parametrize("place", ["cats", "./cats", "~/cats", "../work/cats", "absolute"])
def test_the_load_line_of_the_card_is_true(fitted, texts, home, monkeypatch, place):
    user = home.parents[1]
    (user / "work").mkdir()
    monkeypatch.setenv("HOME", str(user))
    monkeypatch.chdir(user / "work")
    folder = fitted.save_pretrained(user / "cats" if place == "absolute" else place)
    code = load_lines(folder)
    assert str(user) not in code
    if place in ("~/cats", "absolute"):  # what holds anywhere is the folder's own name
        monkeypatch.chdir(user)
    model = {}
    exec(code, model)
    assert model["model"].score(texts) == fitted.score(texts)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (None, []),
        ("format", None),
        ("estimator", None),
        ("vocab_size", "many"),
        ("vocab_size", True),
        ("vocab_size", -1),
        ("has_tokenizer", 1),
        ("has_tokenizer", False),
        ("parameters", []),
        ("parameters", {"module__blocks": "two"}),
        ("parameters", {"module__max_len": None}),
        ("parameters", {"lr": "fast"}),
        ("parameters", {"optimizer": "AdamW"}),
        ("parameters", {"colour": 1}),
        ("parameters", {"modul__blocks": 1}),
        ("left_out", None),
        ("fitted", []),
        ("fitted", {"n_iter_": "two"}),
        ("fitted", {"n_steps_": -2}),
        ("fitted", {"score": 1}),
        ("fitted", {"__class__": 1}),
    ],
)
def test_a_config_that_was_tampered_with(fitted, tmp_path, key, value):
    path = fitted.save_pretrained(tmp_path / "m") / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(value if key is None else {**config, key: value}))
    with pytest.raises(
        ValueError, match=r"holds a .* in format|config\.json|safetensors does not fit"
    ):
        SpikeDecoderLM.from_pretrained(path.parent)


@pytest.mark.parametrize(
    "key", ["format", "estimator", "vocab_size", "has_tokenizer", "parameters", "fitted"]
)
def test_a_config_with_a_gap(fitted, tmp_path, key):
    path = fitted.save_pretrained(tmp_path / "m") / "config.json"
    config = json.loads(path.read_text())
    del config[key]
    path.write_text(json.dumps(config))
    with pytest.raises(ValueError, match=f"config.json is damaged: '{key}' is missing"):
        SpikeDecoderLM.from_pretrained(path.parent)


@pytest.mark.parametrize(
    "content", [{}, 3, [3], [{}], [{"batches": 1}], [{"batches": ["none"]}], None]
)
@pytest.mark.parametrize("name", ["history.json", "tokenizer.json"])
def test_other_files_that_were_tampered_with(fitted, tmp_path, name, content):
    path = fitted.save_pretrained(tmp_path / "m") / name
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=f"{name} is damaged"):
        SpikeDecoderLM.from_pretrained(path.parent)


def test_an_interruption_is_remembered_on_the_card(texts, tmp_path):
    model = tiny_model().fit(texts)
    model.interrupted_ = True
    folder = model.save_pretrained(tmp_path / "m")
    assert "interrupted before its end" in (folder / "README.md").read_text()
    assert SpikeDecoderLM.from_pretrained(folder).interrupted_ is False

"""What a configuration asks for is compared with its files before anything of it is built."""

from __future__ import annotations

import json
import resource
import shutil
import time

import pytest
import torch
from tiny_classifiers import X, Y, tiny_classifier, tiny_gpt
from tiny_language_model import tiny_model

from snn_estimators.estimators import SpikeGPTLM
from snn_estimators.estimators.pretrained_io import load_pretrained
from snn_estimators.persistence.training_state import TrainingState


def tiny_gpt_lm(**parameters):
    size = {"module__n_layer": 1, "module__n_embd": 8, "max_steps": 1, "random_state": 0}
    return SpikeGPTLM(**{**size, **parameters})


MAKE = {
    "decoder": lambda: tiny_model(max_steps=1).fit(X),
    "gpt": lambda: tiny_gpt_lm().fit(X),
    "decoder classifier": lambda: tiny_classifier(max_steps=1).fit(X, Y),
    "gpt classifier": lambda: tiny_gpt(max_steps=1).fit(X, Y),
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    return {name: make().save_pretrained(folder / name) for name, make in MAKE.items()}


@pytest.fixture
def change(saved, tmp_path):
    """Change a file of a saved model, and return the folder of the copy."""

    def changed(model, alter, name="config.json"):
        folder = tmp_path / "changed"
        shutil.copytree(saved[model], folder)
        content = json.loads((folder / name).read_text())
        content = alter(content) or content
        (folder / name).write_text(json.dumps(content))
        return folder

    return changed


def setting(**parameters):
    return lambda config: config["parameters"].update(parameters)


def refused(folder, match):
    """Check that loading is refused in a moment, in one sentence, and without memory."""
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with pytest.raises(ValueError, match=match) as caught:
        load_pretrained(folder)
    assert time.process_time() - started < 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kilobytes
    assert str(caught.value).count("\n") == 0


HUGE = {
    "decoder": ["blocks", "token_dim", "position_dim", "mlp_ratio", "timesteps", "levels"],
    "gpt": ["n_layer", "n_embd", "levels"],
    "decoder classifier": ["blocks", "token_dim", "timesteps"],
    "gpt classifier": ["n_layer", "n_embd"],
}


@pytest.mark.slow
@pytest.mark.parametrize("size", [20_000, 10**9, 10**30, 10**400, float("inf"), -1])
@pytest.mark.parametrize(
    ("model", "name"), [(model, name) for model, names in HUGE.items() for name in names]
)
def test_sizes_are_bounded_by_the_weights(change, model, name, size):
    if name == "levels" and size == 20_000:
        return
    refused(change(model, setting(**{f"module__{name}": size})), "changed")


@pytest.mark.parametrize("model", MAKE)
def test_the_vocabulary_is_bounded_by_the_weights(change, model):
    def alter(config):
        config["vocab_size"] = 10**8

    refused(change(model, alter), r"model.safetensors does not fit|more tensors")


@pytest.mark.parametrize(
    "options",
    [
        {"module__max_len": 10**9, "module__position_encoding": "learned"},
        {"module__max_len": 10**9, "module__encoding": "one-hot"},
        {"module__max_len": 10**400},
        {"module__heads": 10**9},
        {"lr": 10**400},
        {"lr": float("inf")},
        {"spike_penalty": 10**400},
    ],
    ids=lambda options: str(options)[:60],
)
def test_other_numbers_without_meaning(change, options):
    refused(change("decoder", setting(**options)), "changed")


@pytest.mark.parametrize(
    "dtype", ["<U100000000", "(10000,10000)i4", "i4,i4", "V100000000", "S100000000", "M8[s]"]
)
def test_labels_take_no_more_than_they_hold(change, dtype):
    def alter(config):
        config["classes"]["dtype"] = dtype

    folder = change("decoder classifier", alter)
    if "U" in dtype:
        assert load_pretrained(folder).classes_.dtype == "<U4"
    else:
        refused(folder, "classes make no labels")


@pytest.mark.parametrize(
    "history",
    [
        {"a": 1},
        "x",
        [[]],
        [{"batches": {}}],
        [{"batches": []}, {"batches": [1]}],
        [{"batches": [], "train_batch_count": -1}],
        [{"batches": [], "valid_loss": 10**400}],
    ],
    ids=lambda content: str(content)[:40],
)
def test_a_history_that_is_none(change, history):
    refused(change("gpt", lambda _: history, "history.json"), "history.json is damaged")


@pytest.mark.parametrize("depth", [500, 5_000, 100_000])
@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "history.json"])
def test_nesting(change, name, depth):
    folder = change("gpt", lambda _: None, name)
    (folder / name).write_text("[" * depth + "]" * depth)
    refused(folder, rf"{name} is damaged: it is nested")


def test_a_configuration_decides_about_no_folder_compiler_or_process(change, tmp_path):
    asked = {
        "memory": str(tmp_path / "memory"),
        "compile": True,
        "compile__mode": "max-autotune",
        "iterator_valid__num_workers": 10**6,
    }
    model = load_pretrained(change("gpt", setting(**asked)))
    assert model.score(X) < 0
    assert not asked.keys() & {k for k, v in model.get_params().items() if v}
    assert not (tmp_path / "memory").exists()


@pytest.mark.slow
def test_a_kept_fit_with_other_sizes_is_done_anew(tmp_path, texts):
    model = tiny_model(memory=tmp_path / "memory", tokenizer=None, max_steps=2)
    ids = [torch.arange(12).remainder(4).numpy()] * 4
    weights = model.fit(ids).module_.state_dict()
    (path,) = (tmp_path / "memory" / "fits").glob("*.safetensors")
    state = TrainingState.read(path)
    for size in (10**9, 10**400, 0):
        state.content["metadata"]["vocab_size"] = size
        state.write(path)
        with pytest.warns(UserWarning, match="the fit starts from scratch"):
            again = model.fit(ids)
        assert all(torch.equal(v, weights[k]) for k, v in again.module_.state_dict().items())


@pytest.mark.slow
@pytest.mark.parametrize("count", [{"epochs": -(10**9)}, {"steps": 10**9}, {"batches": 0.5}])
def test_a_kept_fit_at_an_impossible_place_is_done_anew(tmp_path, texts, count):
    model = tiny_model(memory=tmp_path / "memory", max_steps=2).fit(texts)
    (path,) = (tmp_path / "memory" / "fits").glob("*.safetensors")
    state = TrainingState.read(path)
    packed = dict(state.content["state"]["dict"])["position"]["dict"]
    for pair in packed:
        pair[1] = count.get(pair[0], pair[1])
    path.unlink()
    state.write(path.with_name(path.name.replace(".safe", ".unfinished.safe")))
    with pytest.warns(UserWarning, match="the fit starts from scratch"):
        assert model.fit(texts).n_steps_ == 2


@pytest.mark.parametrize("device", ["nonsense", 7, [1]])
def test_a_device_that_is_none(change, device):
    folder = change("gpt", setting(device=device))
    refused(folder, r'device must be "auto" or a name that PyTorch knows')
    assert load_pretrained(folder, device="cpu").score(X) < 0


@pytest.mark.parametrize("device", ["cuda:99", "meta"])
def test_a_device_that_is_not_here(change, device):
    folder = change("gpt", setting(device=device))
    with pytest.warns(UserWarning, match="which is not there: it computes on the CPU"):
        assert load_pretrained(folder).score(X) < 0

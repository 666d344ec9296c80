"""Published checkpoints as estimators: SpikeDecoder's, and what both systems have in common."""

from __future__ import annotations

import numpy as np
import pytest
import safetensors.torch
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV

from snn_estimators import (
    CharTokenizer,
    SpikeDecoderClassifier,
    SpikeDecoderLM,
    SpikeGPTLM,
    WordTokenizer,
)

TEXTS = ["the old man and the sea and the man", "a sea of old men, and one man."] * 3


def load(shared, name):
    return torch.load(shared / "fixtures" / f"{name}.pt", weights_only=True)


@pytest.fixture
def reference(shared, tmp_path):
    """A checkpoint as the reference's training leaves it, and all about it."""
    case = load(shared, "01_sd_learned_static")
    torch.save(case["state_dict"], tmp_path / "decoder.pth")
    return tmp_path / "decoder.pth", case


@pytest.fixture
def model(reference):
    path, case = reference
    return SpikeDecoderLM.from_reference(path, config=case["config"])


def check_scores(model, case):
    log_likely = case["logits"].double().log_softmax(-1)[:, :-1]
    expected = log_likely.gather(-1, case["tokens"][:, 1:, None]).sum((1, 2))
    np.testing.assert_allclose(model.score_samples(case["tokens"].numpy()), expected, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "01_sd_learned_static",
        "03b_sd_onehot_len4",
        "07b_sd_spikeres2_batch_mslif",
        "15_ns_static",
        "17_partial_deg1",
        "21_partial_deg0_patched",
        "35_sd_gui_strictspikes",
    ],
)
def test_scores_are_the_references_and_survive_saving(name, shared, tmp_path):
    case = load(shared, name)
    torch.save(case["state_dict"], tmp_path / "decoder.pth")
    path, config = tmp_path / "decoder.pth", case["config"]
    model = SpikeDecoderLM.from_reference(path, tokenizer=None, config=config)
    check_scores(model, case)
    model.save_pretrained(tmp_path / "saved")
    check_scores(SpikeDecoderLM.from_pretrained(tmp_path / "saved"), case)


def test_colliding_codes_are_told_once_and_survive_saving(shared, tmp_path):
    case = load(shared, "29_sd_binary_binary")
    torch.save(case["state_dict"], tmp_path / "decoder.pth")
    with pytest.warns(UserWarning, match="codes .* collide") as told:
        model = SpikeDecoderLM.from_reference(tmp_path / "decoder.pth", None, config=case["config"])
    assert len(told) == 1
    assert told[0].filename == __file__
    model.save_pretrained(tmp_path / "saved")
    check_scores(SpikeDecoderLM.from_pretrained(tmp_path / "saved"), case)


@pytest.mark.slow
def test_it_reads_and_writes_with_the_references_alphabet(model, reference):
    _, case = reference
    assert "".join(model.tokenizer_.vocabulary_) == "abcdefghijklmnopqrstuvwxyz.'P "
    text = model.tokenizer_.inverse_transform(case["tokens"].numpy())[0].replace("P", "p")
    assert np.isfinite(model.perplexity([text]))
    assert len(model.generate("the ", 30, random_state=0)) == 30
    with pytest.warns(UserWarning, match=r"2\.8% of the tokens of X are unknown"):
        model.perplexity(["hello world, this is a test of words"])


@pytest.mark.slow
def test_it_is_trained_on_saved_and_searched(model, tmp_path):
    before = model.score(TEXTS[:1])
    assert model.optimizer is torch.optim.AdamW
    model.set_params(max_steps=3).partial_fit(TEXTS[:1] * 8)
    assert model.n_steps_ == 3
    after = model.score(TEXTS[:1])
    assert after > before
    model.save_pretrained(tmp_path / "saved")
    loaded = SpikeDecoderLM.from_pretrained(tmp_path / "saved")
    assert loaded.score(TEXTS[:1]) == after
    assert loaded.tokenizer_.transform(["sea"])[0].tolist() == [18, 4, 0]
    search = GridSearchCV(model, {"lr": [1e-3, 1e-2]}, cv=2).fit(TEXTS)
    best = search.best_estimator_
    assert best.vocab_size_ == 30
    assert best.module_.blocks[0].attention.key.linear.weight.shape == (80, 80)
    assert best.module__neuron == "lif"


@pytest.mark.slow
def test_a_published_spikegpt_is_searched(shared, tmp_path):
    case = load(shared, "25_sgpt_rwkv_L3_v50")
    torch.save(case["state_dict"], tmp_path / "gpt.pth")
    model = SpikeGPTLM.from_reference(tmp_path / "gpt.pth", None, ctx_len=16, max_steps=2)
    tokens = np.arange(4 * 50).reshape(4, 50) % 50
    best = GridSearchCV(model, {"lr": [1e-3, 1e-2]}, cv=2).fit(tokens).best_estimator_
    assert len(best.module_.blocks) == 3
    assert best.module__spikes == "residual"


def test_a_clone_keeps_the_architecture_alone(model):
    copy = clone(model)
    assert copy.get_params_for("module") == model.get_params_for("module")
    with pytest.raises(NotFittedError):
        copy.score(TEXTS)


@pytest.mark.slow
def test_a_classifier_adopts_it(model):
    classifier = SpikeDecoderClassifier(pretrained=model, max_steps=2, random_state=0)
    assert classifier.fit(TEXTS[:4], [0, 1, 0, 1]).predict(TEXTS[:2]).shape == (2,)


@pytest.mark.slow
def test_a_dictionary_makes_a_tokenizer_of_words(reference, tmp_path):
    path, case = reference
    known = ["the", "old", "man", "and", "sea", "a", ".", "P", "one", "of", "men"]
    words = sorted(known + [f"w{i}" for i in range(19)])
    config = {**case["config"], "dictionary": words}
    model = SpikeDecoderLM.from_reference(path, config=config)
    assert model.tokenizer_.vocabulary_ == words
    ids = model.tokenizer_.transform(["The old whale ."])[0]
    assert [words[i] for i in ids] == ["the", "old", "P", "."]
    assert len(model.generate("the old", 3, random_state=0).split()) == 3
    model.save_pretrained(tmp_path / "saved")
    loaded = SpikeDecoderLM.from_pretrained(tmp_path / "saved")
    assert loaded.generate("the", 3, random_state=1) == model.generate("the", 3, random_state=1)
    for odd in ({"a": 0}, ["a", "a"], ["a", 1]):
        with pytest.raises(ValueError, match=r"dictionary=.*, which is no list of distinct words"):
            SpikeDecoderLM.from_reference(path, config={**config, "dictionary": odd})


@pytest.mark.slow
def test_a_tokenizer_of_ones_own_is_taken(reference):
    path, case = reference
    symbols = "".join(map(chr, range(65, 95)))
    model = SpikeDecoderLM.from_reference(
        path, CharTokenizer(symbols).fit([symbols]), config=case["config"]
    )
    assert set(model.generate("ABC", 9, random_state=0)) <= set(symbols)
    with pytest.raises(NotFittedError):
        SpikeDecoderLM.from_reference(path, WordTokenizer(), config=case["config"])
    with pytest.raises(TypeError, match=r"must be a fitted tokenizer, .* got 'char'"):
        SpikeDecoderLM.from_reference(path, "char", config=case["config"])
    many = CharTokenizer().fit(["".join(map(chr, range(40, 100)))])
    with pytest.raises(ValueError, match=r"61 tokens, but the vocabulary of .* holds 30"):
        SpikeDecoderLM.from_reference(path, many, config=case["config"])


def test_bad_configs_are_refused_before_the_file_is_read(reference, tmp_path):
    path, case = reference
    nowhere = tmp_path / "nowhere.pth"
    with pytest.raises(TypeError, match="config must map"):
        SpikeDecoderLM.from_reference(nowhere, config=None)
    with pytest.raises(ValueError, match=r"config lacks \['vocab_size'\]"):
        SpikeDecoderLM.from_reference(nowhere, config={"max_len": 16})
    with pytest.raises(ValueError, match=r"vocab_size=31 and no dictionary, .* tokenizer=None"):
        SpikeDecoderLM.from_reference(nowhere, config=case["config"] | {"vocab_size": 31})
    odd = {"vocab_size": [30], "spike_degree": "4", "normalization": ["layer"], "dictionary": 5}
    for name, value in odd.items():
        with pytest.raises(ValueError, match=name):
            SpikeDecoderLM.from_reference(nowhere, config=case["config"] | {name: value})
    with pytest.raises(ValueError, match="module__heads is the checkpoint's: leave it out"):
        SpikeDecoderLM.from_reference(nowhere, config=case["config"], module__heads=1)
    with pytest.raises(FileNotFoundError, match="There is no file"):
        SpikeDecoderLM.from_reference(nowhere, config=case["config"])
    with pytest.raises(ValueError, match=r"decoder\.pth holds no SpikeDecoder of this config: bl"):
        SpikeDecoderLM.from_reference(path, config=case["config"] | {"blocks": 1})
    model = SpikeDecoderLM.from_reference(path, config=case["config"], module__mlp_dropout=0.5)
    assert model.module__mlp_dropout == 0.5


@pytest.mark.parametrize("kind", ["legacy", "safetensors", "half"])
@pytest.mark.parametrize("name", ["01_sd_learned_static", "27_sgpt_ffnpre_L2_v50"])
def test_wrapped_files_of_any_kind_are_read_by_both(name, kind, shared, tmp_path):
    case = load(shared, name)
    weights = {f"module.{name}": tensor for name, tensor in case["state_dict"].items()}
    path = tmp_path / "weights"
    if kind == "safetensors":
        safetensors.torch.save_file(weights, path)
    elif kind == "legacy":
        envelope = {"state_dict": weights, "epoch": 3}
        torch.save(envelope, path, _use_new_zipfile_serialization=False)
    else:
        torch.save({name: tensor.bfloat16() for name, tensor in weights.items()}, path)
    told = r"Taken off the checkpoint: .*what wrappers add to names \('module\.'\)"
    with pytest.warns(UserWarning, match=told) as warned:
        if case["model"] == "spikegpt":
            model = SpikeGPTLM.from_reference(path, None, ctx_len=16)
        else:
            model = SpikeDecoderLM.from_reference(path, None, config=case["config"])
    assert len(warned) == 1
    assert {weight.dtype for weight in model.module_.parameters()} == {torch.float32}
    if kind != "half":
        check_scores(model, case)

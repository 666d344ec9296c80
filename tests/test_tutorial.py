"""The steps of SpikeGPT's and SpikeDecoder's tutorials with this package.

`test_tutorial.md` beside this file compares them in two tables.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from snn_estimators.energy import summarize
from snn_estimators.estimators import SpikeDecoderLM, SpikeGPTClassifier, SpikeGPTLM
from snn_estimators.model_selection import language_model_scores, results_table
from snn_estimators.text import (
    BPETokenizer,
    CharTokenizer,
    PretrainedTokenizer,
    TextCleaner,
    WindowKFold,
    WordTokenizer,
    load_corpus,
    split_windows,
)

TINY = {"module__n_layer": 2, "module__n_embd": 16, "module__ctx_len": 16}
SHORT = {"batch_size": 4, "steps_per_epoch": 3, "max_epochs": 2, "lr": 1e-2, "random_state": 0}


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    monkeypatch.setenv("SNN_ESTIMATORS_HOME", str(tmp_path / "home"))


@pytest.fixture(scope="module")
def book(tmp_path_factory) -> Path:
    """A text file of the user's."""
    path = tmp_path_factory.mktemp("text") / "book.txt"
    path.write_text("\n".join(load_corpus("python-docs"))[:6_000], encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def parts(book) -> tuple[str, str]:
    """Step 1 of either tutorial: read the text, and hold a part of it out."""
    (text,) = load_corpus(book)
    split = len(text) * 9 // 10
    return text[:split], text[split:]


# SpikeGPT: data, tokenizer, model, training, and sampling


@pytest.mark.slow
@pytest.mark.parametrize("tokenizer", ["char", "word", "bpe"])
def test_spikegpt_trains_from_scratch_on_any_tokens(tokenizer, parts):
    if tokenizer == "bpe":
        pytest.importorskip("tokenizers")
    train, held_out = parts
    model = SpikeGPTLM(tokenizer=tokenizer, **TINY, **SHORT).fit([train])
    assert model.n_steps_ == 6
    assert model.vocab_size_ == model.tokenizer_.n_tokens_
    assert model.history[-1, "train_loss"] < model.history[0, "train_loss"]
    assert np.isfinite(model.bits_per_character([held_out]))


@pytest.mark.slow
def test_spikegpt_takes_the_tokenizer_of_another_model(parts, tmp_path):
    pytest.importorskip("tokenizers")
    train, held_out = parts
    BPETokenizer(vocab_size=300).fit([train]).backend_.save(str(tmp_path / "20B_tokenizer.json"))
    tokenizer = PretrainedTokenizer(tmp_path / "20B_tokenizer.json")
    model = SpikeGPTLM(tokenizer=tokenizer, **TINY, **SHORT).fit([train])
    assert model.vocab_size_ == 300
    assert np.isfinite(model.score([held_out]))


@pytest.mark.slow
def test_spikegpt_trains_on_a_corpus_of_token_ids(parts):
    train, held_out = parts
    tokenizer = CharTokenizer().fit([train])
    model = SpikeGPTLM(tokenizer=None, module__vocab_size=tokenizer.n_tokens_, **TINY, **SHORT)
    model.fit(tokenizer.transform([train]))
    assert np.isfinite(model.score(tokenizer.transform([held_out])))
    ids = model.generate(tokenizer.transform(["The "])[0], 10, random_state=0)
    assert len(tokenizer.inverse_transform([ids])[0]) == 10


@pytest.mark.slow
def test_spikegpt_has_the_sizes_rates_and_variants_of_the_training_script(parts):
    model = SpikeGPTLM.from_preset(
        "spikegpt",
        module__model_type="RWKV-ffnPre",
        lr_final=1e-5,
        warmup_tokens=64,
        clip=1.0,
        betas=(0.9, 0.99),
        optimizer__eps=4e-9,
        **TINY,
        **SHORT,
    )
    assert np.isfinite(model.fit([parts[0]]).score([parts[1]]))


@pytest.mark.slow
def test_spikegpt_saves_checkpoints_by_name_and_resumes_after_a_crash(parts, tmp_path, monkeypatch):
    pytest.importorskip("tokenizers")
    setup = {"tokenizer": "bpe", "tokenizer__vocab_size": 300, **TINY, **SHORT}
    model = SpikeGPTLM(name="GPT-1", save_every_n_steps=2, **setup)
    with monkeypatch.context() as patch:
        crash_at_step(5, patch)
        with pytest.raises(OSError, match="lost power"):
            model.fit([parts[0]])
    folder = tmp_path / "home" / "models" / "GPT-1"
    assert "lost power" in (folder / "error.log").read_text()
    assert SpikeGPTLM.from_pretrained("GPT-1").n_steps_ == 4
    with pytest.raises(ValueError, match="'GPT-1' is taken"):
        clone(model).fit([parts[0]])
    resumed = clone(model).fit([parts[0]], resume=True)
    whole = SpikeGPTLM(**setup).fit([parts[0]])
    assert resumed.score([parts[1]]) == whole.score([parts[1]])
    assert pd.read_csv(folder / "log.csv")["step"].tolist() == [1, 2, 3, 4, 5, 6]
    assert SpikeGPTLM.from_pretrained("GPT-1", checkpoint=4).n_steps_ == 4
    assert SpikeGPTLM.from_pretrained("GPT-1").score([parts[1]]) == whole.score([parts[1]])


def crash_at_step(step, patch):
    n_steps = itertools.count(1)
    train_step = SpikeGPTLM.train_step

    def crash(self, *args, **kwargs):
        if next(n_steps) == step:
            raise OSError("lost power")
        return train_step(self, *args, **kwargs)

    patch.setattr(SpikeGPTLM, "train_step", crash)


@pytest.mark.slow
def test_spikegpt_streams_what_it_generates(parts):
    SpikeGPTLM(**TINY, **SHORT).fit([parts[0]]).save_pretrained("GPT-1")
    model = SpikeGPTLM.from_pretrained("GPT-1")
    settings = {"temperature": 1.0, "top_p": 0.7, "random_state": 0}
    text = ""
    for piece in model.generate("The ", max_new_tokens=40, stream=True, **settings):
        text += piece  # print(piece, end="", flush=True)
    assert text == model.generate("The ", max_new_tokens=40, **settings)  # beyond ctx_len, too
    trials = model.generate(["The "] * 3, max_new_tokens=20, **settings)
    assert len(set(trials)) > 1


def test_spikegpt_reads_published_weights(shared, tmp_path):
    published = torch.load(shared / "fixtures" / "23_sgpt_rwkv_L2_v77.pt", weights_only=True)
    torch.save(published["state_dict"], tmp_path / "SpikeGPT.pth")
    model = SpikeGPTLM.from_reference(tmp_path / "SpikeGPT.pth", None, ctx_len=16)
    probabilities = np.stack(model.predict_proba(published["tokens"].numpy()))
    expected = published["logits"].softmax(-1).numpy()
    np.testing.assert_allclose(probabilities, expected, atol=1e-4)

    symbols = "".join(map(chr, range(32, 32 + 77)))  # whatever it was trained with
    tokenizer = CharTokenizer(symbols).fit([symbols])
    model = SpikeGPTLM.from_reference(tmp_path / "SpikeGPT.pth", tokenizer, ctx_len=16)
    assert len(model.generate("HELL", 5, random_state=0)) == 5


@pytest.mark.slow
def test_spikegpt_is_fine_tuned_to_classify(parts):
    SpikeGPTLM(name="GPT-1", **TINY, **SHORT).fit([parts[0]])
    reviews = ["a good film", "what a good story", "a bad film", "such a bad story"] * 4
    opinions = ["good", "good", "bad", "bad"] * 4
    model = SpikeGPTClassifier(pretrained="GPT-1", lr=1e-2, max_epochs=30, random_state=0)
    assert model.fit(reviews, opinions).predict(reviews[:4]).tolist() == opinions[:4]


# SpikeDecoder: characters, words, twins, and what its graphical interface shows


@pytest.fixture(scope="module")
def windows(parts) -> tuple[list[str], list[str]]:
    """Cleaned text, as the reference's data sets make it, in windows of inputs and targets."""
    train, held_out = TextCleaner("spikedecoder").transform(parts)
    return split_windows(train, length=17, stride=8), split_windows(held_out, length=17)


DECODER = {
    "module__max_len": 16,
    "module__encoding": "learned",
    "module__position_encoding": "static",
    "module__token_dim": 10,
    "module__position_dim": 10,
    "module__heads": 2,
    "module__blocks": 2,
    "module__timesteps": 2,
    "module__mlp_ratio": 2,
}


@pytest.mark.slow
def test_spikedecoder_trains_on_characters(windows):
    train, held_out = windows
    model = SpikeDecoderLM(tokenizer=CharTokenizer("spikedecoder"), **DECODER, **SHORT).fit(train)
    assert model.vocab_size_ == 30
    assert model.perplexity(held_out) < 40
    assert len(model.generate("the ", 30, random_state=0)) == 30  # beyond the 16 of max_len


@pytest.mark.slow
def test_spikedecoder_trains_on_words(parts):
    words = TextCleaner("spikedecoder-words").transform(parts)
    tokenizer = WordTokenizer(min_frequency=6, pattern=r"\S+")
    model = SpikeDecoderLM(tokenizer=tokenizer, **DECODER, **SHORT).fit(words[:1])
    assert np.isfinite(model.perplexity([words[0][-500:]]))
    assert len(model.generate("the", 5, random_state=0).split()) == 5


@pytest.mark.slow
@pytest.mark.parametrize("spike_degree", [0, 1, 2, 3, 4])
def test_spikedecoder_has_a_twin_for_each_degree_of_spiking(spike_degree, windows):
    train, held_out = windows
    model = SpikeDecoderLM(module__spike_degree=spike_degree, **DECODER, **SHORT).fit(train)
    assert np.isfinite(model.perplexity(held_out))


@pytest.mark.slow
def test_spikedecoder_saves_loads_and_trains_on(windows):
    train, held_out = windows
    model = SpikeDecoderLM(**DECODER, **SHORT).fit(train)
    model.save_pretrained("tolstoy")
    loaded = SpikeDecoderLM.from_pretrained("tolstoy")
    assert loaded.score(held_out) == model.score(held_out)
    assert loaded.partial_fit(train).n_steps_ > model.n_steps_


def test_spikedecoder_reads_the_checkpoints_of_the_reference(shared, tmp_path):
    published = torch.load(shared / "fixtures" / "01_sd_learned_static.pt", weights_only=True)
    torch.save(published["state_dict"], tmp_path / "decoder.pth")
    model = SpikeDecoderLM.from_reference(tmp_path / "decoder.pth", config=published["config"])
    with torch.no_grad():
        logits = model.module_.eval()(published["tokens"])
    torch.testing.assert_close(logits, published["logits"], atol=1e-4, rtol=0)
    assert len(model.generate("the ", 5, random_state=0)) == 5


@pytest.mark.slow
def test_the_interface_shows_text_probabilities_and_energy(windows):
    train, held_out = windows
    model = SpikeDecoderLM(**DECODER, **SHORT).fit(train)
    text = "".join(model.generate("the ", 20, temperature=0, stream=True))
    assert len(text) == 20
    (probabilities,) = model.predict_proba(["the "])
    likely = np.argsort(-probabilities[-1])[:3]
    assert text[0] == model.tokenizer_.vocabulary_[likely[0]]
    used = summarize(model.energy(held_out))
    assert 0 < used["synaptic_nj"] < used["ann_nj"]


@pytest.mark.slow
def test_the_grid_search_is_scikit_learns(windows):
    search = GridSearchCV(
        SpikeDecoderLM(**DECODER, **SHORT),
        {"module__heads": [1, 2]},
        scoring=language_model_scores,
        refit="neg_perplexity",
        cv=WindowKFold(2, length=17, stride=8),
    ).fit(windows[0][:40])
    table = results_table(search)
    assert len(table) == 2
    assert {"heads", "perplexity", "energy_per_token_nj", "pareto"} <= set(table.columns)

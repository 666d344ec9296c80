"""What SpikeGPTLM has of its own: its recipe, endless streams, and the reference's checkpoints."""

from __future__ import annotations

import os
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from tiny_language_model import TEXTS

from snn_estimators import CharTokenizer, SpikeGPTLM, language_model_scores


def tiny(**parameters: Any) -> SpikeGPTLM:
    defaults = {
        "module__ctx_len": 8,
        "module__n_layer": 2,
        "module__n_embd": 8,
        "lr": 1e-2,
        "max_epochs": 2,
        "batch_size": 4,
        "random_state": 0,
    }
    return SpikeGPTLM(**{**defaults, **parameters})


@pytest.fixture(scope="module")
def fitted():
    return tiny().fit(TEXTS)


@pytest.mark.slow
def test_it_learns():
    model = tiny(max_epochs=30, module__n_embd=16).fit(["abcabcabcabcabc"] * 8)
    assert model.perplexity(["abcabc"]) < 2
    assert model.generate("ab", 7, temperature=0) == "cabcabc"


def test_the_recipe_is_the_seeds():
    model = tiny(lr=6e-4, schedule="cosine").fit(TEXTS)
    assert isinstance(model.optimizer_, torch.optim.Adam)
    for group in model.optimizer_.param_groups:
        assert (group["betas"], group["eps"], group["weight_decay"]) == ((0.9, 0.99), 1e-8, 0)


def rates_of(model):
    rates = []
    step = model.notify

    def notify(event, **kwargs):
        step(event, **kwargs)
        if event == "on_batch_begin":
            rates.append(model.optimizer_.param_groups[0]["lr"])

    model.notify = notify
    model.fit([np.arange(100) % 5])
    return rates


@pytest.mark.slow
def test_warm_up_by_tokens_then_cosine_down_to_the_final_rate():
    """Four steps of 4 x 8 tokens each: two of them, and a token more, are three."""
    rates = rates_of(
        tiny(
            **{"tokenizer": None, "max_epochs": 3, "warmup_tokens": 2 * 32 + 1},
            **{"schedule": "cosine", "lr": 0.3, "lr_final": 0.01},
        )
    )
    np.testing.assert_allclose(rates[:4], [0.1, 0.2, 0.3, 0.3], rtol=1e-6)
    assert all(np.diff(rates[3:]) < 0)
    assert rates[-1] == pytest.approx(0.01)


@pytest.mark.slow
def test_the_logit_penalty_pulls_and_is_not_reported():
    """The gradient gains coefficient / tokens x largest logit; the loss stays what it was."""
    plain, pulled = tiny(logit_penalty=0.0), tiny(logit_penalty=0.5)
    logits = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([[0, 1, 2], [3, -100, -100]])
    losses, gradients = [], []
    for model in (plain, pulled):
        model.fit(TEXTS)
        leaf = logits.clone().requires_grad_()
        loss = model.get_loss(leaf, targets, training=True)
        loss.backward()
        losses.append(loss.item())
        gradients.append(leaf.grad)
    largest, where = logits.max(-1, keepdim=True)
    expected = torch.zeros_like(logits).scatter_(-1, where, 0.5 * largest / 4)
    expected[targets == -100] = 0
    assert losses[0] == losses[1]
    torch.testing.assert_close(gradients[1] - gradients[0], expected)


@pytest.mark.slow
def test_text_longer_than_any_context_streams_on(fitted):
    """The state goes on: no window is built anew, whatever the length of prompt and text."""
    prompt = "the cat sat on the mat. " * 40
    long = fitted.generate(prompt, 50, temperature=0)
    ids = fitted.tokenizer_.transform([prompt + long])[0]
    logits = fitted.module_.eval()(torch.from_numpy(ids)[None])[0, len(prompt) - 1 : -1]
    logits[:, fitted.tokenizer_.unknown_id_] = -torch.inf
    assert fitted.tokenizer_.inverse_transform([logits.argmax(-1).numpy()]) == [long]


@pytest.mark.slow
def test_a_token_costs_the_same_anywhere(fitted, monkeypatch):
    stream, fed, sizes = fitted.module_.stream, [], set()

    def counting(ids, state):
        logits, state = stream(ids, state)
        fed.append(ids.shape[1])
        sizes.add(sum(tensor.numel() for tensor in tensors_of(state)))
        return logits, state

    monkeypatch.setattr(fitted.module_, "stream", counting)
    fitted.generate("the ", 100)
    assert fed == [4] + [1] * 99
    assert len(sizes) == 1


def tensors_of(state):
    if isinstance(state, torch.Tensor):
        return [state]
    items = state.values() if isinstance(state, dict) else state or ()
    return [tensor for item in items for tensor in tensors_of(item)]


@pytest.mark.slow
def test_a_padded_vocabulary_generates_what_the_tokenizer_knows():
    model = tiny(module__vocab_size=40, max_epochs=1).fit(TEXTS)
    assert model.tokenizer_.n_tokens_ < 40
    assert len(model.generate("the ", 200, random_state=0)) == 200


@pytest.mark.slow
def test_it_lives_in_a_search(fitted):
    search = GridSearchCV(
        tiny(max_epochs=1),
        {"module__n_embd": [4, 8], "module__spikes": ["none", "residual"]},
        scoring=language_model_scores,
        refit="neg_perplexity",
        cv=2,
    ).fit(TEXTS)
    assert np.isfinite(search.cv_results_["mean_test_neg_perplexity"]).all()


@pytest.mark.slow
def test_clone_pickle_and_files(fitted, tmp_path):
    expected = fitted.score_samples(TEXTS).tolist()
    assert clone(fitted).fit(TEXTS).score_samples(TEXTS).tolist() == expected
    assert pickle.loads(pickle.dumps(fitted)).score_samples(TEXTS).tolist() == expected
    fitted.save_pretrained(tmp_path / "model")
    loaded = SpikeGPTLM.from_pretrained(tmp_path / "model")
    assert loaded.score_samples(TEXTS).tolist() == expected
    assert loaded.generate("the", 20, random_state=1) == fitted.generate("the", 20, random_state=1)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"logit_penalty": -1}, "logit_penalty must be a finite number from 0 on"),
        ({"logit_penalty": "1"}, "logit_penalty must be a finite number"),
        ({"lr_final": 1.0}, "lr_final=1.0 is above lr=0.01"),
        ({"lr_final": 0}, "lr_final must be a positive number"),
        ({"warmup_tokens": -1}, "warmup_tokens must be None or a whole number from 0 on"),
        ({"warmup_tokens": 8, "warmup_steps": 1}, "give one of them"),
        ({"module__spikes": "some"}, "spikes='some' is unknown"),
    ],
)
def test_bad_parameters_are_named(parameters, message):
    with pytest.raises(ValueError, match=message):
        tiny(**parameters).fit(TEXTS)


# The reference's checkpoints


@pytest.fixture
def reference(shared, tmp_path):
    """A checkpoint as the reference's training leaves it: a dictionary of tensors alone."""
    case = torch.load(shared / "fixtures" / "27_sgpt_ffnpre_L2_v50.pt", weights_only=True)
    path = tmp_path / "trained-1.pth"
    torch.save(case["state_dict"], path)
    return path, case


@pytest.mark.slow
def test_a_reference_checkpoint_becomes_an_estimator(reference):
    path, case = reference
    model = SpikeGPTLM.from_reference(path, tokenizer=None, ctx_len=16)
    logits = case["logits"].double()
    expected = logits.log_softmax(-1)[:, :-1].gather(-1, case["tokens"][:, 1:, None])
    found = model.score_samples(case["tokens"].numpy())
    np.testing.assert_allclose(found, expected.sum((1, 2)), rtol=1e-4)
    assert model.vocab_size_ == 50
    assert model.module_.blocks[0].mixing.key.linear.out_features == 4 * 32
    model.partial_fit([np.arange(40)])
    assert model.n_steps_ > 0


def test_it_takes_a_tokenizer_that_fits(reference):
    path, _ = reference
    alphabet = "".join(map(chr, range(ord("A"), ord("A") + 50)))
    tokenizer = CharTokenizer(alphabet).fit([alphabet])
    model = SpikeGPTLM.from_reference(path, tokenizer=tokenizer)
    assert len(model.generate("ABC", 5, random_state=0)) == 5
    with pytest.raises(NotFittedError):
        SpikeGPTLM.from_reference(path, tokenizer=CharTokenizer())
    with pytest.raises(TypeError, match="tokenizer must be a fitted tokenizer"):
        SpikeGPTLM.from_reference(path, tokenizer="char")
    too_many = CharTokenizer().fit(["".join(map(chr, range(40, 100)))])
    with pytest.raises(ValueError, match="61 tokens, but the vocabulary of"):
        SpikeGPTLM.from_reference(path, tokenizer=too_many)


def test_the_module_is_the_checkpoints(reference):
    path, _ = reference
    for contradiction in ({"module__spikes": "none"}, {"module__n_embd": 7}):
        with pytest.raises(ValueError, match=r"module__\w+ is the checkpoint's"):
            SpikeGPTLM.from_reference(path, tokenizer=None, **contradiction)
    model = SpikeGPTLM.from_reference(path, tokenizer=None, module__dropout=0.5)
    assert model.module_.blocks[0].dropout.p == 0.5


class Malice:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_code_in_a_checkpoint_never_runs(tmp_path):
    trap, path = tmp_path / "executed", tmp_path / "model.pth"
    torch.save({"emb.weight": torch.zeros(2, 2), "x": Malice(trap)}, path)
    with pytest.raises(ValueError, match="holds more than tensors"):
        SpikeGPTLM.from_reference(path, tokenizer=None)
    assert not trap.exists()


def test_what_is_no_checkpoint_is_refused(reference, tmp_path):
    path, case = reference
    cut = tmp_path / "cut.pth"
    cut.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(ValueError, match="is damaged or no PyTorch file"):
        SpikeGPTLM.from_reference(cut, tokenizer=None)
    torch.save(torch.load(path), cut, _use_new_zipfile_serialization=False)
    whole = cut.read_bytes()
    for size in (10, 100, 200, len(whole) // 2, len(whole) - 1):
        cut.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"cut\.pth (is damaged|holds)"):
            SpikeGPTLM.from_reference(cut, tokenizer=None)
    text = tmp_path / "text.pth"
    text.write_text("nothing of the kind")
    with pytest.raises(ValueError, match=r"text\.pth"):
        SpikeGPTLM.from_reference(text, tokenizer=None)
    torch.save([1, 2], cut)
    with pytest.raises(ValueError, match="holds a list, not a dictionary"):
        SpikeGPTLM.from_reference(cut, tokenizer=None)
    cut.write_bytes(b"")
    with pytest.raises(ValueError, match=r"damaged or no PyTorch file: .*[a-z]"):
        SpikeGPTLM.from_reference(cut, tokenizer=None)
    torch.save({**case["state_dict"], "head.weight": torch.zeros(3, 3)}, cut)
    with pytest.raises(ValueError, match=r"head\.weight has shape \(3, 3\)"):
        SpikeGPTLM.from_reference(cut, tokenizer=None)
    with pytest.raises(FileNotFoundError, match="There is no file"):
        SpikeGPTLM.from_reference(tmp_path / "nowhere.pth", tokenizer=None)

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_language_model import tiny_model

from snn_estimators.estimators.generation import Sampler, stream_ids


def greedy_by_hand(model, prompt, n_tokens):
    """The definition: the whole text through the module for every token, within max_len."""
    ids = list(prompt)
    for _ in range(n_tokens):
        logits = model.module_.eval()(torch.tensor([ids]))[0, -1].detach().clone()
        for special in (model.tokenizer_.unknown_id_, model.tokenizer_.padding_id_):
            if special is not None:
                logits[special] = -torch.inf
        ids.append(int(logits.argmax()))
    return ids[len(prompt) :]


@pytest.mark.slow
def test_greedy_is_the_most_likely_token_each_time(fitted):
    prompt = fitted.tokenizer_.transform(["th"])[0]
    expected = fitted.tokenizer_.inverse_transform([greedy_by_hand(fitted, prompt, 7)])[0]
    assert fitted.generate("th", 7, temperature=0) == expected


def test_only_new_text_comes_back(fitted):
    assert len(fitted.generate("the cat", 30, random_state=0)) == 30
    assert fitted.generate("the", 0) == ""
    assert fitted.generate(["the", "a"], 0) == ["", ""]


@pytest.mark.slow
def test_pieces_make_the_whole(fitted):
    for prompt in ("t", "the cat sat on the mat"):
        pieces = fitted.generate(prompt, 30, random_state=3, stream=True)
        assert next(pieces) + "".join(pieces) == fitted.generate(prompt, 30, random_state=3)


def test_words_stream_too(texts):
    model = tiny_model(tokenizer="word").fit(texts)
    whole = model.generate("the cat", 12, random_state=0)
    assert "".join(model.generate("the cat", 12, random_state=0, stream=True)) == whole
    assert len(whole.split()) == 12
    assert "<unk>" not in whole
    assert "<pad>" not in whole


@pytest.mark.slow
def test_random_state(fitted):
    first, again, other = (fitted.generate("the", 30, random_state=seed) for seed in (1, 1, 2))
    assert first == again != other
    assert fitted.generate("the", 30) != fitted.generate("the", 30)


@pytest.mark.slow
@pytest.mark.parametrize("make", [np.random.RandomState, np.random.default_rng])
def test_generators_of_numpy_go_on(fitted, make):
    runs = []
    for generator in (make(5), make(5)):
        runs.append([fitted.generate("the", 30, random_state=generator) for _ in range(2)])
    assert runs[0] == runs[1]
    assert runs[0][0] != runs[0][1]


@pytest.mark.slow
def test_without_a_seed_numpy_decides(fitted):
    drawn = []
    for seed in (0, 0, 1):
        np.random.seed(seed)  # noqa: NPY002
        drawn.append(fitted.generate("the", 30))
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.slow
def test_a_prompt_does_not_mind_the_others(fitted):
    together = fitted.generate(["the", "a dog saw", "cat"], 20, random_state=0)
    assert together[:1] == fitted.generate(["the"], 20, random_state=0)
    assert together[0] == fitted.generate("the", 20, random_state=0)
    assert together[:2] == fitted.generate(["the", "a dog saw"], 20, random_state=0)


def test_of_a_long_prompt_the_end_counts(fitted):
    end = "on the mat"[-8:]
    assert fitted.generate("the cat sat " + end, 5, temperature=0) == fitted.generate(
        end, 5, temperature=0
    )


@pytest.mark.slow
def test_work_per_token_is_constant(fitted):
    """Beyond max_len each token costs two tokens' work on average; nothing grows."""
    module = fitted.module_.eval()
    fed = []

    class Counting:
        max_len = position_limit = module.max_len
        parameters = module.parameters

        def stream(self, ids, state):
            fed.append(ids.shape[1])
            return module.stream(ids, state)

    prompt = [np.array([1, 2, 3])]
    seeds = np.random.SeedSequence(0).spawn(1)
    assert len(list(stream_ids(Counting(), prompt, 200, Sampler(), seeds))) == 200
    assert max(fed) == max(3, module.max_len // 2)
    assert sum(fed) <= 2 * 200 + 3


def test_after_an_anchor_the_recent_half_is_the_context(fitted):
    drawn = fitted.tokenizer_.transform([fitted.generate("the cat ", 2, temperature=0)])[0]
    text = "the cat " + fitted.tokenizer_.inverse_transform([drawn[:1]])[0]
    context = fitted.tokenizer_.transform([text[-4:]])[0]
    assert greedy_by_hand(fitted, context, 1) == [drawn[1]]


@pytest.mark.slow
def test_ids(fitted_on_ids):
    one = fitted_on_ids.generate(np.array([1, 2]), 6, random_state=0)
    assert one.shape == (6,)
    assert fitted_on_ids.generate([1, 2], 6, random_state=0).tolist() == one.tolist()
    assert list(fitted_on_ids.generate([1, 2], 6, random_state=0, stream=True)) == one.tolist()
    table = fitted_on_ids.generate(np.array([[1, 2], [3, 4], [5, 6]]), 6, random_state=0)
    assert table.shape == (3, 6)
    assert table[0].tolist() == one.tolist()
    ragged = fitted_on_ids.generate([np.array([1, 2]), np.array([3])], 6, random_state=0)
    assert [len(ids) for ids in ragged] == [6, 6]
    with pytest.raises(ValueError, match="token id 11"):
        fitted_on_ids.generate([11], 2)


def test_a_table_may_be_continued_whatever_its_width():
    model = tiny_model(tokenizer=None).fit(np.tile([0, 1, 2, 3], (4, 3)))
    assert model.generate(np.array([[0, 1], [2, 3]]), 5).shape == (2, 5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -1}, "temperature must be"),
        ({"temperature": float("nan")}, "temperature must be"),
        ({"temperature": "hot"}, "temperature must be"),
        ({"top_k": 0}, "top_k must be"),
        ({"top_k": 2.5}, "top_k must be None or a whole number"),
        ({"top_p": "all"}, "top_p must be"),
        ({"top_p": 0}, "top_p must be"),
        ({"top_p": 1.5}, "top_p must be"),
        ({"max_new_tokens": -1}, "max_new_tokens must"),
        ({"max_new_tokens": 3.5}, "max_new_tokens must be a whole number"),
        ({"random_state": "dice"}, "random_state must be"),
        ({"random_state": -1}, "random_state must be"),
    ],
)
def test_options_without_meaning(fitted, options, message):
    with pytest.raises(ValueError, match=message):
        fitted.generate("the", **options)


def test_prompts_without_meaning(fitted):
    with pytest.raises(ValueError, match="empty"):
        fitted.generate("")
    with pytest.raises(ValueError, match="Prompt 1 is empty"):
        fitted.generate(["the", ""])
    with pytest.raises(ValueError, match="single prompt"):
        fitted.generate(["the", "a"], stream=True)
    with pytest.raises(TypeError, match="prompts"):
        fitted.generate(3)


LOGITS = np.log([0.5, 0.3, 0.15, 0.05])


def frequencies(sampler, n=4000):
    rng = np.random.default_rng(0)
    return np.bincount([sampler(LOGITS, rng) for _ in range(n)], minlength=4) / n


@pytest.mark.slow
def test_samples_follow_the_distribution():
    np.testing.assert_allclose(frequencies(Sampler()), [0.5, 0.3, 0.15, 0.05], atol=0.03)
    cold = np.exp(2 * LOGITS)
    np.testing.assert_allclose(frequencies(Sampler(0.5)), cold / cold.sum(), atol=0.03)


@pytest.mark.slow
def test_truncated_samples():
    np.testing.assert_allclose(frequencies(Sampler(top_k=2)), [0.625, 0.375, 0, 0], atol=0.03)
    np.testing.assert_allclose(frequencies(Sampler(top_p=0.7)), [0.625, 0.375, 0, 0], atol=0.03)
    assert frequencies(Sampler(top_k=1)).tolist() == [1, 0, 0, 0]
    assert frequencies(Sampler(top_p=1e-9)).tolist() == [1, 0, 0, 0]
    assert frequencies(Sampler(temperature=1e-3)).tolist() == [1, 0, 0, 0]
    assert frequencies(Sampler(forbidden=[0], temperature=0)).tolist() == [0, 1, 0, 0]
    assert frequencies(Sampler(forbidden=[0]))[0] == 0
    assert Sampler(top_k=99)(LOGITS, np.random.default_rng(0)) < 4


def test_an_iterator_of_prompts_loses_none(fitted_on_ids):
    prompts = [np.array([1, 2]), np.array([3]), np.array([4, 5])]
    options = {"max_new_tokens": 3, "random_state": 0}
    given, listed = (fitted_on_ids.generate(p, **options) for p in (iter(prompts), prompts))
    assert [row.tolist() for row in given] == [row.tolist() for row in listed]
    one = fitted_on_ids.generate(iter([1, 2]), **options)
    assert one.tolist() == fitted_on_ids.generate([1, 2], **options).tolist()

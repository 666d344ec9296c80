from __future__ import annotations

import pytest
from sklearn.model_selection import ParameterGrid
from sklearn.pipeline import Pipeline

from snn_estimators import SpikeDecoderLM
from snn_estimators.sweep import candidates
from snn_estimators.sweep.candidates import list_candidates, try_candidates
from snn_estimators.text import TextCleaner, WordTokenizer

WINDOWS = ["the cat sat on the mat", "a dog ran to the tree"]


@pytest.fixture
def model():
    sizes = {"blocks": 1, "heads": 1, "timesteps": 1, "max_len": 4}
    return SpikeDecoderLM(
        tokenizer="word", random_state=0, **{f"module__{k}": v for k, v in sizes.items()}
    )


@pytest.fixture
def learned(monkeypatch):
    """Note which tokenizers learn."""
    seen = []
    real = WordTokenizer.fit

    def fit(self, X, y=None):
        seen.append(self.min_frequency)
        return real(self, X, y)

    monkeypatch.setattr(WordTokenizer, "fit", fit)
    return seen


def listed(model, grid):
    return [candidate.parameters for candidate in list_candidates(model, grid)]


def test_a_candidate_of_two_grids_is_one(model):
    grids = [{"lr": [0.1, 0.2]}, {"lr": [0.2], "module__heads": [1, 2]}, {"lr": [0.2, 0.3]}]
    assert listed(model, grids) == [
        {"lr": 0.1}, {"lr": 0.2, "module__heads": 1}, {"lr": 0.2, "module__heads": 2}, {"lr": 0.3},
    ]  # fmt: skip


def test_a_value_of_the_estimators_own_is_the_same_left_out(model):
    grids = [{"module__heads": [1, 2]}, {"module__timesteps": [1, 2]}]
    assert listed(model, grids) == [
        {"module__heads": 1, "module__timesteps": 1}, {"module__heads": 2},
        {"module__timesteps": 2},
    ]  # fmt: skip


def test_values_of_one_grid_that_make_no_difference_are_refused(model):
    model.set_params(max_steps=2)
    for grid, message in (
        ({"max_epochs": [1, 5], "lr": [0.1, 0.2]}, "max_epochs=1 with max_epochs=5, .* max_steps="),
        ([{"lr": [0.1]}, {"warm_start": [False, True]}], "warm_start=False with warm_start=True"),
        ({"tokenizer": ["word", WordTokenizer()]}, "tokenizer='word' with tokenizer="),
    ):
        with pytest.raises(ValueError, match=f"the grid compares {message}") as error:
            list_candidates(model, grid)
        assert "make the same fit: keep one of the two" in str(error.value)
    assert listed(model, [{"max_epochs": [1]}, {"max_epochs": [5]}]) == [{"max_epochs": 5}]


def test_what_differs_stays_apart(model):
    grid = {"lr": [0.1, 0.2], "callbacks": [None, [len], [max]], "random_state": [0, 1]}
    assert listed(model, grid) == list(ParameterGrid(grid))


@pytest.mark.slow
def test_candidates_with_one_tokenizer_have_it_learn_once(model, learned):
    grid = {"lr": [0.1, 0.2, 0.3], "tokenizer__min_frequency": [1, 2]}
    pipeline = Pipeline([("clean", TextCleaner()), ("lm", model)])
    try_candidates(model, list_candidates(model, grid), WINDOWS, None)
    assert sorted(learned) == [1, 2]
    grid = {f"lm__{name}": values for name, values in grid.items()}
    grid["clean__keep"] = ["a-z ", "a-y "]
    try_candidates(pipeline, list_candidates(pipeline, grid), WINDOWS, None)
    assert sorted(learned) == [1, 1, 1, 2, 2, 2]


def test_every_candidate_is_tried(model):
    for grid, message in (
        ({"module__heads": [1, 3]}, "heads=3: .*divide"),
        ({"module__vocab_size": [100, 9]}, "vocab_size=9: .*too small: .* 12 different"),
        ({"max_steps": [1, 0]}, "max_steps=0"),
        ({"tokenizer": ["word", "letters"]}, "tokenizer='letters'"),
        ({"tokenizer": ["word", 7]}, "tokenizer=7"),
        ({"tokenizer__min_frequency": [1, 0]}, "min_frequency=0"),
        ({"device": ["cpu", "abacus"]}, "device='abacus': .*device must be"),
    ):
        with pytest.raises(ValueError, match=f"impossible candidate, .*{message}"):
            try_candidates(model, list_candidates(model, grid), WINDOWS, None)
    with pytest.raises(ValueError, match="No document is long enough"):
        try_candidates(model, list_candidates(model, {"lr": [0.1]}), ["the", "cat"], None)


def test_keys_are_computed_once(model, monkeypatch):
    grid = {"lr": [0.1, 0.2], "max_steps": [1, 0]}
    listed = list_candidates(model, grid)
    assert all(candidate.key for candidate in listed)
    monkeypatch.setattr(candidates, "score_key", lambda _: pytest.fail("computed again"))
    try_candidates(model, [one for one in listed if one.parameters["max_steps"]], WINDOWS, None)


def test_a_key_that_cannot_be_computed_is_an_error_of_its_candidate(model, monkeypatch):
    def score_key(model):
        if model.lr == 0.2:
            raise TypeError("no hash")
        return str(model.lr)

    monkeypatch.setattr(candidates, "score_key", score_key)
    listed = list_candidates(model, {"lr": [0.1, 0.2]})
    assert [candidate.key for candidate in listed] == ["0.1", None]
    with pytest.raises(ValueError, match=r"impossible candidate, lr=0.2: no hash"):
        try_candidates(model, listed, WINDOWS, None)

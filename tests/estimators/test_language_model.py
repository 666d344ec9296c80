"""What is said without fitting, and before."""

from __future__ import annotations

import joblib
import numpy as np
import pytest
import torch
from sklearn.exceptions import NotFittedError
from tiny_language_model import tiny_model


def global_states():
    key, position = np.random.get_state()[1:3]  # noqa: NPY002
    return torch.get_rng_state().tolist(), key.tolist(), position


def test_a_check_leaves_no_trace(texts):
    model = tiny_model(random_state=None, tokenizer__handle_unknown="token")
    states, parameters = global_states(), joblib.hash(model.get_params())
    assert model.check(texts) is None
    assert global_states() == states
    assert joblib.hash(model.get_params()) == parameters
    with pytest.raises(NotFittedError):
        model.score(texts)
    assert not [name for name in vars(model) if name.endswith("_")]


@pytest.mark.slow
def test_a_check_leaves_a_fitted_model(texts):
    model = tiny_model().fit(texts)
    before = dict(vars(model))
    scores = model.score_samples(texts).tolist()
    model.check(["other text: 0123456789"])
    assert {k: v for k, v in vars(model).items() if before[k] is not v} == {}
    assert model.score_samples(texts).tolist() == scores


def test_a_module_instance_is_checked_in_copy(texts):
    module = torch.nn.Linear(2, 2)
    module.vocab_size = module.max_len = 40
    weights = module.weight.clone()
    tiny_parameters = {"module": module, "random_state": 0}
    type(tiny_model())(**tiny_parameters).check(texts)
    assert torch.equal(module.weight, weights)


@pytest.mark.parametrize(
    ("parameters", "X", "message"),
    [
        ({"module__heads": 3}, ["text"], "heads=3 must divide"),
        ({"lr": -1}, ["text"], "lr must be"),
        ({"module__vocab_size": 2}, ["text"], "too small"),
        ({"tokenizer__alphabet": "abc"}, ["text"], "not in the alphabet"),
        ({"tokenizer": "syllable"}, ["text"], "no tokenizer of type"),
        ({}, ["a", "b"], "No document is long enough"),
        ({}, [], "no documents"),
        ({"tokenizer": None}, ["text"], "takes token ids"),
    ],
)
def test_what_fit_would_refuse(parameters, X, message):
    for method in ("check", "fit"):
        with pytest.raises(ValueError, match=message):
            getattr(tiny_model(**parameters), method)(X)


def test_unknown_parameters_are_not_listed_as_valid():
    with pytest.raises(TypeError, match="unexpected parameter 'depth'") as caught:
        tiny_model(depth=2, hight=3)
    valid = str(caught.value).partition("did you mean")[2]
    assert valid
    assert "depth" not in valid
    assert "hight" not in valid

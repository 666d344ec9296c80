from __future__ import annotations

import re
from threading import Lock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetRegressor

from snn_estimators.model_selection.grids import (
    _WORDS,
    check_grid,
    parse_grid,
    parse_values,
    resolve_parameters,
    set_parameters,
    valid_parameters,
)


class Net(torch.nn.Module):
    def __init__(self, width=4, depth=1):
        super().__init__()


@pytest.fixture
def net():
    return NeuralNetRegressor(Net, module__width=2)


def test_candidates_are_counted():
    assert check_grid(Ridge(), {"alpha": [1.0, 2.0, 3.0], "tol": [0.1, 0.2]}) == 6
    assert check_grid(Ridge(), [{"alpha": [1.0, 2.0]}, {"tol": [0.1]}]) == 3


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ({"alhpa": [1]}, "unknown parameter 'alhpa' of Ridge: did you mean 'alpha'"),
        ({"zzz": [1]}, "unknown parameter 'zzz' of Ridge: choose one of ['alpha', 'copy_X'"),
        ({}, "empty"),
        ([], "empty"),
        ([{}], "empty"),
        ({"alpha": []}, "gives 'alpha' no value"),
        ({"alpha": 1.0}, "single value 1.0"),
        ({"alpha": (x for x in [1.0])}, "gives 'alpha' a generator: make it a list"),
        ({"solver": "svd"}, "single value 'svd'"),
        ({"alpha": [1.0, 2.0, 1.0]}, "lists 1.0 twice for 'alpha'"),
    ],
)
def test_mistakes_are_named(grid, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        check_grid(Ridge(), grid)


def test_values_that_only_look_equal_are_different():
    assert check_grid(Ridge(), {"fit_intercept": [True, 1, 1.0]}) == 3


def test_large_values_are_told_apart_in_their_middle():
    for kind in (np.array, torch.tensor):
        one, other = kind([1.0] * 2000), kind([1.0] * 2000)
        other[1000] = 2.0
        assert check_grid(Ridge(), {"alpha": [one, other]}) == 2
        other[1000] = 1.0
        with pytest.raises(ValueError, match="twice for 'alpha'"):
            check_grid(Ridge(), {"alpha": [one, other]})


def test_values_without_an_identity_are_themselves():
    one = Lock()
    assert check_grid(Ridge(), {"alpha": [one, Lock()]}) == 2
    with pytest.raises(ValueError, match="twice for 'alpha'"):
        check_grid(Ridge(), {"alpha": [one, one]})


def test_names_of_a_nets_parts_are_known(net):
    names = valid_parameters(Pipeline([("scale", StandardScaler()), ("net", net)]))
    assert {"net__module__width", "net__module__depth", "net__optimizer__momentum"} <= set(names)
    assert check_grid(net, {"module__depth": [1, 2], "iterator_train__shuffle": [True]}) == 2
    with pytest.raises(ValueError, match="did you mean 'module__depth'"):
        check_grid(net, {"module__dpeth": [1]})
    with pytest.raises(ValueError, match="did you mean 'module__depth'"):
        check_grid(net, {"depht": [1]})


def test_short_names_are_resolved(net):
    grid = {"depth": [1], "lr": [0.1], "momentum": [0.9]}
    assert list(resolve_parameters(net, grid)) == ["module__depth", "lr", "optimizer__momentum"]
    pipeline = Pipeline([("net", net)])
    assert list(resolve_parameters(pipeline, {"depth": [1]})) == ["net__module__depth"]


def test_short_names_that_mean_two_things_are_refused():
    pipeline = Pipeline([("a", Ridge()), ("b", Ridge())])
    with pytest.raises(ValueError, match=r"any of 'a__alpha', 'b__alpha'"):
        resolve_parameters(pipeline, {"alpha": [1.0]})
    with pytest.raises(ValueError, match="twice"):
        resolve_parameters(Pipeline([("a", Ridge())]), {"alpha": [1.0], "a__alpha": [2.0]})


def test_a_component_that_is_set_brings_its_parameters():
    pipeline = Pipeline([("a", StandardScaler())])
    for names in (["a", "alpha"], ["alpha", "a"]):
        set_parameters(pipeline, {n: {"a": Ridge(), "alpha": 2.0}[n] for n in names})
        assert pipeline.get_params()["a__alpha"] == 2.0
    with pytest.raises(ValueError, match="'with_mean'"):
        set_parameters(pipeline, {"with_mean": True})


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1,2,4", [1, 2, 4]),
        ("learned,two-hot", ["learned", "two-hot"]),
        ("1e-3, .5,-2", [0.001, 0.5, -2]),
        ("True,FALSE,None,null", [True, False, None]),
        ("'1',\"a,b\"", ["1", "a,b"]),
        ("[1, 2],[3]", [[1, 2], [3]]),
        ("1,1,1.0", [1, 1.0]),
        ("3x,1_000,nan", ["3x", "1_000", "nan"]),
    ],
)
def test_values(text, values):
    parsed = parse_values(text)
    assert parsed == values
    assert list(map(type, parsed)) == list(map(type, values))


NAMES = st.from_regex(r"[a-z]+(-[a-z]+)?", fullmatch=True)
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False),
    st.lists(st.integers()), NAMES.filter(lambda name: name not in _WORDS),
)  # fmt: skip


@pytest.mark.slow
@settings(derandomize=True, max_examples=50, deadline=None)
@given(st.lists(VALUES, min_size=1, unique_by=lambda value: (type(value), repr(value))))
def test_values_that_are_written_out_are_read_back(values):
    parsed = parse_values(",".join(map(str, values)))
    assert parsed == values
    assert list(map(type, parsed)) == list(map(type, values))


@pytest.mark.parametrize("text", ["", " ", "1,,2", "1,2,", ",1", "[1,"])
def test_values_with_gaps_are_refused(text):
    with pytest.raises(ValueError, match=r"empty value|cannot read the list"):
        parse_values(text, name="--heads")


def test_grid_options():
    assert parse_grid(["heads=1,5", "a=b=c"]) == {"heads": [1, 5], "a": ["b=c"]}
    for options in (["heads"], ["=1"], ["heads=1", "heads=2"], ["heads="]):
        with pytest.raises(ValueError, match=r"heads|=1"):
            parse_grid(options)

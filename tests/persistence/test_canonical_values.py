"""Which values have one canonical form, and which have two."""

from __future__ import annotations

import enum
import functools
import pickle
import sys
import threading
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import KFold
from torch import nn
from user_code import define, value_key

from snn_estimators.persistence.hashing import hash_arrays, hash_documents
from snn_estimators.persistence.stable_hash import canonical

examples = settings(max_examples=60, derandomize=True, deadline=None, database=None)


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Slots:
    __slots__ = ("a",)

    def __init__(self, a):
        self.a = a


class Bag(dict):
    pass


def module(seed=0, dropout=0.1, hook=False):
    torch.manual_seed(seed)
    made = nn.Sequential(nn.Linear(2, 2), nn.Dropout(dropout))
    if hook:
        made.register_forward_hook(lambda *_: None)
    return made


def with_attribute(value):
    made = nn.ReLU()
    made.table = value
    return made


def user_class(factor):
    return define(
        "class thing(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n"
        f"    def forward(self, x):\n        return x * {factor}\n"
    )


def adder(n):
    return lambda x: x + n


def cycle(*inner):
    made = [1]
    made.append([*inner, made] if inner else made)
    return made


VALUES = {
    "numbers": lambda: [0, 1, 2, 0.5, 1.0, True, "1", None, b"1", 1j, float("inf"), float("nan"),
                        np.float32(0.1), 0.1],
    "containers": lambda: [[1], [1.0], (1,), {1}, {1: 1}, {1: 2}, {"1": 1}, [[1]], [], {},
                           Bag(a=1), Bag(), {"a": 1, "b": 2}, {"b": 2, "a": 1}, cycle(),
                           cycle(1), {"b": {3, 1}, "a": partial(max, key=len)}],
    "strings": lambda: [["ab", "c"], ["a", "bc"], ["abc"], "abc"],
    "arrays": lambda: [np.arange(2), np.arange(2.0), np.arange(2).reshape(1, 2), torch.arange(2),
                       torch.ones(2), torch.ones(2).bfloat16(), np.array(["a", None], object),
                       np.array(["a", "b"]), np.array(["2020", "2021"], "M8[Y]"),
                       np.array(["2020", "2021"], "M8[D]"), np.array([(1, 2)], "i4,i4"),
                       np.ma.array([0, 1], mask=[0, 1]), np.ma.array([0, 1]), np.arange(3)[::2],
                       torch.ones(2, requires_grad=True), nn.Parameter(torch.ones(2)),
                       nn.Parameter(torch.ones(2), requires_grad=False)],
    "pandas": lambda: [pd.Series([1, 2]), pd.Series([1, 3]), pd.Series([1, 2], index=[1, 0]),
                       pd.DataFrame({"a": [1]}), pd.DataFrame({"b": [1]}), pd.Series(["a", "b"])],
    "modules": lambda: [module(), module(1), module(dropout=0.2), nn.Linear(2, 1, bias=False),
                        module(hook=True), with_attribute(np.zeros(2)),
                        with_attribute(np.ones(2)), user_class(1)()],
    "classes": lambda: [nn.Linear, nn.Dropout, user_class(1), user_class(2), Slots],
    "functions": lambda: [adder(1), adder(2), len, max, np.tanh, np.sinh, torch.tanh,
                          nn.functional.relu, define("A = 1\ndef thing(x):\n    return x + A"),
                          define("A = 2\ndef thing(x):\n    return x + A"),
                          define("def thing(x=1):\n    return x"),
                          define("def thing(x=2):\n    return x"),
                          partial(max, 1), partial(max, 2), partial(max, key=len),
                          "abc".upper, "abd".upper],
    "objects": lambda: [Slots(1), Slots(1.0), Slots(2), Slots(Slots(1)), Colour.RED, Colour.BLUE,
                        KFold(2), KFold(3), np.random.RandomState(0), np.random.RandomState(1),
                        np.random.default_rng(0), np.random.default_rng(5), torch.float32,
                        torch.device("cpu"), range(3), slice(3), ...],
}  # fmt: skip


@pytest.mark.parametrize("kind", VALUES)
def test_values(kind):
    torch.manual_seed(0)
    keys = [value_key(value) for value in VALUES[kind]()]
    assert len(set(keys)) == len(keys)
    torch.manual_seed(0)
    assert keys == [value_key(value) for value in VALUES[kind]()]


def test_a_module_is_the_same_before_and_after_it_was_scored():
    assert canonical(module().eval()) == canonical(module())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (threading.Lock, "lock cannot be hashed"),
        (lambda: (i for i in "ab"), "generator cannot be hashed"),
        (lambda: {"a": [sys.stderr]}, "cannot be hashed"),
        (lambda: torch.ones(2).to_sparse(), "sparse"),
        (lambda: torch.ones(2, device="meta"), "cannot be hashed"),
        (lambda: np.frompyfunc(lambda x: x, 1, 1), "the ufunc .* cannot be hashed"),
        (lambda: functools.reduce(lambda inner, _: [inner], range(100_000), []), "too deeply"),
    ],
)
def test_values_that_cannot_be_hashed(make, message):
    with pytest.raises(TypeError, match=message):
        canonical(make())


ATOMS = st.sampled_from([None, False, True, 0, 1, 2, 0.0, 1.0, -0.0, 0.5, "", "1", "a", b"a"])
PLAIN = st.recursive(
    ATOMS,
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.lists(inner, max_size=2).map(tuple)
        | st.dictionaries(st.sampled_from(["a", "b", 1]), inner, max_size=2)
    ),
    max_leaves=4,
)


@examples
@given(PLAIN, PLAIN)
def test_plain_values_are_the_same_if_they_are_written_the_same(one, other):
    assert (value_key(one) == value_key(other)) == (repr(one) == repr(other))
    assert value_key(pickle.loads(pickle.dumps(one))) == value_key(one)


def loose(value):
    """Rewrite a value without a difference that counts in parameters of our own."""
    if type(value) is int:
        return np.float32(value)
    if isinstance(value, list | tuple):
        return [*map(loose, value)] if isinstance(value, tuple) else (*map(loose, value),)
    if isinstance(value, dict):
        return {name: loose(item) for name, item in reversed(value.items())}
    return value


@examples
@given(PLAIN)
def test_some_differences_do_not_count_in_parameters_of_our_own(value):
    assert canonical(loose(value), loosely=True) == canonical(value, loosely=True)


def test_others_do():
    for one, other in [(True, 1), ([Slots(1.0)], [Slots(1)]), (0.1, np.float32(0.1))]:
        assert canonical(one, loosely=True) != canonical(other, loosely=True)


@pytest.mark.slow
@examples
@given(st.lists(st.integers(0, 3), min_size=2, max_size=3), st.integers(0, 2))
def test_arrays_are_the_same_in_any_layout(shape, kind):
    array = np.arange(np.prod(shape)).reshape(shape).astype(["i8", "f4", "?"][kind])
    for same in (
        np.asfortranarray(array),
        np.repeat(array, 2, axis=-1)[..., ::2],
        torch.tensor(array),
    ):
        assert hash_arrays(same) == hash_arrays(array)
    assert hash_arrays(array) != hash_arrays(array.astype("f8"))
    assert hash_arrays(array) != hash_arrays(array[None])


texts = st.lists(st.sampled_from(["", "a", "b", "ab", "\ud800"]), min_size=1, max_size=3)


@examples
@given(texts, texts)
def test_documents(one, other):
    assert (hash_documents(one) == hash_documents(other)) == (one == other)


def test_documents_of_token_ids():
    table = np.arange(6).reshape(2, 3)
    documents = (table, table.T, [table[0], table[1]], [table[0], table[1][:2]])
    assert len({hash_documents(ids) for ids in documents}) == len(documents)

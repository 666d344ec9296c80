"""What a memory takes for the same value, and for another."""

from __future__ import annotations

import enum
import sys
import threading
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.model_selection import KFold
from torch import nn

from snn_estimators.persistence.stable_hash import identity, identity_of_documents


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Slots:
    __slots__ = ("a",)

    def __init__(self, a):
        self.a = a


class Bag(dict):
    pass


def module(seed=0, dropout=0.1):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(2, 2), nn.Dropout(dropout))


def with_attribute(value):
    made = nn.ReLU()
    made.table = value
    return made


def defined(source, name="thing"):
    """Return what a piece of source text defines, as if it stood in a notebook."""
    scope = {"__name__": "__main__", "nn": nn}
    exec(source, scope)
    return scope[name]


def own_class(factor):
    return defined(
        "class thing(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n"
        f"    def forward(self, x):\n        return x * {factor}\n"
    )


def adder(n):
    return lambda x: x + n


VALUES = {
    "numbers": [0, 1, 2, 0.5, 1.0, True, "1", None, b"1", 1j, float("inf"), float("nan")],
    "containers": [[1], [1.0], (1,), {1}, {1: 1}, {1: 2}, {"1": 1}, [[1]], [], {}, Bag(a=1), Bag()],
    "strings": [["ab", "c"], ["a", "bc"], ["abc"], "abc"],
    "arrays": [np.arange(2), np.arange(2.0), np.arange(2).reshape(1, 2), torch.arange(2),
               torch.ones(2), torch.ones(2).bfloat16(), np.array(["a", None], object),
               np.array(["a", "b"]), np.array(["2020", "2021"], "M8[Y]"),
               np.ma.array([0, 1], mask=[0, 1]), np.ma.array([0, 1]),
               torch.ones(2, requires_grad=True), nn.Parameter(torch.ones(2)),
               nn.Parameter(torch.ones(2), requires_grad=False)],
    "pandas": [pd.Series([1, 2]), pd.Series([1, 3]), pd.Series([1, 2], index=[1, 0]),
               pd.DataFrame({"a": [1]}), pd.DataFrame({"b": [1]})],
    "modules": [module(), module(1), module(dropout=0.2), nn.Linear(2, 2, bias=False),
                with_attribute(np.zeros(2)), with_attribute(np.ones(2))],
    "classes": [nn.Linear, nn.Dropout, own_class(1), own_class(2), Slots],
    "functions": [adder(1), adder(2), len, max, np.tanh, torch.tanh, nn.functional.relu,
                  defined("A = 1\ndef thing(x):\n    return x + A"),
                  defined("A = 2\ndef thing(x):\n    return x + A"),
                  defined("def thing(x=1):\n    return x"),
                  defined("def thing(x=2):\n    return x"),
                  partial(max, 1), partial(max, 2), partial(max, key=len),
                  "abc".upper, "abd".upper],
    "objects": [Slots(1), Slots(2), Colour.RED, Colour.BLUE, KFold(2), KFold(3),
                np.random.RandomState(0), np.random.RandomState(1), np.random.default_rng(0),
                torch.float32, torch.device("cpu"), range(3), slice(3), ...],
}  # fmt: skip


@pytest.mark.parametrize("kind", VALUES)
def test_values_are_told_apart(kind):
    told = [repr(identity(value)) for value in VALUES[kind]]
    assert len(set(told)) == len(told)
    assert told == [repr(identity(value)) for value in VALUES[kind]]


@pytest.mark.parametrize(
    "make",
    [
        lambda: np.arange(3)[::2], lambda: torch.ones(3, requires_grad=True), module, lambda: Slots,
        lambda: own_class(1), lambda: own_class(1)(), lambda: adder(3), lambda: KFold(3),
        lambda: {"b": {3, 1}, "a": partial(max, key=len)}, lambda: np.random.default_rng(5),
        lambda: pd.Series(["a", "b"]), lambda: Slots(Slots(1)), lambda: Bag(a=[1]),
    ],
)  # fmt: skip
def test_equal_values_are_the_same(make):
    assert identity(make()) == identity(make())


def test_the_order_of_a_dict_is_told_where_it_may_matter():
    one, other = {"a": 1, "b": 2}, {"b": 2, "a": 1}
    assert identity(one) != identity(other)
    assert identity(one, loosely=True) == identity(other, loosely=True)


def test_what_numpy_alone_knows_by_name():
    assert identity(np.tanh) != identity(np.sinh)
    with pytest.raises(TypeError, match="nobody can tell the ufunc"):
        identity(np.frompyfunc(lambda x: x, 1, 1))


def test_numbers_are_alike_where_that_is_known():
    assert identity([1.0, 2], loosely=True) == identity((1, np.float32(2)), loosely=True)
    assert identity(True, loosely=True) != identity(1, loosely=True)
    assert identity([Slots(1.0)], loosely=True) != identity([Slots(1)], loosely=True)
    assert identity(0.1, loosely=True) != identity(np.float32(0.1), loosely=True)


def test_cycles():
    one, other = [1], [1]
    one.append(one)
    other.append([1, other])
    assert identity(one) == identity(one) != identity(other)


def test_a_module_is_the_same_before_and_after_it_was_scored():
    assert identity(module().eval()) == identity(module())


def test_a_hook_is_part_of_a_module():
    hooked = module()
    hooked.register_forward_hook(lambda *_: None)
    assert identity(hooked) != identity(module())


@pytest.mark.parametrize(
    "value",
    [threading.Lock(), (i for i in "ab"), {"a": [sys.stderr]}, torch.ones(2).to_sparse()],
)
def test_what_cannot_be_told(value):
    with pytest.raises(TypeError):
        identity(value)


def test_what_is_nested_too_deeply():
    value = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(TypeError, match="too deeply"):
        identity(value)


def test_documents():
    table = np.arange(6).reshape(2, 3)
    told = [
        repr(identity_of_documents(documents))
        for documents in (["ab", "c"], ["a", "bc"], ["ab", "\ud800"], ["ab", ""], table, table.T,
                          [table[0], table[1]], [table[0], table[1][:2]])
    ]  # fmt: skip
    assert len(set(told)) == len(told)

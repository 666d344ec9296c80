from __future__ import annotations

import functools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skorch.callbacks import Callback, EarlyStopping

from snn_estimators._describe import describe_json, describe_value


class Noise:
    def __init__(self, size, seed=0):
        self.size, self.seed, self._drawn = size, seed, []


class Watcher(Callback):
    def __init__(self, what="loss", every=1):
        self.what, self.every = what, every


def test_objects_are_written_by_what_they_are_not_where():
    values = {
        "Noise(size=2, seed=0)": Noise(2),
        "[Watcher(every=3), Watcher()]": [Watcher(every=3), Watcher()],
        "[('w', Watcher(what='loss of [...]'))]": [("w", Watcher("loss of [...]"))],
        "{'a': Noise(size=float, seed=len)}": {"a": Noise(float, len)},
        "partial(sum, Noise(size=1, seed=0), start=2)": functools.partial(sum, Noise(1), start=2),
        "describe_value": describe_value,
        "<lambda>": lambda x: x,
        "look at 0x1234": "look at 0x1234",
        "('look at 0x1234', len)": ("look at 0x1234", len),
        "Noise": Noise,
        "EarlyStopping(patience=2)": EarlyStopping(patience=2),
        "[1, 'a', None]": [1, "a", None],
    }
    assert [describe_value(value) for value in values.values()] == list(values)


def test_an_object_that_holds_itself_is_written_too():
    loop = Noise(1)
    loop.size = [loop]
    assert describe_value(loop).startswith("Noise(size=[Noise(size=[Noise")


LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(),
    st.sampled_from([Noise(1), Noise, len, np.float64(0.5), np.arange(2), functools.partial(len)]),
)  # fmt: skip


@pytest.mark.slow
@settings(derandomize=True, max_examples=25, deadline=None)
@given(
    st.recursive(LEAVES, lambda one: st.lists(one) | st.dictionaries(st.text(), one), max_leaves=8)
)
def test_any_value_is_json_and_the_same_in_every_process(value):
    assert " at 0x" not in json.dumps(describe_json(value))

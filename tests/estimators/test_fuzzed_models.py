"""Whatever the JSON of a saved model says, it is a model that scores, or one sentence.

``SNN_ESTIMATORS_FUZZ=5000 python -m pytest tests/estimators/test_fuzzed_models.py`` tries more.
"""

from __future__ import annotations

import copy
import json
import os
import shutil
import time
import warnings
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_classifiers import tiny_gpt
from tiny_language_model import TEXTS, tiny_model

from snn_estimators.estimators.pretrained_io import load_pretrained

EXAMPLES = int(os.environ.get("SNN_ESTIMATORS_FUZZ", "60"))
SECONDS = 5  # of the processor, for what loading and scoring may take

NUMBERS = st.one_of(
    st.integers(-3, 40),
    st.sampled_from([10**5, 10**9, 2**31, 2**63, 10**30, 10**400, -(10**9), 1e300, 1e-300]),
    st.sampled_from([float("inf"), float("-inf"), float("nan"), 0.5, -0.5, -0.0]),
)
WORDS = st.sampled_from(
    [
        *[
            "x",
            "lif",
            "learned",
            "auto",
            "char",
            "word",
            "meta",
            "cuda",
            "disable",
            "(a+)+$",
            "object",
            "<U100000000",
        ],
        *["cosine", "one-hot", "everywhere", "../..", "None"],
        *("", "\x00", "\ud800"),
    ]
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, WORDS),
    lambda inside: st.one_of(
        st.lists(inside, max_size=3), st.dictionaries(WORDS, inside, max_size=2)
    ),
    max_leaves=4,
) | st.just("nested")
NESTED = "[" * 5000 + "]" * 5000
FILES = ("config.json", "tokenizer.json", "history.json")
MODELS = {
    "decoder": lambda: tiny_model(max_steps=1).fit(TEXTS),
    "word classifier": lambda: tiny_gpt(max_steps=1).fit(TEXTS, ["a", "b", "a", "b"]),
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    models = {name: make().save_pretrained(folder / name) for name, make in MODELS.items()}
    return folder, {
        name: {file: json.loads((path / file).read_text()) for file in FILES}
        for name, path in models.items()
    }


def places(content, path=()):
    """Return the paths to all values in JSON."""
    items: Any = ()
    if isinstance(content, dict):
        items = content.items()
    elif isinstance(content, list):
        items = enumerate(content[:3])
    return [path, *(place for key, item in items for place in places(item, (*path, key)))]


def damage(data, content):
    """Change, delete or add a value somewhere."""
    path = data.draw(st.sampled_from(places(content)))
    action = data.draw(st.sampled_from(["change", "change", "change", "delete", "add"]))
    value = data.draw(VALUES)
    if not path:
        return value
    *way, last = path
    owner = content
    for key in way:
        owner = owner[key]
    if action == "delete":
        del owner[last]
    elif action == "add" and isinstance(owner, dict):
        owner[data.draw(WORDS)] = value
    else:
        owner[last] = value
    return content


def check_outcome(folder):
    """Check that a folder holds a model that scores, or that one sentence says why it does not."""
    started = time.process_time()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            model = load_pretrained(folder)
            score = getattr(model, "predict", None) or model.score_samples
            score(TEXTS)
        except (ValueError, OSError) as error:
            assert str(error)
            assert "\n" not in str(error).strip()
    assert time.process_time() - started < SECONDS
    assert {warning.category for warning in caught} <= {UserWarning}


@pytest.mark.slow
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize="SNN_ESTIMATORS_FUZZ" not in os.environ,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(data=st.data())
def test_a_model_that_scores_or_one_sentence(saved, data):
    folder, contents = saved
    name = data.draw(st.sampled_from(sorted(MODELS)))
    file = data.draw(st.sampled_from(FILES))
    changed = copy.deepcopy(contents[name][file])
    for _ in range(data.draw(st.integers(1, 3))):
        changed = damage(data, changed)
    target = folder / "changed"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(folder / name, target)
    (target / file).write_text(json.dumps(changed).replace('"nested"', NESTED))
    check_outcome(target)

"""Devices that are not there: an error for what is to be trained, the CPU for what was saved."""

from __future__ import annotations

import copy
import json
import pickle
import warnings

import numpy as np
import pytest
from tiny_classifiers import tiny_classifier
from tiny_language_model import TEXTS, tiny_model

from snn_estimators import CharTokenizer, SpikeDecoderLM, WordTokenizer
from snn_estimators.estimators.pretrained_io import load_pretrained

MISSING = "cuda:99"
NOT_HERE = r"device='cuda:99' is not there, .*GPUs? .*device=\"cpu\""


@pytest.mark.parametrize(
    ("make", "y"), [(tiny_model, None), (tiny_classifier, ["cat", "dog", "dog", "cat"])]
)
def test_fit_refuses_a_device_that_is_not_there(make, y, monkeypatch) -> None:
    model = make(device=MISSING)
    for tokenizer in (CharTokenizer, WordTokenizer):
        monkeypatch.setattr(tokenizer, "fit", lambda *_: pytest.fail("work was done before"))
    for method in (model.fit, model.partial_fit):
        with pytest.raises(ValueError, match=NOT_HERE):
            method(TEXTS, y)


@pytest.mark.parametrize("device", ["abacus", "cuda:x", "", 2.5, True, ["cpu"], "a" * 10**5])
def test_what_is_no_device(device) -> None:
    with pytest.raises(ValueError, match=r"device must be .* got .*device=\"cpu\"") as caught:
        tiny_model(device=device).fit(TEXTS)
    assert len(str(caught.value)) < 300


def test_a_device_without_values_is_none() -> None:
    with pytest.raises(ValueError, match="device='meta' is not there"):
        tiny_model(device="meta").fit(TEXTS)


@pytest.mark.slow
def test_a_model_saved_on_another_device_loads_on_the_cpu(fitted, texts, tmp_path) -> None:
    folder = fitted.save_pretrained(tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    for device in (MISSING, "meta"):
        config["parameters"]["device"] = device
        (folder / "config.json").write_text(json.dumps(config))
        for load in (SpikeDecoderLM.from_pretrained, load_pretrained):
            with pytest.warns(UserWarning, match=f"device='{device}'.*not there") as told:
                model = load(folder)
            assert len(told) == 1
            assert model.device == "cpu"
            np.testing.assert_allclose(model.score_samples(texts), fitted.score_samples(texts))
            assert model.partial_fit(texts).n_iter_ > fitted.n_iter_
            with pytest.raises(ValueError, match=NOT_HERE):
                load(folder, device=MISSING)


def test_a_pickled_model_of_another_device_loads_on_the_cpu(fitted, texts) -> None:
    model = copy.deepcopy(fitted).set_params(device=MISSING)
    data = pickle.dumps(model)
    with pytest.warns(UserWarning, match="device='cuda:99'.*not there") as told:
        loaded = pickle.loads(data)
    assert len(told) == 1
    assert loaded.device == "cpu"
    assert loaded.score(texts) == fitted.score(texts)


def test_an_unfitted_model_keeps_its_device_on_the_way_to_where_it_is() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = pickle.loads(pickle.dumps(tiny_model(device=MISSING)))
    assert model.device == MISSING

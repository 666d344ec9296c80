"""Ids of a small type are as good as those of int64: fits, scores, text, hashes."""

import numpy as np
import pytest
import torch

from snn_estimators.estimators import NGramLM, SpikeDecoderLM, SpikeGPTClassifier
from snn_estimators.estimators.classification.labelled_documents import LabelledDocuments, Labels
from snn_estimators.estimators.token_windows import TokenWindows, check_token_ids, collate
from snn_estimators.persistence.hashing import hash_arrays, hash_documents, hash_ids

TYPES = [np.uint8, np.uint16, np.int32]
IDS = [np.arange(250, 256), np.array([255, 0, 255, 254, 1]), np.array([7])]


@pytest.mark.parametrize("dtype", TYPES)
def test_windows_are_int64(dtype):
    windows = TokenWindows([ids.astype(dtype) for ids in IDS], 4, every_position=True)
    wanted = TokenWindows(IDS, 4, every_position=True)

    for (inputs, targets), (same_inputs, same_targets) in zip(windows, wanted, strict=True):
        assert inputs.dtype == targets.dtype == torch.int64
        assert torch.equal(inputs, same_inputs)
        assert torch.equal(targets, same_targets)
    inputs, targets = collate([windows[0], windows[1]])
    assert inputs.tolist() == [[250, 251, 252, 253], [254, 255, -1, -1]]
    assert targets.tolist() == [[251, 252, 253, 254], [255, -100, -100, -100]]


def test_labelled_documents_are_int64():
    labels = Labels(np.array([0, 1]), np.array([0, 1]))
    ids, _, _ = LabelledDocuments([np.array([255], np.uint8)] * 2, labels)[0]

    assert ids.dtype == torch.int64
    assert ids.tolist() == [255]


@pytest.mark.parametrize("dtype", TYPES)
def test_hashes_are_those_of_int64(dtype):
    small = [ids.astype(dtype) for ids in IDS]

    assert hash_ids(small) == hash_ids(IDS) == hash_arrays(IDS)
    assert hash_documents(small) == hash_documents(IDS)
    lengths = np.array([len(ids) for ids in IDS])
    assert hash_documents(small) == hash_arrays(lengths, np.concatenate(IDS))
    table = np.stack([IDS[0], IDS[0][::-1]])
    assert hash_documents(table.astype(dtype)) == hash_documents(table) == hash_arrays(table)
    assert hash_ids(table.astype(dtype)) == hash_arrays(list(table))


def test_integers_are_neither_cast_nor_copied():
    documents = [np.array([1, 2], np.uint16), np.array([3], np.uint16)]
    checked = check_token_ids(NGramLM(tokenizer=None), documents, reset=True)

    assert all(ours is given for ours, given in zip(checked, documents, strict=True))
    with pytest.raises(ValueError, match="too large for a token id"):
        check_token_ids(NGramLM(), [np.array([2**63], np.uint64), np.array([1, 2])], reset=True)


@pytest.mark.parametrize("dtype", TYPES)
def test_n_grams_count_small_ids_without_overflow(dtype):
    models = [
        NGramLM(3, tokenizer=None).fit([ids.astype(kind) for ids in IDS]) for kind in (dtype, "i8")
    ]
    small, wide = [ids.astype(dtype) for ids in IDS], IDS

    assert np.array_equal(models[0].score_samples(small), models[1].score_samples(wide))
    drawn = [m.generate(x, 5, random_state=0) for m, x in zip(models, (small, wide), strict=True)]
    assert np.array_equal(np.stack(drawn[0]), np.stack(drawn[1]))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", TYPES)
def test_models_do_not_depend_on_the_type(dtype):
    def model():
        options = {"module__blocks": 1, "module__heads": 2, "module__max_len": 4}
        return SpikeDecoderLM(tokenizer=None, max_steps=2, random_state=0, **options)

    small = [ids.astype(dtype) for ids in IDS]
    one, other = model().fit(small), model().fit(IDS)

    assert np.array_equal(one.score_samples(small), other.score_samples(IDS))
    drawn = [m.generate(x, 9, random_state=0) for m, x in ((one, small), (other, IDS))]
    assert np.array_equal(np.stack(drawn[0]), np.stack(drawn[1]))


@pytest.mark.slow
def test_classifiers_do_not_depend_on_the_type():
    options = {"module__n_embd": 8, "module__n_layer": 1, "max_steps": 2, "random_state": 0}
    X, y = IDS[:2] * 4, [0, 1] * 4
    small = [ids.astype(np.uint8) for ids in X]
    one, other = (SpikeGPTClassifier(tokenizer=None, **options).fit(x, y) for x in (small, X))

    assert np.array_equal(one.predict_proba(small), other.predict_proba(X))

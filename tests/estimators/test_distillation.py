"""A language model that learns from a teacher as well as from the text."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV

from snn_estimators import SpikeDecoderLM, SpikeGPTClassifier, SpikeGPTLM
from snn_estimators.text import IGNORED

TEXTS = ["abcabcabcabcabcabc", "abdabdabdabdabdabd"] * 8
SMALL = {"module__ctx_len": 8, "module__n_embd": 8, "random_state": 0, "device": "cpu"}


def spike_gpt(**parameters) -> SpikeGPTLM:
    return SpikeGPTLM(**{**SMALL, "max_steps": 4, **parameters})


@pytest.fixture(scope="module")
def teacher() -> SpikeGPTLM:
    return spike_gpt(module__spikes="none", max_steps=60, lr=2e-2).fit(TEXTS)


def weights(model) -> np.ndarray:
    return torch.cat([w.detach().flatten() for w in model.module_.parameters()]).numpy()


def distance(model, teacher) -> float:
    """Return the mean divergence of a model's next tokens from the teacher's."""
    ids = torch.from_numpy(np.stack([model.tokenizer_.transform(TEXTS[:2])[i][:8] for i in (0, 1)]))
    with torch.no_grad():
        p, q = (m.module_.eval()(ids).log_softmax(-1) for m in (model, teacher))
    return float((q.exp() * (q - p)).sum(-1).mean())


def test_the_loss_is_the_weighted_sum_of_both(teacher):
    student = spike_gpt(teacher=teacher, teacher_weight=0.3).fit(TEXTS)
    y_pred = torch.randn(2, 5, 5)
    X, y = torch.randint(5, (2, 5)), torch.randint(5, (2, 5))
    y[1, 3:] = IGNORED
    with student._learning_from(teacher):
        found = student.get_loss(y_pred, y, X, training=True)
        scored = student.get_loss(y_pred, y, X, training=False)
    with torch.no_grad():
        q = teacher.module_(X).softmax(-1)[y != IGNORED]
    p, seen = y_pred.softmax(-1)[y != IGNORED], y[y != IGNORED]
    text = -p[torch.arange(len(seen)), seen].log().mean()
    divergence = (q * (q / p).log()).sum(-1).mean()
    assert found.item() == pytest.approx((0.7 * text + 0.3 * divergence).item(), rel=1e-5)
    assert scored.item() == pytest.approx(text.item(), rel=1e-5)


@pytest.mark.slow
def test_a_student_comes_closer_to_its_teacher_than_one_that_learns_alone(teacher):
    steps = {"max_steps": 40, "lr": 1e-2, "spike_penalty": 0.0}
    alone = spike_gpt(**steps).fit(TEXTS)
    taught = spike_gpt(teacher=teacher, teacher_weight=1.0, **steps).fit(TEXTS)
    assert distance(taught, teacher) < distance(alone, teacher)


def test_a_teacher_without_weight_changes_nothing(teacher):
    taught = spike_gpt(teacher=teacher, teacher_weight=0.0).fit(TEXTS)
    np.testing.assert_array_equal(weights(taught), weights(spike_gpt().fit(TEXTS)))


@pytest.mark.slow
def test_it_stays_what_it_was_and_is_no_part_of_the_model(teacher, tmp_path):
    before = weights(teacher)
    student = spike_gpt(teacher=teacher).fit(TEXTS)
    np.testing.assert_array_equal(weights(teacher), before)
    assert student._ask_teacher is None
    saved = SpikeGPTLM.from_pretrained(student.save_pretrained(tmp_path / "student"))
    assert saved.teacher is None and saved.score(TEXTS) == pytest.approx(student.score(TEXTS))
    assert clone(student).teacher is teacher
    assert pickle.loads(pickle.dumps(student)).score(TEXTS) == student.score(TEXTS)


@pytest.mark.slow
def test_a_saved_one_teaches_by_its_name_or_path(teacher, tmp_path):
    folder = teacher.save_pretrained(tmp_path / "teacher")
    by_path = spike_gpt(teacher=folder).fit(TEXTS)
    np.testing.assert_array_equal(weights(by_path), weights(spike_gpt(teacher=teacher).fit(TEXTS)))


@pytest.mark.slow
def test_training_goes_on_with_it(teacher):
    student = spike_gpt(teacher=teacher, teacher_weight=1.0).fit(TEXTS)
    other = spike_gpt(teacher=teacher, teacher_weight=1.0).fit(TEXTS).set_params(teacher=None)
    assert (weights(student.partial_fit(TEXTS)) != weights(other.partial_fit(TEXTS))).any()


@pytest.mark.slow
def test_a_grid_tries_teachers_and_a_memory_distinguishes_them(teacher, tmp_path):
    other = spike_gpt(module__spikes="none", max_steps=2).fit(TEXTS)
    choices = [None, FrozenEstimator(teacher), FrozenEstimator(other)]
    search = GridSearchCV(spike_gpt(memory=tmp_path), {"teacher": choices}, cv=2, refit=False)
    first = search.fit(TEXTS).cv_results_["mean_test_score"]
    assert len(set(first)) == 3
    fits = sorted((tmp_path / "fits").iterdir())
    assert len(fits) == 3  # the halves are alike
    np.testing.assert_array_equal(search.fit(TEXTS).cv_results_["mean_test_score"], first)
    assert sorted((tmp_path / "fits").iterdir()) == fits


@pytest.mark.slow
def test_a_decoder_learns_from_a_spike_gpt(teacher):
    decoder = SpikeDecoderLM(
        module__max_len=8, module__heads=2, max_steps=2, random_state=0, teacher=teacher
    )
    assert np.isfinite(decoder.fit(TEXTS).score(TEXTS))


class TestBadInput:
    def test_another_vocabulary(self, teacher):
        with pytest.raises(ValueError, match=r"teacher has another vocabulary \(.*fit both on"):
            spike_gpt(teacher=teacher).fit(["xyzxyz", "zyx"])
        with pytest.raises(ValueError, match="teacher has another vocabulary"):
            spike_gpt(teacher=teacher, tokenizer="word").check(["abc abd abc", "abd abc"])
        with pytest.raises(ValueError, match="this model has token ids"):
            spike_gpt(teacher=teacher, tokenizer=None).fit([np.array([0, 1, 2])] * 3)

    def test_shorter_windows(self):
        short = SpikeDecoderLM(module__max_len=4, module__heads=2, max_steps=1, random_state=0).fit(
            TEXTS
        )
        with pytest.raises(ValueError, match="teacher sees at most 4 tokens"):
            spike_gpt(teacher=short).fit(TEXTS)

    def test_no_language_model(self, teacher):
        with pytest.raises(TypeError, match="teacher must be None, a fitted"):
            spike_gpt(teacher=3).fit(TEXTS)
        with pytest.raises(NotFittedError, match="The teacher model is not fitted"):
            spike_gpt(teacher=spike_gpt()).fit(TEXTS)
        classifier = SpikeGPTClassifier(max_steps=1, random_state=0).fit(TEXTS, [0, 1] * 8)
        with pytest.raises(ValueError, match="teacher is a classifier"):
            spike_gpt(teacher=classifier).fit(TEXTS)

    def test_parameters(self, teacher):
        with pytest.raises(ValueError, match="teacher_weight must be a number from 0 to 1"):
            spike_gpt(teacher=teacher, teacher_weight=1.5).fit(TEXTS)
        with pytest.raises(ValueError, match="Invalid parameter teacher__lr"):
            spike_gpt(teacher=teacher).set_params(teacher__lr=1.0)

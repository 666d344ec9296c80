"""Weights of documents and of classes, as scikit-learn's classifiers have them."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn
import torch
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from skorch.dataset import ValidSplit
from tiny_classifiers import X, Y, tiny_classifier, tiny_gpt
from torch import nn

from snn_estimators.energy import summarize
from snn_estimators.estimators.classification.document_weights import (
    document_weights,
    weighted_mean,
)
from snn_estimators.estimators.classification.labelled_documents import check_labels
from snn_estimators.text import TextCleaner

THREE = ["bad", "good", "good"]


def weights_of(model):
    return torch.cat([p.detach().ravel() for p in model.module_.parameters()])


@pytest.fixture
def labels():
    return check_labels(THREE, 3, "Me")


class TestDocumentWeights:
    def test_balanced_is_one_over_the_frequency(self, labels):
        assert document_weights(labels, "balanced", None) == pytest.approx([1.5, 0.75, 0.75])

    def test_documents_and_classes_multiply(self, labels):
        found = document_weights(labels, {"good": 3}, [1.0, 2.0, 0.0])
        assert found.tolist() == [1, 6, 0]

    def test_ones_are_no_weights(self, labels):
        assert document_weights(labels, None, None) is None
        assert document_weights(labels, {"bad": 1}, np.ones(3)) is None

    def test_classes_that_partial_fit_will_meet_later_may_be_named(self):
        labels = check_labels(THREE, 3, "Me", classes=["bad", "fine", "good"])
        assert document_weights(labels, {"fine": 2}, None) is None
        assert document_weights(labels, "balanced", None) == pytest.approx([1.5, 0.75, 0.75])

    @pytest.mark.parametrize(
        ("class_weight", "sample_weight", "message"),
        [
            (None, [1, 2], "each of the 3 documents, got shape"),
            (None, [1, -2, 3], r"sample_weight\[1\] is -2"),
            (None, [1, 2, np.nan], r"sample_weight\[2\] is nan"),
            (None, [0, 0, 0], "zeros alone"),
            ("even", None, 'class_weight must be None, "balanced" or a dictionary'),
            ({"ugly": 2}, None, "class_weight names 'ugly', which is none of"),
            ({"good": -1}, None, "is -1"),
        ],
    )
    def test_bad_weights_are_named(self, labels, class_weight, sample_weight, message):
        with pytest.raises(ValueError, match=message):
            document_weights(labels, class_weight, sample_weight)


def test_the_loss_is_that_of_documents_repeated():
    logits, codes = torch.randn(3, 2, dtype=torch.float64), torch.tensor([0, 1, 1])
    repeated, weights = [0, 0, 2], torch.tensor([2.0, 0.0, 1.0])
    for criterion in (nn.CrossEntropyLoss(), nn.CrossEntropyLoss(label_smoothing=0.1)):
        found = weighted_mean(criterion, logits, torch.stack([codes, weights], 1))
        expected = criterion(logits[repeated], codes[repeated])
        torch.testing.assert_close(found, expected)
        assert criterion.reduction == "mean"
    nothing = weighted_mean(nn.CrossEntropyLoss(), logits, torch.stack([codes, 0 * weights], 1))
    assert nothing == 0


@pytest.mark.slow
class TestFits:
    def test_ones_change_nothing_to_the_bit(self):
        plain = tiny_gpt(max_epochs=1).fit(X, Y)
        weighted = tiny_gpt(max_epochs=1).fit(X, Y, sample_weight=np.ones(len(X)))
        assert torch.equal(weights_of(plain), weights_of(weighted))

    def test_documents_without_weight_teach_nothing(self):
        """Their labels may be anything."""
        weights = np.r_[np.ones(20), np.zeros(20)]
        wrong = [*Y[:20], *(["good"] * 20)]
        models = [tiny_gpt(max_epochs=2).fit(X, y, sample_weight=weights) for y in (Y, wrong)]
        assert torch.equal(*map(weights_of, models))

    def test_a_class_that_weighs_more_is_expected_more(self):
        bad = []
        for weight in (None, {"bad": 5.0}, {"bad": 0.2}):
            model = tiny_gpt(max_epochs=1, class_weight=weight).fit(X, Y)
            bad.append(model.predict_proba(X)[:, 0].mean())
        assert bad[2] < bad[0] < bad[1]

    def test_validation_data_keep_their_weights(self):
        split = ValidSplit(2, stratified=True)
        losses = []
        for weight in (1.0, 5.0):
            weights = np.where(np.array(Y) == "good", weight, 1.0)
            model = tiny_gpt(max_epochs=1, train_split=split, lr=1e-9)
            losses.append(model.fit(X, Y, sample_weight=weights).history[-1, "valid_loss"])
        assert losses[0] != losses[1]

    def test_weights_are_routed(self):
        weights = np.linspace(0.5, 2, len(X))
        with sklearn.config_context(enable_metadata_routing=True):
            model = tiny_gpt(max_epochs=1).set_fit_request(sample_weight=True)
            model.set_score_request(sample_weight=True)
            search = GridSearchCV(model, {"class_weight": [None, "balanced"]}, cv=2)
            search.fit(X, Y, sample_weight=weights)
            pipeline = make_pipeline(TextCleaner(), model).fit(X, Y, sample_weight=weights)
        direct = tiny_gpt(max_epochs=1).fit(TextCleaner().transform(X), Y, sample_weight=weights)
        assert torch.equal(weights_of(pipeline[-1]), weights_of(direct))

    def test_another_weighting_is_another_fit(self, tmp_path):
        weights = np.linspace(0.5, 2, len(X))
        models = [
            tiny_gpt(max_epochs=1, memory=tmp_path, **given).fit(X, Y, sample_weight=weight)
            for given, weight in (
                ({}, None), ({}, weights), ({"class_weight": {"good": 2.0}}, None), ({}, weights),
            )
        ]  # fmt: skip
        assert len(list(tmp_path.rglob("*.safetensors"))) == 3
        assert torch.equal(weights_of(models[1]), weights_of(models[3]))

    def test_a_criterion_without_single_losses_is_named(self):
        class Own(nn.Module):
            def forward(self, logits, codes):
                return nn.functional.cross_entropy(logits, codes)

        with pytest.raises(ValueError, match="criterion with a parameter reduction"):
            tiny_gpt(criterion=Own, class_weight={"good": 2.0}).fit(X, Y)

    @pytest.mark.parametrize("make", [tiny_classifier, tiny_gpt])
    def test_a_penalty_makes_fewer_reads(self, make):
        reads = [
            summarize(make(spike_penalty=penalty, batch_size=4).fit(X, Y).energy(X))["weight_reads"]
            for penalty in (0.0, 300.0)
        ]
        assert reads[1] < 0.9 * reads[0]

"""Mahalanobis distance: discriminant analysis by another name, and a sense of the unfamiliar."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from sklearn.covariance import shrunk_covariance
from sklearn.datasets import load_digits
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import roc_auc_score
from torch import Tensor

from layerwise.errors import LayerwiseError
from layerwise.search import Logistic, Mahalanobis, laws


def clouds(rows: int, width: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(rows)
    labels = torch.arange(rows) % 3
    turn = torch.randn(width, width, generator=generator)
    noise = torch.randn(rows, width, generator=generator) @ turn
    return 3 * torch.randn(3, width, generator=generator)[labels] + noise, labels


def test_it_keeps_what_classifiers_keep():
    laws.check(Mahalanobis.fit)


@pytest.mark.parametrize("width", [5, 80], ids=["more samples", "more dimensions"])
def test_it_agrees_with_discriminant_analysis_and_with_scipy(width):
    features, labels = clouds(60, width)
    fitted = Mahalanobis.fit(features.double(), labels, shrink=0.2)
    theirs = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.2, priors=[1 / 3] * 3)
    theirs.fit(features.numpy(), labels.numpy())
    other, _ = clouds(61, width)
    assert fitted.predict(other.double()).tolist() == theirs.predict(other.numpy()).tolist()
    means = np.stack([features[labels == c].double().numpy().mean(0) for c in range(3)])
    residuals = features.double().numpy() - means[labels]
    covariance = shrunk_covariance(residuals.T @ residuals / 60, shrinkage=0.2)
    wanted = cdist(other.double().numpy(), means, "mahalanobis", VI=np.linalg.inv(covariance))
    np.testing.assert_allclose(fitted(other.double()).numpy(), wanted, rtol=1e-6)


def test_few_directions_are_a_lower_bound():
    features, labels = clouds(60, 20)
    whole = Mahalanobis.fit(features, labels)(features)
    few = Mahalanobis.fit(features, labels, keep=4)
    assert few.whiten.shape == (20, 4)
    assert bool((few(features) <= whole + 1e-4).all())


def test_mistakes_are_refused():
    features, labels = clouds(60, 5)
    for options, says in (({"shrink": 2.0}, "shrink=2"), ({"keep": 9}, "keep=9")):
        with pytest.raises(LayerwiseError, match=says):
            Mahalanobis.fit(features, labels, **options)
    with pytest.raises(LayerwiseError, match="do not vary"):
        Mahalanobis.fit(features[:3], labels[:3])


def test_claim_unfamiliar_digits_are_told_better_than_by_confidence(claim):
    pixels, digits = (torch.as_tensor(x) for x in load_digits(return_X_y=True))
    pixels = pixels.float()
    found: dict[str, list[float]] = {"distance": [], "confidence": []}
    for seed in range(3):
        order = torch.randperm(10, generator=torch.Generator().manual_seed(seed))
        known = torch.isin(digits, order[:5])
        rows = known.nonzero().flatten()
        train, test = rows[::2], rows[1::2]
        asked = torch.cat([pixels[test], pixels[~known]])
        strange = torch.cat([torch.zeros(len(test)), torch.ones(int((~known).sum()))])
        distance = Mahalanobis.fit(pixels[train], digits[train])(asked).amin(1)
        logits = Logistic.fit(pixels[train], digits[train], penalties=(1.0,))(asked)[0]
        found["distance"].append(roc_auc_score(strange, distance))
        found["confidence"].append(roc_auc_score(strange, -logits.softmax(1).amax(1)))
    holds = all(d > c for d, c in zip(found["distance"], found["confidence"], strict=True))
    claim(
        paper="1807.03888",
        says="handwritten digits of 5 classes never seen are told from 5 known ones by the least "
        "Mahalanobis distance to a class mean better than by softmax confidence of logistic "
        "regression, area under the ROC curve, 3 choices of classes",
        measured={name: sum(values) / 3 for name, values in found.items()},
        holds=holds,
    )
    assert holds

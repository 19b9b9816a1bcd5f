"""Copies, thresholds and groups, by hand and against scikit-learn."""

from __future__ import annotations

import pytest
import torch
from scipy.sparse.csgraph import connected_components
from sklearn.metrics import adjusted_rand_score, roc_auc_score
from torch import nn

from layerwise.errors import LayerwiseError
from layerwise.search import copies, groups, parting
from layerwise.search._judging import area_under_curve


def test_copies_hang_together_as_in_a_graph() -> None:
    rows = torch.randn(80, 3)
    unit = nn.functional.normalize(rows, dim=1)
    found = copies(rows, threshold=0.95)
    _, expected = connected_components((unit @ unit.T >= 0.95).numpy())
    assert adjusted_rand_score(expected, found) == 1.0
    assert found[0] == 0
    assert len(found.unique()) == found.max() + 1
    with pytest.raises(LayerwiseError, match="threshold=3"):
        copies(rows, threshold=3.0)


def test_the_threshold_parts_with_the_fewest_mistakes() -> None:
    same, strangers = 0.8 + 0.1 * torch.randn(200), 0.5 + 0.1 * torch.randn(300)
    threshold, found, wrong = parting(same, strangers)
    assert 0.55 < threshold < 0.75
    assert found - wrong >= max(
        ((same >= t).double().mean() - (strangers >= t).double().mean()).item()
        for t in torch.linspace(0, 1, 101)
    )
    with pytest.raises(LayerwiseError, match="no pairs"):
        parting(same[:0], strangers)


def test_groups_are_those_that_are_there() -> None:
    truth = torch.arange(120) % 4
    rows = 6 * torch.eye(4, 9)[truth] + torch.randn(120, 9)
    found = groups(rows)
    assert adjusted_rand_score(truth, found.labels) == 1.0
    assert found.silhouette > 0.4
    assert [int(found.labels[row]) for row in found.middles] == [0, 1, 2, 3]
    assert groups(rows, count=1).labels.unique().tolist() == [0]
    with pytest.raises(LayerwiseError, match="121 groups of 120"):
        groups(rows, count=121)
    with pytest.raises(LayerwiseError, match="only 1 samples differ"):
        groups(torch.ones(5, 2), count=2)


def test_the_area_is_scikit_learns() -> None:
    truth, scores = torch.rand(200) < 0.3, (torch.rand(200) * 20).round()
    assert area_under_curve(truth, scores) == pytest.approx(roc_auc_score(truth, scores))
    assert area_under_curve(truth & False, scores) != area_under_curve(truth & False, scores)

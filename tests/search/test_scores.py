"""Query expansion and normalised scores, written out and in cases made for them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from layerwise.errors import LayerwiseError
from layerwise.search import expand, standard_scores


def test_an_expanded_query_is_the_weighted_sum() -> None:
    rows = nn.functional.normalize(torch.randn(20, 5).double(), dim=1)
    query = nn.functional.normalize(torch.randn(1, 5).double(), dim=1)[0]
    order = (rows @ query).argsort(descending=True)[:4]
    total = query + sum(max(0.0, float(rows[j] @ query)) ** 2 * rows[j] for j in order)
    found = expand(3 * query[None], rows, count=4, alpha=2.0)[0]
    torch.testing.assert_close(found, total / total.norm())
    torch.testing.assert_close(expand(query[None], rows, count=0)[0], query)
    with pytest.raises(LayerwiseError, match="count=-1"):
        expand(rows, rows, count=-1)


def test_expansion_finds_what_lies_further_along() -> None:
    """Items on an arc: the far end is found by way of the middle."""
    angle = torch.linspace(0, 1.5, 16)
    arc = torch.stack([angle.cos(), angle.sin(), torch.zeros(16)], 1)
    stranger = torch.tensor([[0.2, -0.3, 0.93]])
    gallery = torch.cat([arc[1:], stranger.expand(5, -1)])
    query = arc[:1]
    assert (gallery @ query[0])[-1] > (gallery @ query[0])[14]
    grown = expand(query, gallery, count=10, alpha=1.0)
    assert (gallery @ grown[0])[-1] < (gallery @ grown[0])[14]


def test_scores_are_in_deviations_of_query_and_item() -> None:
    gallery = torch.randn(30, 6).double()
    queries = torch.randn(2, 6).double()
    units = [nn.functional.normalize(x, dim=1) for x in (queries, gallery)]
    cosine = units[0] @ units[1].T
    own = (units[1] @ units[1].T).fill_diagonal_(-1)
    best, others = cosine.topk(8, 1).values, own.topk(8, 1).values
    rows = (cosine - best.mean(1, keepdim=True)) / best.std(1, correction=0, keepdim=True)
    columns = (cosine - others.mean(1)) / others.std(1, correction=0)
    torch.testing.assert_close(standard_scores(queries, gallery, cohort=8), (rows + columns) / 2)
    with pytest.raises(LayerwiseError, match="cohort=1"):
        standard_scores(queries, gallery, cohort=1)


def test_a_dense_neighbourhood_loses_its_start() -> None:
    """Copies in a crowd and a copy far from all: one threshold finds both, a cosine does not."""
    crowd = nn.functional.normalize(torch.tensor([1.0, 0, 0, 0]) + 0.2 * torch.randn(60, 4), dim=1)
    apart = nn.functional.normalize(torch.randn(20, 4) + torch.tensor([-3.0, 0, 0, 0]), dim=1)
    gallery = torch.cat([crowd, apart])
    scores = standard_scores(gallery, gallery, cohort=20).fill_diagonal_(-torch.inf)
    medians = scores[:60].amax(1).median(), scores[60:].amax(1).median()
    assert abs(float(medians[0] - medians[1])) < 1.0

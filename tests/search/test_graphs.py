"""The graph indexes find what the exact search finds, in the same words."""

from __future__ import annotations

import pickle
import sys

import pytest
import torch

from layerwise.errors import LayerwiseError
from layerwise.search import Faiss, Neighbours, Usearch

Graph = type[Usearch | Faiss]
BOTH = pytest.mark.parametrize("index", [Usearch, Faiss])


@BOTH
@pytest.mark.parametrize("cosine", [True, False])
def test_finds_nearly_all_that_is_near_at_the_same_distances(index: Graph, cosine: bool) -> None:
    gallery, queries = torch.randn(2000, 24), torch.randn(40, 24)
    exact = Neighbours.fit(gallery, cosine=cosine)(queries, count=10)
    found = index.fit(gallery, cosine=cosine)(queries, count=10)
    same = found.rows == exact.rows
    assert same.float().mean() > 0.95
    torch.testing.assert_close(found.distances[same], exact.distances[same], rtol=1e-4, atol=1e-4)
    assert bool((found.distances.diff(dim=1) >= 0).all())


@BOTH
def test_all_rows_may_be_asked_for(index: Graph) -> None:
    gallery = torch.randn(30, 4)
    found = index.fit(gallery)(gallery[:2], count=30)
    assert torch.equal(found.rows.sort(1).values, torch.arange(30).expand(2, -1))
    again = pickle.loads(pickle.dumps(index.fit(gallery)))
    assert torch.equal(again(gallery[:2], count=30).rows, found.rows)


def test_the_effort_given_is_that_of_the_search() -> None:
    found = Usearch.fit(torch.randn(20, 4), effort=200)
    again = pickle.loads(pickle.dumps(found))
    assert found._native.expansion_search == again._native.expansion_search == 200
    assert Faiss.fit(torch.randn(20, 4), effort=200)._native.hnsw.efSearch == 200


@BOTH
def test_a_missing_package_is_one_line(index: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, index.__name__.lower(), None)
    with pytest.raises(LayerwiseError, match=r"pip install .*search exactly with Neighbours"):
        index.fit(torch.randn(3, 2))


@BOTH
def test_refuses_what_cannot_be_searched(index: Graph) -> None:
    with pytest.raises(LayerwiseError, match="no rows"):
        index.fit(torch.randn(0, 2))
    with pytest.raises(LayerwiseError, match="count=4 of 3 stored rows"):
        index.fit(torch.randn(3, 2))(torch.randn(1, 2), count=4)

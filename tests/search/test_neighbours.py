"""Nearest neighbours against scikit-learn's, and in hand-made cases of equal distances."""

from __future__ import annotations

import pickle

import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor, NearestNeighbors

import layerwise.search._neighbours as module
from layerwise.errors import LayerwiseError
from layerwise.search import Neighbours


@pytest.fixture
def gallery() -> torch.Tensor:
    return 10 + torch.randn(300, 16, dtype=torch.float64)


@pytest.fixture
def queries() -> torch.Tensor:
    return 10 + torch.randn(50, 16, dtype=torch.float64)


@pytest.mark.parametrize("cosine", [True, False])
def test_finds_what_scikit_learn_finds(
    gallery: torch.Tensor, queries: torch.Tensor, cosine: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_CHUNK", 3000)  # several chunks
    found = Neighbours.fit(gallery, cosine=cosine)(queries)
    reference = NearestNeighbors(metric="cosine" if cosine else "euclidean").fit(gallery)
    distances, rows = map(torch.from_numpy, reference.kneighbors(queries, 20))
    assert torch.equal(found.rows, rows)
    # Between rows of length 1 the squared distance is twice one minus the cosine.
    expected = (2 * distances).sqrt() if cosine else distances
    torch.testing.assert_close(found.distances, expected, rtol=1e-6, atol=1e-6)


def test_votes_and_averages_as_scikit_learn(gallery: torch.Tensor, queries: torch.Tensor) -> None:
    labels, targets = (gallery[:, 0] > 10).long(), gallery[:, 1:3]
    found = Neighbours.fit(gallery, cosine=False)(queries)
    votes = found.classify(labels, counts=(1, 5, 19))
    means = found.regress(targets)
    for i, count in enumerate((1, 5, 19)):
        reference = KNeighborsClassifier(count).fit(gallery, labels)
        assert torch.equal(votes[i], torch.from_numpy(reference.predict(queries)))
    for i, count in enumerate((1, 5, 20)):
        expected = KNeighborsRegressor(count).fit(gallery, targets).predict(queries)
        torch.testing.assert_close(means[i], torch.from_numpy(expected))


@pytest.mark.parametrize("cosine", [True, False])
def test_a_stored_item_finds_itself_first_at_no_distance(cosine: bool) -> None:
    gallery = 100 + torch.randn(200, 33)
    found = Neighbours.fit(gallery, cosine=cosine)(gallery, count=1)
    assert torch.equal(found.rows[:, 0], torch.arange(200))
    assert found.distances.max() < 1e-6


def test_equal_items_stand_in_the_order_of_their_rows() -> None:
    gallery = torch.randn(5, 8).repeat(3, 1)
    found = Neighbours.fit(gallery)(gallery[:5], count=3)
    assert torch.equal(found.rows, torch.arange(5)[:, None] + torch.tensor([0, 5, 10]))


def test_equal_votes_go_to_the_nearest() -> None:
    gallery = torch.tensor([[1.0], [2.0], [3.0], [4.0]])
    found = Neighbours.fit(gallery, cosine=False)(torch.tensor([[0.0]]), count=4)
    assert found.classify(torch.tensor([3, 1, 1, 3]), counts=(1, 2, 3, 4)).flatten().tolist() == [
        3,
        3,
        1,
        3,
    ]


def test_rows_in_batches_are_stored_as_rows_at_once(gallery: torch.Tensor) -> None:
    found = Neighbours.fit_stream(gallery.split(37), rows=300)
    wanted = Neighbours.fit(gallery)
    for name, value in wanted.state_dict().items():
        assert torch.equal(found.state_dict()[name], value)


@pytest.mark.parametrize("said", [299, 301])
def test_another_number_of_rows_than_was_said_is_refused(gallery: torch.Tensor, said: int) -> None:
    with pytest.raises(LayerwiseError, match=f"300 rows came of {said}; say how many there are"):
        Neighbours.fit_stream(gallery.split(37), rows=said)


def test_pickle_and_state_dict_keep_it(gallery: torch.Tensor, queries: torch.Tensor) -> None:
    index, other = Neighbours.fit(gallery), Neighbours.fit(gallery.flip(0))
    other.load_state_dict(index.state_dict())
    for again in (other, pickle.loads(pickle.dumps(index))):
        assert torch.equal(again(queries).rows, index(queries).rows)


def test_refuses_what_cannot_be_searched(gallery: torch.Tensor) -> None:
    index = Neighbours.fit(gallery)
    with pytest.raises(LayerwiseError, match="count=301 of 300 stored rows"):
        index(gallery, count=301)
    with pytest.raises(LayerwiseError, match="give 1 to 5"):
        index(gallery, count=5).regress(gallery)
    with pytest.raises(LayerwiseError, match="no rows"):
        Neighbours.fit(gallery[:0])
    with pytest.raises(LayerwiseError, match="queries hold NaN"):
        index(gallery * torch.nan)
    assert index(gallery[:0]).rows.shape == (0, 20)

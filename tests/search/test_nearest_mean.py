"""Nearest class mean against scikit-learn, streamed in any order, and against a forgetful head."""

from __future__ import annotations

import pickle

import jaxtyping
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.neighbors import NearestCentroid
from torch import Tensor

from layerwise.errors import LayerwiseError
from layerwise.search import NearestMean


def _data(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(5, (120,), generator=generator)
    centres = 3 * torch.randn(5, 16, generator=generator)
    return 50 + centres[labels] + torch.randn(120, 16, generator=generator), labels


def test_equals_scikit_learn() -> None:
    features, labels = _data()
    fresh = features + torch.randn(120, 16)
    nearest = NearestMean.fit(features, labels)
    reference = NearestCentroid().fit(features, labels)
    expected = torch.from_numpy(reference.centroids_).double()
    torch.testing.assert_close(nearest.means, expected, rtol=1e-6, atol=1e-6)
    assert torch.equal(nearest.predict(fresh), torch.from_numpy(reference.predict(fresh)))
    distances = torch.cdist(fresh.double(), expected)
    torch.testing.assert_close(nearest(fresh).double(), -distances, rtol=1e-5, atol=1e-5)


@given(st.permutations(range(120)), st.integers(1, 50))
def test_a_stream_in_any_order_gives_the_batch_means(order: list[int], size: int) -> None:
    features, labels = _data()
    whole = NearestMean.fit(features, labels)
    first, *rest = torch.tensor(order).split(size)
    streamed = NearestMean.fit(features[first], labels[first])
    for rows in rest:
        streamed = streamed.update(features[rows], labels[rows])
    assert torch.equal(streamed.classes, whole.classes)
    assert torch.equal(streamed.counts, whole.counts)
    torch.testing.assert_close(streamed.means, whole.means, rtol=1e-12, atol=1e-12)


def test_normalised_rows_are_compared_by_direction() -> None:
    features, labels = _data()
    nearest = NearestMean.fit(features - 50, labels, normalise=True)
    assert torch.equal(nearest.predict(7 * (features - 50)), nearest.predict(features - 50))
    assert nearest.update(features, labels).normalise


def test_pickle_and_state_dict_keep_it() -> None:
    features, labels = _data()
    nearest, other = NearestMean.fit(features, labels), NearestMean.fit(*_data(seed=1))
    other.load_state_dict(nearest.state_dict())
    for again in (other, pickle.loads(pickle.dumps(nearest))):
        assert torch.equal(again(features), nearest(features))


def test_one_row_is_enough_and_none_is_not() -> None:
    features, labels = _data()
    assert (NearestMean.fit(features[:1], labels[:1]).predict(features) == labels[0]).all()
    with pytest.raises(LayerwiseError, match="no rows"):
        NearestMean.fit(features[:0], labels[:0])


def test_refuses_states_that_do_not_fit_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    features, labels = _data()
    nearest = NearestMean.fit(features, labels)
    with pytest.raises(LayerwiseError, match=r"\(16, False\) with \(8, False\)"):
        nearest.update(features[:, :8], labels)
    with pytest.raises(LayerwiseError, match=r"\(16, False\) with \(16, True\)"):
        nearest.merge(NearestMean.fit(features, labels, normalise=True))

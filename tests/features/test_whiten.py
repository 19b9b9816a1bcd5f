"""Whitening against scikit-learn's PCA, in one piece and streamed."""

from __future__ import annotations

import pickle

import pytest
import torch
from sklearn.decomposition import PCA
from torch import Tensor

from layerwise.errors import LayerwiseError
from layerwise.features import Whiten


def _data(seed: int = 0, n: int = 200, d: int = 12) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(d, d, generator=generator, dtype=torch.float64)
    return 1000 + torch.randn(n, d, generator=generator, dtype=torch.float64) @ mixing


@pytest.mark.parametrize("keep", [None, 5])
def test_equals_principal_components_up_to_sign(keep: int | None) -> None:
    features, fresh = _data(), _data(seed=1)
    # scikit-learn divides by n - 1.
    expected = PCA(keep, whiten=True).fit(features).transform(fresh) * (200 / 199) ** 0.5
    whitened = Whiten.fit(features, keep=keep)(fresh)
    torch.testing.assert_close(whitened.abs(), torch.from_numpy(expected).abs())


def test_the_reference_set_comes_out_white() -> None:
    features = _data()
    whitened = Whiten.fit(features)(features)
    torch.testing.assert_close(whitened.mean(0), torch.zeros(12).double(), rtol=0, atol=1e-9)
    torch.testing.assert_close(whitened.T.cov(correction=0), torch.eye(12).double())


@pytest.mark.parametrize("size", [1, 7, 200])
def test_streamed_equals_whole(size: int) -> None:
    features = _data()
    whole, streamed = Whiten.fit(features), Whiten.fit_stream(features.split(size))
    torch.testing.assert_close(streamed(features).abs(), whole(features).abs())


def test_a_mean_far_from_zero_costs_no_precision_in_the_moments() -> None:
    features = _data() + 1e5
    single = Whiten.fit(features.float()).weight.double()
    torch.testing.assert_close(single.abs(), Whiten.fit(features).weight.abs(), rtol=0.1, atol=0.01)


def test_fewer_rows_than_features_stay_finite_and_shrinking_tames_them() -> None:
    features, fresh = _data(n=8), _data(seed=1)
    wild, tame = Whiten.fit(features)(fresh), Whiten.fit(features, shrink=0.5)(fresh)
    assert wild.isfinite().all()
    assert tame.square().mean() < 0.01 * wild.square().mean()


def test_shrinking_all_the_way_only_rotates_and_scales() -> None:
    features = _data()
    whitened = Whiten.fit(features, shrink=1.0)(features)
    ratio = torch.pdist(whitened) / torch.pdist(features)
    torch.testing.assert_close(ratio, ratio[:1].expand_as(ratio))


def test_pickle_and_state_dict_keep_it() -> None:
    whiten, other = Whiten.fit(_data()), Whiten.fit(_data(seed=1))
    other.load_state_dict(whiten.state_dict())
    for again in (other, pickle.loads(pickle.dumps(whiten))):
        assert torch.equal(again(_data()), whiten(_data()))


def test_refuses_what_cannot_be_whitened_by() -> None:
    features = _data()
    with pytest.raises(LayerwiseError, match="1 rows are too few"):
        Whiten.fit(features[:1])
    with pytest.raises(LayerwiseError, match="0 rows are too few"):
        Whiten.fit_stream([])
    with pytest.raises(LayerwiseError, match="do not vary"):
        Whiten.fit(features[:1].expand(9, -1))
    with pytest.raises(LayerwiseError, match="keep=13 of 12"):
        Whiten.fit(features, keep=13)
    features[3, 3] = torch.nan
    with pytest.raises(LayerwiseError, match="first in row 3"):
        Whiten.fit(features)

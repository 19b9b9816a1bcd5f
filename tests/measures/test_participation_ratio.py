from __future__ import annotations

import pytest
import torch

from layerwise.measures import participation_ratio, spectrum


def test_equals_traces_of_the_covariance() -> None:
    features = torch.randn(70, 12).double() @ torch.randn(12, 12).double() + 3
    covariance = features.T.cov()
    expected = covariance.trace() ** 2 / (covariance @ covariance).trace()
    assert participation_ratio(features).item() == pytest.approx(expected.item(), rel=1e-9)


@pytest.mark.parametrize("rank", [1, 4, 9])
def test_is_the_rank_where_all_directions_are_equal(rank: int) -> None:
    directions = torch.linalg.qr(torch.randn(40, rank + 1).double()).Q
    # Orthogonal to the constant direction, so that centring leaves them as they are.
    directions = torch.linalg.qr(torch.cat([torch.ones(40, 1).double(), directions], dim=1)).Q
    assert participation_ratio(directions[:, 1 : rank + 1]).item() == pytest.approx(rank)


def test_the_spectrum_serves_as_well_as_the_features() -> None:
    features = torch.randn(30, 50)
    assert participation_ratio(spectrum(features)) == participation_ratio(features)


def test_a_constant_layer_has_none() -> None:
    assert participation_ratio(torch.ones(5, 3)).isnan()

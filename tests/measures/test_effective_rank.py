from __future__ import annotations

import numpy as np
import pytest
import torch

from layerwise.measures import effective_rank, spectrum


def test_equals_the_definition_on_numpys_singular_values() -> None:
    features = torch.randn(70, 12).double() @ torch.randn(12, 12).double() + 3
    values = np.linalg.svd(features.numpy() - features.numpy().mean(0), compute_uv=False)
    shares = values / values.sum()
    expected = np.exp(-np.sum(shares * np.log(shares)))
    assert effective_rank(features).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("rank", [1, 4, 9])
def test_is_the_rank_where_all_directions_are_equal(rank: int) -> None:
    directions = torch.linalg.qr(torch.randn(40, rank + 1).double()).Q
    # Orthogonal to the constant direction, so that centring leaves them as they are.
    directions = torch.linalg.qr(torch.cat([torch.ones(40, 1).double(), directions], dim=1)).Q
    assert effective_rank(directions[:, 1 : rank + 1]).item() == pytest.approx(rank)


def test_the_spectrum_serves_as_well_as_the_features() -> None:
    features = torch.randn(30, 50)
    assert effective_rank(spectrum(features)) == effective_rank(features)


def test_a_constant_layer_has_none() -> None:
    assert effective_rank(torch.ones(5, 3)).isnan()

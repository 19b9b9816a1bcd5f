from __future__ import annotations

import pytest
import torch

from layerwise.errors import LayerwiseError
from layerwise.measures import Covariance


@pytest.mark.parametrize("batch", [1, 7, 50])
def test_streamed_equals_whole_far_from_the_origin(batch: int) -> None:
    features = (torch.randn(50, 6) @ torch.randn(6, 6) + 1e5).double()
    covariance = Covariance()
    for part in features.split(batch):
        covariance.update(part)
    torch.testing.assert_close(covariance.result(), features.T.cov(), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(covariance.mean, features.mean(0), rtol=1e-12, atol=0)


def test_the_mean_that_was_given_out_does_not_change_with_later_batches() -> None:
    covariance = Covariance()
    covariance.update(torch.zeros(3, 2))
    mean = covariance.mean
    covariance.update(torch.ones(3, 2))
    assert mean.tolist() == [0, 0]


def test_mistakes_are_named() -> None:
    covariance = Covariance()
    covariance.update(torch.randn(1, 2))
    covariance.update(torch.randn(0, 2))
    with pytest.raises(LayerwiseError, match="1 samples; it needs at least 2"):
        covariance.result()
    with pytest.raises(LayerwiseError, match="3 channels after 2"):
        covariance.update(torch.randn(4, 3))

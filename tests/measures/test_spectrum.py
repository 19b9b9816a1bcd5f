from __future__ import annotations

import numpy as np
import pytest
import torch

from layerwise.errors import LayerwiseError
from layerwise.measures import Covariance, spectrum


@pytest.mark.parametrize(("samples", "channels"), [(60, 9), (9, 60), (20, 20)])
def test_equals_numpy_on_either_side_of_square(samples: int, channels: int) -> None:
    features = torch.randn(samples, channels).double() * torch.arange(1, channels + 1) + 40
    centred = features.numpy() - features.numpy().mean(0)
    expected = np.linalg.svd(centred, compute_uv=False) ** 2 / (samples - 1)
    variances = spectrum(features).variances
    assert len(variances) == min(samples, channels)
    np.testing.assert_allclose(variances.numpy(), expected, rtol=1e-9, atol=1e-9)


def test_what_rounding_left_is_zero() -> None:
    features = torch.randn(80, 3).double() @ torch.randn(3, 30).double()
    assert (spectrum(features).variances > 0).sum() == 3


def test_from_a_streamed_covariance_equals_from_features() -> None:
    features = torch.randn(50, 8).double()
    covariance = Covariance()
    for part in features.split(11):
        covariance.update(part)
    torch.testing.assert_close(
        spectrum(covariance).variances, spectrum(features).variances, rtol=1e-9, atol=1e-12
    )


def test_a_constant_layer_has_no_variance() -> None:
    assert spectrum(torch.full((9, 4), 0.1)).variances.tolist() == [0, 0, 0, 0]


def test_mistakes_are_named() -> None:
    with pytest.raises(LayerwiseError, match="1 samples; this measure needs at least 2"):
        spectrum(torch.randn(1, 5))
    with pytest.raises(LayerwiseError, match="NaN or infinity in 1 of 3 rows"):
        spectrum(torch.tensor([[1.0], [torch.inf], [2.0]]))

"""Mean and covariance from batches that come one after another."""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from layerwise.errors import LayerwiseError
from layerwise.measures._checked import centre, checked


@final
class Covariance:
    """Sums up the covariance of a layer in one pass, in float64.

    Each batch is centred on its own mean before it is added (Chan, Golub and LeVeque 1979), so
    that nothing cancels however far from the origin the features lie.

    Example:
        >>> features = torch.arange(12.0).reshape(6, 2).square()
        >>> covariance = Covariance()
        >>> for batch in features.split(4):
        ...     covariance.update(batch)
        >>> bool(torch.allclose(covariance.result(), features.double().T.cov()))
        True
    """

    def __init__(self) -> None:
        self.samples = 0
        self._mean = torch.zeros(0)
        self._product = torch.zeros(0, 0)

    @torch.inference_mode(mode=False)
    def update(self, features: Float[Tensor, "n d"]) -> None:
        """Take in one batch.

        Args:
            features: any number of samples.

        Raises:
            LayerwiseError: another width than before, NaN.
        """
        batch = checked(features)
        if len(batch) == 0:
            return
        if self.samples == 0:
            self._mean = centre(batch)
            self._product = self._mean.new_zeros(batch.shape[1], batch.shape[1])
        if batch.shape[1] != len(self._mean):
            raise LayerwiseError(f"features of {batch.shape[1]} channels after {len(self._mean)}")
        mean = centre(batch)
        moved, step = batch.double() - mean, mean - self._mean
        total = self.samples + len(batch)
        self._product.addmm_(moved.T, moved)
        self._product.addr_(step, step, alpha=self.samples * len(batch) / total)
        self._mean += step * (len(batch) / total)
        self.samples = total

    @property
    def mean(self) -> Float[Tensor, " d"]:
        """Mean of the samples so far."""
        return self._mean.clone()

    def result(self) -> Float[Tensor, "d d"]:
        """Unbiased covariance of the samples so far.

        Raises:
            LayerwiseError: fewer than 2 samples.
        """
        if self.samples < 2:
            raise LayerwiseError(f"a covariance of {self.samples} samples; it needs at least 2")
        return self._product / (self.samples - 1)

"""Zero mean and unit variance for every feature, from the training rows."""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from layerwise.features._moments import Moments


@final
class Standardise(nn.Module):
    """Subtracts the training mean and divides by the training deviation. Build it with `fit`.

    Features that do not vary over the training rows are divided by 1.

    Args:
        mean: training mean.
        scale: training deviation, population form.

    Example:
        >>> rows = torch.tensor([[1.0, 7.0], [3.0, 7.0]])
        >>> Standardise.fit(rows)(rows).tolist()
        [[-1.0, 0.0], [1.0, 0.0]]
    """

    mean: Float[Tensor, " d"]
    scale: Float[Tensor, " d"]

    def __init__(self, mean: Float[Tensor, " d"], scale: Float[Tensor, " d"]) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)

    @classmethod
    def fit(cls, features: Float[Tensor, "n d"], *, scale: bool = True) -> Standardise:
        """Measure the training rows.

        Args:
            features: one row per sample.
            scale: divide by the deviation; without it features are only centred.
        """
        mean = features.double().mean(0)
        deviation = (features.double() - mean).square().mean(0).sqrt()
        unit = torch.ones_like(deviation)
        return cls(mean, _divisor(mean, deviation, features.dtype) if scale else unit)

    @classmethod
    def of(cls, moments: Moments) -> Standardise:
        """Take both from sums over the training rows."""
        deviation = (moments.products.diagonal() / moments.samples).sqrt()
        return cls(moments.mean, _divisor(moments.mean, deviation, moments.dtype))

    def fold(self, weight: Float[Tensor, "d k"], bias: Float[Tensor, " k"]) -> nn.Linear:
        """A linear map of standardised rows as a plain layer for rows as they are."""
        scaled = weight.double().T / self.scale
        layer = nn.utils.skip_init(nn.Linear, *weight.shape, dtype=weight.dtype)
        layer.weight.data.copy_(scaled)
        layer.bias.data.copy_(bias - scaled @ self.mean)
        return layer

    def forward(self, features: Float[Tensor, "m d"]) -> Float[Tensor, "m d"]:
        """Standardise rows, in their own precision."""
        return ((features - self.mean) / self.scale).to(features.dtype)


def _divisor(mean: Tensor, deviation: Tensor, dtype: torch.dtype) -> Float[Tensor, " d"]:
    """The deviation, or 1 where a feature is constant: what is left is the rounding of its mean."""
    constant = deviation <= 10 * torch.finfo(dtype).eps * mean.abs()
    return torch.where(constant, torch.ones_like(deviation), deviation)

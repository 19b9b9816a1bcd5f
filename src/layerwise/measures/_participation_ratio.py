"""Participation ratio: how many directions take part in a layer's variance?

(sum of the covariance's eigenvalues)^2 / sum of their squares. Large directions count for more
than in the effective rank, so that it says how many there are of them.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from layerwise._paper import paper
from layerwise.measures._spectrum import Spectrum, variances_of


@paper("A theory of multineuronal dimensionality, dynamics and measurement", year=2017)
def participation_ratio(features: Float[Tensor, "n d"] | Spectrum) -> Float[Tensor, ""]:
    """Number of directions that a layer uses, weighted by their variance.

    Between 1 and the rank; NaN for a layer that says the same of every sample.

    Args:
        features: at least 2 samples, or their `spectrum`.

    Raises:
        LayerwiseError: fewer than 2 samples, NaN.

    Example:
        >>> import torch
        >>> corners = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
        >>> round(participation_ratio(corners).item(), 6)
        2.0
    """
    variances = variances_of(features)
    return variances.sum().square() / variances.square().sum()

"""Effective rank: over how many directions is a layer spread?

The exponential of the entropy of the normalised singular values, definition 1 of the paper. The
features are centred first, which is ours: the mean is one direction that no sample differs in.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from layerwise._paper import paper
from layerwise.measures._spectrum import Spectrum, variances_of


@paper("The Effective Rank: A Measure of Effective Dimensionality", year=2007)
def effective_rank(features: Float[Tensor, "n d"] | Spectrum) -> Float[Tensor, ""]:
    """Number of directions that a layer uses, weighted by their standard deviation.

    Between 1 and the rank; NaN for a layer that says the same of every sample.

    Args:
        features: at least 2 samples, or their `spectrum`.

    Raises:
        LayerwiseError: fewer than 2 samples, NaN.

    Example:
        >>> corners = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
        >>> round(effective_rank(corners).item(), 6)
        2.0
    """
    deviations = variances_of(features).sqrt()
    shares = deviations / deviations.sum()
    return torch.special.entr(shares).sum().exp()

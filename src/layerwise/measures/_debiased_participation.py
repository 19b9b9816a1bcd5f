"""Participation ratio without the bias of few samples.

`participation_ratio` of n samples is tr(S)^2 / tr(S^2) of their covariance S and cannot exceed
n - 1: of few samples all layers look alike. Here tr(C)^2 and tr(C^2) of the true covariance C are
each estimated without bias, from products over different samples only, whatever the distribution.
With a_i = |x_i|^2 for centred samples, A and B the sums of a_i and a_i^2, and F = |X'X|^2:

    tr(C^2): (F - n/(n - 2) B + A^2/((n - 1)(n - 2))) / (n(n - 3)),  the unbiased HSIC of CKA;
    tr(C)^2: (n^2 A^2 - n^2 B - 3n A^2 + nB + A^2 + 2F) / (n(n - 1)(n - 2)(n - 3)),

the latter the mean of |x_i - x_j|^2 |x_k - x_l|^2 / 4 over all four different. The ratio of the two
is not quite free of bias itself, and may be far off where n is far below the dimension.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from layerwise._paper import paper
from layerwise.measures._checked import centred, checked

_ROWS = 1024


@paper("A theory of multineuronal dimensionality, dynamics and measurement", year=2017)
def debiased_participation_ratio(features: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
    """Number of directions that a layer uses, weighted by variance, estimated from few samples.

    Infinite where the samples show no direction to be shared by more than chance; NaN for a layer
    that says the same of every sample.

    Args:
        features: at least 4 samples.

    Raises:
        LayerwiseError: fewer than 4 samples, NaN.

    Example:
        >>> from layerwise.measures import participation_ratio
        >>> noise = torch.randn(50, 100, generator=torch.Generator().manual_seed(0))
        >>> round(participation_ratio(noise).item())
        33
        >>> round(debiased_participation_ratio(noise).item())
        106
    """
    given = checked(features, least=4)
    rows = centred(given)
    n, d = rows.shape
    lengths = torch.linalg.vector_norm(rows, dim=1, dtype=torch.float64).square()
    product = lengths.new_zeros(min(n, d), min(n, d))
    for block in (rows.T if n < d else rows).split(_ROWS):
        wide = block.double()
        product.addmm_(wide.T, wide)
    total, fourth, overlap = lengths.sum(), lengths.square().sum(), product.square().sum()
    if not total > 0:
        return given.new_full((), torch.nan)
    of_squares = overlap - n / (n - 2) * fourth + total**2 / ((n - 1) * (n - 2))
    pairs = (n**2 - 3 * n + 1) * total**2 - (n**2 - n) * fourth + 2 * overlap
    ratio = pairs / ((n - 1) * (n - 2)) / of_squares
    return ratio.where(of_squares > 1e-12 * overlap, torch.inf).to(given)

"""Intrinsic dimension: how many numbers would do to say where a sample lies?

TwoNN: where the density is even over a sample's two nearest neighbours, the ratio mu of their
distances has the cumulative F(mu) = 1 - mu^-d, whatever the density is. So d is the slope of
-log(1 - F) over log(mu), fitted through the origin without the largest ratios, as in the paper.
Samples that are equal to another one are left out first, which is ours: their ratio is 0 / 0.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from layerwise._paper import paper
from layerwise.errors import LayerwiseError
from layerwise.measures._checked import checked
from layerwise.search import Neighbours


@paper(
    "Estimating the intrinsic dimension of datasets by a minimal neighborhood information",
    year=2017,
    arxiv="1803.06992",
)
def intrinsic_dimension(
    features: Float[Tensor, "n d"], *, discard: float = 0.1
) -> Float[Tensor, ""]:
    """Dimension of the surface that the samples lie on, from their two nearest neighbours.

    The time grows with the square of the samples, and 1,000 are enough for a layer. High
    dimensions are underestimated, as by every estimator of this kind. NaN where it is not defined:
    fewer than 3 different samples, or every neighbour equally far.

    Args:
        features: at least 3 samples.
        discard: share of the samples, those of the largest ratios, that the fit leaves out.

    Raises:
        LayerwiseError: fewer than 3 samples, NaN, or `discard` not between 0 and 1.

    Example:
        >>> plane = torch.rand(800, 2, generator=torch.Generator().manual_seed(0))
        >>> folded = torch.cat([plane, plane.sin(), plane.square()], dim=1)
        >>> 1.8 < intrinsic_dimension(folded).item() < 2.2
        True
    """
    if not 0 < discard < 1:
        raise LayerwiseError(f"discard={discard}, expected a share between 0 and 1")
    different = checked(features, least=3).double().unique(dim=0)
    if len(different) < 3:
        return different.new_tensor(torch.nan)
    distances = Neighbours.fit(different, cosine=False)(different, count=3).distances
    ratios = (distances[:, 2] / distances[:, 1]).log().sort().values
    kept = ratios[: max(1, int(len(ratios) * (1 - discard)))]
    shares = torch.arange(1, len(kept) + 1, dtype=kept.dtype, device=kept.device) / len(ratios)
    return -(kept @ torch.log1p(-shares)) / kept.square().sum()

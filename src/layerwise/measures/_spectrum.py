"""How a layer's variance is spread over directions: the eigenvalues of its covariance.

They are computed once and serve every measure that is a function of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from layerwise.measures._checked import centred, checked
from layerwise.measures._covariance import Covariance


@final
@dataclass(frozen=True)
class Spectrum:
    """Variances along the principal axes of a layer.

    Args:
        variances: largest first; those that rounding cannot tell from 0 are 0.
    """

    variances: Float[Tensor, " r"]


def spectrum(features: Float[Tensor, "n d"] | Covariance) -> Spectrum:
    """Eigenvalues of the covariance, in float64.

    With fewer samples than channels they come from the smaller matrix of the samples' products.
    Few samples make every layer look flatter in its large and emptier in its small directions than
    it is: compare layers over the same samples.

    Args:
        features: at least 2 samples, or the covariance that was summed up from batches.

    Raises:
        LayerwiseError: fewer than 2 samples, NaN.

    Example:
        >>> spectrum(torch.tensor([[-3.0, 1.0], [3.0, 1.0], [0.0, 1.0]])).variances.tolist()
        [9.0, 0.0]
    """
    if isinstance(features, Covariance):
        return _spectrum(features.result(), features.samples)
    moved = centred(checked(features, least=2)).double()
    samples, channels = moved.shape
    product = moved @ moved.T if samples < channels else moved.T @ moved
    return _spectrum(product / (samples - 1), samples)


def variances_of(features: Tensor | Spectrum) -> Float[Tensor, " r"]:
    """The variances of features, or those that are known already."""
    return features.variances if isinstance(features, Spectrum) else spectrum(features).variances


def _spectrum(matrix: Tensor, samples: int) -> Spectrum:
    variances = torch.linalg.eigvalsh(matrix).flip(0)
    rounding = max(samples, len(matrix)) * torch.finfo(variances.dtype).eps * variances[0]
    return Spectrum(variances.where(variances > rounding, 0.0))

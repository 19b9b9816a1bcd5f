"""Features on their principal axes: fewer numbers where rows are few, and a diagonal `Z'Z`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from layerwise.features._finite import require_finite
from layerwise.features._standardise import Standardise


@final
@dataclass(frozen=True)
class Rotated:
    """Standardised rows on their principal axes, for several readouts of one decomposition.

    Args:
        standardise: training mean and deviation of the features.
        scores: coordinates of the rows.
        spectrum: squared length of each column of `scores`.
        parts: matrices whose product is the axes, as orthonormal columns; what takes long is to
            multiply them out.

    Example:
        >>> rows = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
        >>> rotated = Rotated.of(rows)
        >>> back = rotated.along(rotated.scores.T).T
        >>> torch.allclose(back, rotated.standardise(rows.double()))
        True
    """

    standardise: Standardise
    scores: Float[Tensor, "n r"]
    spectrum: Float[Tensor, " r"]
    parts: tuple[Tensor, ...]

    @classmethod
    def of(cls, features: Float[Tensor, "n d"]) -> Rotated:
        """Decompose training rows, in float64.

        Raises:
            LayerwiseError: a row is not finite.
        """
        require_finite(features)
        standardise = Standardise.fit(features)
        return cls(standardise, *_rotate(standardise(features.double())))

    def along(self, weight: Float[Tensor, "r k"]) -> Float[Tensor, "d k"]:
        """From coordinates on the axes to standardised features."""
        for part in reversed(self.parts):
            weight = part @ weight
        return weight

    def onto(self, weight: Float[Tensor, "d k"]) -> Float[Tensor, "r k"]:
        """From standardised features to coordinates on the axes."""
        for part in self.parts:
            weight = part.T @ weight
        return weight

    def ridge(self, targets: Float[Tensor, "n k"], penalty: float) -> Float[Tensor, "d k"]:
        """Weights of ridge regression for centred targets and standardised features."""
        return self.along((self.scores.T @ targets) / (self.spectrum[:, None] + penalty))


def rotate(
    x: Float[Tensor, "n d"],
) -> tuple[Float[Tensor, "n r"], Float[Tensor, "d r"], Float[Tensor, " r"]]:
    """Coordinates on the principal axes, the axes and the spectrum, where there is variance.

    Args:
        x: rows in float64, centred or not.

    Example:
        >>> scores, axes, spectrum = rotate(torch.tensor([[3.0, 0.0], [0.0, 0.0]]).double())
        >>> spectrum.tolist()
        [9.0]
        >>> (scores @ axes.T).tolist()
        [[3.0, 0.0], [0.0, 0.0]]
    """
    scores, spectrum, parts = _rotate(x)
    return scores, torch.linalg.multi_dot(parts) if len(parts) > 1 else parts[0], spectrum


def _rotate(x: Float[Tensor, "n d"]) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
    """The coordinates, the spectrum, and the axes as matrices to be multiplied."""
    wide = x.shape[1] > x.shape[0]
    spectrum, vectors = torch.linalg.eigh(x @ x.T if wide else x.T @ x)
    some = spectrum > len(spectrum) * torch.finfo(x.dtype).eps * spectrum[-1]
    spectrum, vectors = spectrum[some], vectors[:, some]
    if wide:
        return vectors * spectrum.sqrt(), spectrum, (x.T, vectors / spectrum.sqrt())
    return x @ vectors, spectrum, (vectors,)

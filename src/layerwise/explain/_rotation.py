"""The rotation of features that a change of the input amounts to (P240).

Of all orthogonal maps Q, the one with the least `|A Q - B|^2` for the features A of samples and B
of the same samples changed: `Q = U V'` with the singular vectors of `A'B`. Applied to the features
of new samples it changes what is decoded from them as the input would have been.
"""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from layerwise.errors import LayerwiseError
from layerwise.features._finite import require_finite


@final
class Rotation(nn.Module):
    """Turns features as a change of the input does. Build it with `fit`.

    Args:
        matrix: orthogonal; with more columns than rows or fewer, as far as it can be.

    Example:
        >>> features = torch.randn(50, 3)
        >>> turned = features[:, [2, 0, 1]]
        >>> rotation = Rotation.fit(features, turned)
        >>> bool(torch.allclose(rotation(features), turned, atol=1e-5))
        True
    """

    matrix: Float[Tensor, "d e"]

    def __init__(self, matrix: Float[Tensor, "d e"]) -> None:
        super().__init__()
        self.register_buffer("matrix", matrix)

    @classmethod
    def fit(cls, features: Float[Tensor, "n d"], other: Float[Tensor, "_ e"]) -> Rotation:
        """Find the rotation.

        Args:
            features: of samples.
            other: of the same samples, changed.

        Raises:
            LayerwiseError: no rows, not as many of both, or values that are not finite.
        """
        if len(features) != len(other) or len(features) == 0:
            raise LayerwiseError(
                f"{len(features)} rows of features but {len(other)} of the others; give as many, "
                "and at least one"
            )
        require_finite(features)
        require_finite(other)
        left, _, right = torch.linalg.svd(features.double().T @ other.double(), full_matrices=False)
        return cls((left @ right).to(features.dtype))

    def forward(self, features: Float[Tensor, "*n d"]) -> Float[Tensor, "*n e"]:
        """Turn features.

        Raises:
            LayerwiseError: a row is not finite.
        """
        require_finite(features)
        return features @ self.matrix

    def angles(self) -> Float[Tensor, " d"]:
        """By how much the planes it turns are turned, from 0 to pi, in rising order.

        Raises:
            LayerwiseError: it leads into another space.
        """
        if self.matrix.shape[0] != self.matrix.shape[1]:
            raise LayerwiseError(
                f"a map from {self.matrix.shape[0]} to {self.matrix.shape[1]} channels turns no "
                "planes; fit it on features of one width"
            )
        return torch.linalg.eigvals(self.matrix.double()).angle().abs().sort().values

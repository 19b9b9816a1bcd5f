"""Whitening: rotate and rescale features to zero mean and identity covariance.

`x' = (x - mean) Q diag(s)^(-1/2)` with eigenvectors `Q` and eigenvalues `s` of the covariance of a
reference set (divided by the number of rows), as in WhiteningBERT (P070). Ours: a floor for tiny
eigenvalues, and `shrink`, which pulls the eigenvalues towards their mean and is wanted where rows
are fewer than twice the features. The moments may be streamed; they are summed in float64 around
the first batch's mean, so that nothing cancels.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from layerwise._paper import paper
from layerwise.errors import LayerwiseError
from layerwise.features._finite import require_finite


@final
@paper(
    "WhiteningBERT: An Easy Unsupervised Sentence Embedding Approach",
    year=2021,
    arxiv="2104.01767",
    no=(70,),
)
class Whiten(nn.Module):
    """Whitens features. Build it with `fit`.

    With `Mean` under a mask and `layerwise.fuse.FirstLast` it is the whole recipe of the paper.

    Args:
        mean: of the reference set.
        weight: the rotation and scaling, leading directions first.

    Example:
        >>> rows = torch.randn(500, 4, generator=torch.Generator().manual_seed(0)).cumsum(1)
        >>> covariance = Whiten.fit(rows)(rows).T.cov(correction=0)
        >>> bool(torch.allclose(covariance, torch.eye(4), atol=1e-4))
        True
    """

    mean: Float[Tensor, " d"]
    weight: Float[Tensor, "d k"]

    def __init__(self, mean: Float[Tensor, " d"], weight: Float[Tensor, "d k"]) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("weight", weight)

    @classmethod
    def fit(
        cls,
        features: Float[Tensor, "n d"],
        *,
        keep: int | None = None,
        floor: float = 1e-8,
        shrink: float = 0.0,
    ) -> Whiten:
        """Measure a reference set.

        Args:
            features: the reference set, one row per sample.
            keep: how many leading directions to keep; all of them without it.
            floor: least eigenvalue, as a part of the largest.
            shrink: how far the eigenvalues are pulled towards their mean, 0 to 1.

        Raises:
            LayerwiseError: fewer than two rows, rows that do not vary or are not finite, or
                `keep` out of range.
        """
        return cls.fit_stream([features], keep=keep, floor=floor, shrink=shrink)

    @classmethod
    def fit_stream(
        cls,
        batches: Iterable[Float[Tensor, "_ d"]],
        *,
        keep: int | None = None,
        floor: float = 1e-8,
        shrink: float = 0.0,
    ) -> Whiten:
        """Measure a reference set that comes in batches. Arguments and errors as in `fit`."""
        mean, covariance, dtype = _moments(batches)
        d = len(mean)
        if keep is not None and not 1 <= keep <= d:
            raise LayerwiseError(f"keep={keep} of {d} directions; give 1 to {d}")
        variance, directions = torch.linalg.eigh(covariance)
        variance, directions = variance.flip(0)[:keep], directions.flip(1)[:, :keep]
        shrunk = (1 - shrink) * variance + shrink * covariance.trace() / d
        weight = directions * shrunk.clamp(min=floor * float(shrunk[0])).rsqrt()
        return cls(mean.to(dtype), weight.to(dtype))

    def forward(self, features: Float[Tensor, "m d"]) -> Float[Tensor, "m k"]:
        """Whiten rows.

        Raises:
            LayerwiseError: a row is not finite.
        """
        require_finite(features)
        return (features - self.mean) @ self.weight


def _moments(batches: Iterable[Tensor]) -> tuple[Tensor, Tensor, torch.dtype]:
    """Mean and covariance in float64, and the type the batches came in."""
    count, origin, first, second = 0, None, torch.zeros(()), torch.zeros(())
    dtype = torch.float32
    for batch in batches:
        require_finite(batch)
        rows = batch.double()
        if origin is None:
            origin, dtype = rows.mean(0), batch.dtype
            first, second = torch.zeros_like(origin), torch.zeros_like(origin.outer(origin))
        rows = rows - origin
        count += len(rows)
        first = first + rows.sum(0)
        second = second + rows.T @ rows
    if origin is None or count < 2:
        raise LayerwiseError(f"{count} rows are too few to whiten by; give at least 2")
    shift = first / count
    covariance = second / count - shift.outer(shift)
    if float(covariance.trace()) <= torch.finfo(dtype).tiny:
        raise LayerwiseError("the features do not vary over the rows; there is nothing to whiten")
    return origin + shift, covariance, dtype

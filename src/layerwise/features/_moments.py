"""Sums from which any linear map from one layer to another can be solved and judged.

Means, products and squares of the same samples in two layers, in float64, from batches that come
one after another. Each batch is centred on its own means before it is added (Chan, Golub and
LeVeque 1979), so that nothing cancels however far from the origin the layers lie. 8 d (d + e) bytes
hold all that a ridge map needs, however many samples there were: it is solved from the sums of some
samples and judged by those of others, without seeing a sample again.
"""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from layerwise.errors import LayerwiseError
from layerwise.features._finite import require_finite

_ROWS = 4096  # taken into float64 at a time


@final
class Moments:
    """Sums up two layers over batches.

    Attributes:
        samples: how many there were so far.
        mean: of the first layer, `[d]`.
        other_mean: of the second, `[e]`.
        products: `[d d]` of the first layer around its mean.
        cross: `[d e]` of the first with the second.
        squares: `[e]` of the second.

    Example:
        >>> moments = Moments()
        >>> features, other = torch.randn(2, 50, 3, dtype=torch.float64).unbind()
        >>> for batch in zip(features.split(20), other.split(20), strict=True):
        ...     moments.update(*batch)
        >>> bool(torch.allclose(moments.products / 49, features.T.cov()))
        True
    """

    def __init__(self) -> None:
        self.samples = 0
        self.dtype = torch.float32
        zero = torch.zeros(0, dtype=torch.float64)
        self.mean, self.other_mean, self.squares = zero, zero, zero
        self.products = self.cross = zero.view(0, 0)

    @torch.inference_mode(mode=False)
    @torch.no_grad()
    def update(self, features: Float[Tensor, "n d"], other: Float[Tensor, "n e"]) -> None:
        """Take in one batch: the same samples in both layers.

        Raises:
            LayerwiseError: rows that do not match or are not finite, other widths than before.
        """
        if len(features) != len(other):
            raise LayerwiseError(
                f"{len(features)} rows in one layer and {len(other)} in the other; give the same "
                "samples"
            )
        require_finite(features)
        require_finite(other, "other")
        for x, y in zip(features.split(_ROWS), other.split(_ROWS), strict=True):
            if len(x):
                self._join(_of(x, y))

    def __add__(self, other: Moments) -> Moments:
        """The sums of both sets of samples."""
        both = Moments()
        for part in (self, other):
            both._join(part)
        return both

    def raw(self) -> tuple[Float[Tensor, "d d"], Float[Tensor, "d e"], Float[Tensor, " e"]]:
        """Products, cross products and squares around the origin."""
        n = self.samples
        return (
            self.products + n * self.mean.outer(self.mean),
            self.cross + n * self.mean.outer(self.other_mean),
            self.squares + n * self.other_mean.square(),
        )

    def _join(self, part: Moments) -> None:
        if part.samples == 0:
            return
        if self.samples == 0:
            vars(self).update(vars(part))
            return
        if part.cross.shape != self.cross.shape:
            raise LayerwiseError(
                f"layers of widths {tuple(part.cross.shape)} after {tuple(self.cross.shape)}; give "
                "the same two layers"
            )
        total = self.samples + part.samples
        weight = self.samples * part.samples / total
        step, other_step = part.mean - self.mean, part.other_mean - self.other_mean
        # Not in place: what was taken over from a part is still that part's.
        self.products = torch.addr(self.products + part.products, step, step, alpha=weight)
        self.cross = torch.addr(self.cross + part.cross, step, other_step, alpha=weight)
        self.squares = self.squares + part.squares + weight * other_step.square()
        self.mean = self.mean + step * (part.samples / total)
        self.other_mean = self.other_mean + other_step * (part.samples / total)
        self.samples = total


def _of(features: Tensor, other: Tensor) -> Moments:
    part = Moments()
    x, y = features.double(), other.double()
    part.samples, part.dtype = len(x), torch.promote_types(features.dtype, torch.float32)
    part.mean, part.other_mean = x.mean(0), y.mean(0)
    x, y = x - part.mean, y - part.other_mean
    part.products, part.cross, part.squares = x.T @ x, x.T @ y, y.square().sum(0)
    return part

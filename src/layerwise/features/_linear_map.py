"""The linear map from one layer to another, in closed form from sums.

Minimises `|X W + b - Y|^2 + penalty |D W|^2`, where D brings every channel of X to length 1, as
`Ridge` does. Unlike `Ridge` it never holds the samples: `Moments` are enough to solve it for all
penalties, to choose among them by generalised cross-validation, `error / (1 - df / n)^2` (Golub,
Heath and Wahba 1979), and to judge the map on other samples. So it can be fitted from millions of
tokens. A penalty of 0 is least squares, the shortest of its solutions where there are several.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from layerwise.errors import LayerwiseError
from layerwise.features._finite import require_finite
from layerwise.features._moments import Moments


@final
class LinearMap(nn.Module):
    """Casts the rows of one layer as those of another. Build it with `fit` or `of`.

    Args:
        weight: of the map.
        bias: of the map; zero where it was fitted without.
        penalty: the one that was chosen, for channels of length 1.

    Example:
        >>> features = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
        >>> other = features @ torch.tensor([[1.0, 2.0]] * 4) + 3
        >>> linear = LinearMap.fit(features, other)
        >>> bool(torch.allclose(linear(features), other, atol=1e-3))
        True
    """

    weight: Float[Tensor, "d e"]
    bias: Float[Tensor, " e"]
    penalty: Float[Tensor, ""]

    def __init__(
        self, weight: Float[Tensor, "d e"], bias: Float[Tensor, " e"], penalty: Float[Tensor, ""]
    ) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)
        self.register_buffer("penalty", penalty)

    @classmethod
    def fit(
        cls,
        features: Float[Tensor, "n d"],
        other: Float[Tensor, "n e"],
        *,
        penalties: Sequence[float] | None = None,
        intercept: bool = True,
    ) -> LinearMap:
        """Solve for the map from `features` to `other`.

        Args:
            features: one row per sample.
            other: the same samples in the layer that is aimed at.
            penalties: to choose from, 0 or more; without them 13 from 1e-7 to 1e5 times the number
                of samples, which a channel of length 1 is worth.
            intercept: fit a bias, too.

        Raises:
            LayerwiseError: fewer than two rows, rows that do not match or are not finite, or a
                penalty that is negative.
        """
        moments = Moments()
        moments.update(features, other)
        return cls.of(moments, penalties=penalties, intercept=intercept)

    @classmethod
    def of(
        cls,
        moments: Moments,
        *,
        penalties: Sequence[float] | None = None,
        intercept: bool = True,
    ) -> LinearMap:
        """Solve for the map from sums. Arguments and errors as in `fit`."""
        solver = Solver.of(moments, intercept=intercept)
        grid = _grid(penalties, moments.samples)
        best = int(solver.validation_error(grid).argmin())
        weight = solver.weight(float(grid[best]))
        bias = moments.other_mean - moments.mean @ weight
        if not intercept:
            bias = torch.zeros_like(bias)
        kept = grid[best].to(moments.dtype)
        return cls(weight.to(moments.dtype), bias.to(moments.dtype), kept)

    def forward(self, features: Float[Tensor, "m d"]) -> Float[Tensor, "m e"]:
        """Cast rows.

        Raises:
            LayerwiseError: a row is not finite.
        """
        require_finite(features)
        return torch.addmm(self.bias, features, self.weight)

    def r2(self, moments: Moments) -> Float[Tensor, " e"]:
        """Share of each channel's variance that the map explains, over the samples of some sums."""
        weight, n = self.weight.double(), moments.samples
        off = moments.other_mean - moments.mean @ weight - self.bias.double()
        error = moments.squares - 2 * (weight * moments.cross).sum(0)
        error = error + (weight * (moments.products @ weight)).sum(0) + n * off.square()
        return 1 - error / moments.squares


@final
@dataclass(frozen=True)
class Solver:
    """One eigendecomposition that solves for every penalty. Build it with `of`.

    Args:
        scale: length of each channel, which is divided by.
        spectrum: eigenvalues of the products of scaled channels, those of rounding set to 0.
        vectors: their eigenvectors.
        rotated: `[r e]` the cross products in these axes.
        power: `[e]` squares of the channels aimed at.
        samples: how many there were.
        free: degrees of freedom taken by the intercept.
    """

    scale: Float[Tensor, " d"]
    spectrum: Float[Tensor, " r"]
    vectors: Float[Tensor, "d r"]
    rotated: Float[Tensor, "r e"]
    power: Float[Tensor, " e"]
    samples: int
    free: int

    @classmethod
    def of(cls, moments: Moments, *, intercept: bool = True) -> Solver:
        """Decompose the sums.

        Raises:
            LayerwiseError: fewer than two samples.
        """
        n = moments.samples
        if n < 2:
            raise LayerwiseError(f"{n} samples are too few for a linear map; give at least 2")
        centred = (moments.products, moments.cross, moments.squares)
        products, cross, power = centred if intercept else moments.raw()
        scale = (products.diagonal() / n).sqrt()
        scale = torch.where(scale > 0, scale, 1.0)
        spectrum, vectors = torch.linalg.eigh(products / scale.outer(scale))
        rounding = len(spectrum) * torch.finfo(torch.float64).eps * spectrum[-1]
        spectrum = torch.where(spectrum > rounding, spectrum, 0.0)
        rotated = vectors.T @ (cross / scale[:, None])
        return cls(scale, spectrum, vectors, rotated, power, n, int(intercept))

    def weight(self, penalty: float) -> Float[Tensor, "d e"]:
        """The map of one penalty."""
        return self.vectors @ (self._inverse(penalty)[:, None] * self.rotated) / self.scale[:, None]

    def error(self, penalties: Float[Tensor, " p"]) -> Float[Tensor, " p"]:
        """Sum of squared errors of each penalty's map, on the samples it was fitted to."""
        energy, gains = self.rotated.square().sum(1), []
        for penalty in penalties.tolist():
            inverse = self._inverse(penalty)
            gains.append((energy * inverse * (2 - self.spectrum * inverse)).sum())
        return (self.power.sum() - torch.stack(gains)).clamp(min=0)

    def validation_error(self, penalties: Float[Tensor, " p"]) -> Float[Tensor, " p"]:
        """Estimate of the error on other samples: generalised cross-validation."""
        used = torch.stack([(self.spectrum * self._inverse(p)).sum() for p in penalties.tolist()])
        left = 1 - (used + self.free) / self.samples
        # Where nothing is left to be wrong, any error would do.
        tiny = torch.finfo(torch.float64).tiny
        return torch.where(left > 1e-9, (self.error(penalties) + tiny) / left.square(), torch.inf)

    def _inverse(self, penalty: float) -> Float[Tensor, " r"]:
        """1 / (eigenvalue + penalty); nothing where there is no variance to divide by."""
        shifted = self.spectrum + penalty
        return torch.where(self.spectrum > 0, 1 / shifted.where(shifted > 0, 1.0), 0.0)


def _grid(penalties: Sequence[float] | None, samples: int) -> Float[Tensor, " p"]:
    if penalties is None:
        return samples * torch.logspace(-7, 5, 13, dtype=torch.float64)
    grid = torch.as_tensor(penalties, dtype=torch.float64)
    if grid.numel() == 0 or not bool((grid >= 0).all()):
        raise LayerwiseError(f"penalties {list(penalties)} must be 0 or more, and at least one")
    return grid

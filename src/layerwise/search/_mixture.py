"""A mixture of Gaussians with diagonal covariances, by expectation and maximisation."""

from __future__ import annotations

import math
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor, nn

from layerwise.errors import LayerwiseError
from layerwise.features._finite import require_finite

_FLOOR = 1e-4
"""Least variance, as a part of the mean variance: no Gaussian shrinks to a point."""


@final
class Mixture(nn.Module):
    """Tells how likely each Gaussian is to have made a row. Build it with `fit`.

    Args:
        shares: of each Gaussian.
        means: of each Gaussian.
        deviations: of each Gaussian.
        converged: whether the steps were enough.

    Example:
        >>> labels = torch.arange(60) % 3
        >>> noise = torch.randn(60, 2, generator=torch.Generator().manual_seed(0))
        >>> features = 9 * torch.eye(3, 2)[labels] + noise
        >>> mixture = Mixture.fit(features, gaussians=3)
        >>> len(set(zip(labels.tolist(), mixture(features).argmax(1).tolist())))
        3
    """

    shares: Float[Tensor, " k"]
    means: Float[Tensor, "k d"]
    deviations: Float[Tensor, "k d"]
    converged: Bool[Tensor, ""]

    def __init__(
        self,
        shares: Float[Tensor, " k"],
        means: Float[Tensor, "k d"],
        deviations: Float[Tensor, "k d"],
        *,
        converged: Bool[Tensor, ""],
    ) -> None:
        super().__init__()
        self.register_buffer("shares", shares)
        self.register_buffer("means", means)
        self.register_buffer("deviations", deviations)
        self.register_buffer("converged", converged)

    @classmethod
    def fit(
        cls,
        features: Float[Tensor, "n d"],
        *,
        gaussians: int = 64,
        limit: int = 100,
        tolerance: float = 1e-3,
        generator: Generator | None = None,
    ) -> Mixture:
        """Fit.

        Args:
            features: one row per sample.
            gaussians: of the mixture, at most one for each row.
            limit: most steps.
            tolerance: steps end when the mean log-likelihood gains less.
            generator: for the first means, which are rows far apart (k-means++).

        Raises:
            LayerwiseError: no rows, rows that are not finite, or no Gaussians.
        """
        if len(features) == 0 or gaussians < 1:
            raise LayerwiseError(
                f"{gaussians} Gaussians for {len(features)} rows; give at least one of each"
            )
        require_finite(features)
        x = features.double()
        means = _far_apart(x, gaussians, generator or Generator().manual_seed(0))
        q = nn.functional.one_hot(torch.cdist(x, means).argmin(1), len(means)).double()
        floor = _FLOOR * x.var(0, correction=0).mean().clamp(min=1e-12)
        last, converged = -math.inf, False
        for _ in range(limit):
            total = q.sum(0).clamp(min=1e-10)
            means = q.T @ x / total[:, None]
            variances = q.T @ x.square() / total[:, None] - means.square()
            mixture = cls(
                total / total.sum(),
                means,
                variances.clamp(min=floor).sqrt(),
                converged=torch.tensor(converged),
            )
            joint = mixture.joint(x)
            now = joint.logsumexp(1).mean().item()
            q = joint.softmax(1)
            if now - last < tolerance:
                converged = True
                break
            last = now
        mixture.converged = torch.tensor(converged)
        return mixture.to(features.dtype)

    def joint(self, features: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """Logarithm of each Gaussian's share times its density at each row."""
        inverse = self.deviations**-2
        squares = (
            features.square() @ inverse.T
            - 2 * features @ (self.means * inverse).T
            + (self.means.square() * inverse).sum(1)
        )
        constant = self.shares.log() - self.deviations.log().sum(1)
        return constant - squares / 2 - features.shape[1] / 2 * math.log(2 * math.pi)

    def forward(self, features: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """Probability that each Gaussian made the row.

        Raises:
            LayerwiseError: a row is not finite.
        """
        require_finite(features)
        return self.joint(features).softmax(1)


def _far_apart(x: Float[Tensor, "n d"], count: int, generator: Generator) -> Tensor:
    """Rows drawn one after the other, likelier the farther they are from those drawn before."""
    chosen = [int(torch.randint(len(x), (), generator=generator))]
    nearest = (x - x[chosen[0]]).square().sum(1)
    while len(chosen) < min(count, len(x)) and bool((nearest > 0).any()):
        reach = nearest.cumsum(0)
        draw = torch.rand((), dtype=torch.float64, generator=generator).to(x.device) * reach[-1]
        chosen.append(min(int(torch.searchsorted(reach, draw, right=True)), len(x) - 1))
        nearest = nearest.minimum((x - x[chosen[-1]]).square().sum(1))
    return x[chosen]

"""Mahalanobis distance to class means: how unlike everything known is this?

Every class is a Gaussian with its own mean, and all share one covariance, measured around the
means; a sample is scored by its distance to each mean, and the least of them says how strange it is
(equations 1 and 2 of the paper, for one layer). Ours: `shrink` pulls the covariance towards a
sphere, so that wide layers can be fitted from few samples, and `keep` measures along the leading
directions only, which makes the whole thing small enough to be shipped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from layerwise._paper import paper
from layerwise.errors import LayerwiseError
from layerwise.features import Whiten
from layerwise.features._finite import require_finite
from layerwise.search._labelled import require_labelled
from layerwise.search._nearest_mean import NearestMean


@final
@paper(
    "A Simple Unified Framework for Detecting Out-of-Distribution Samples and Adversarial Attacks",
    year=2018,
    arxiv="1807.03888",
)
class Mahalanobis(nn.Module):
    """Scores a sample by its distance to the mean of each class. Build it with `fit`.

    Args:
        means: of each class.
        whiten: brings the shared covariance to the identity.
        classes: the labels in rising order, as the rows of `means`.

    Example:
        >>> import torch
        >>> generator = torch.Generator().manual_seed(0)
        >>> features = torch.randn(60, 2, generator=generator) * torch.tensor([10.0, 1.0])
        >>> distances = Mahalanobis.fit(features, torch.zeros(60).long())
        >>> along, across = distances(torch.tensor([[10.0, 0.0], [0.0, 10.0]]))[:, 0]
        >>> bool(across > 3 * along)
        True
    """

    means: Float[Tensor, "c d"]
    whiten: Float[Tensor, "d k"]
    classes: Int[Tensor, " c"]

    def __init__(
        self,
        means: Float[Tensor, "c d"],
        whiten: Float[Tensor, "d k"],
        classes: Int[Tensor, " c"],
    ) -> None:
        super().__init__()
        self.register_buffer("means", means)
        self.register_buffer("whiten", whiten)
        self.register_buffer("classes", classes)

    @classmethod
    def fit(
        cls,
        features: Float[Tensor, "n d"],
        labels: Int[Tensor, " n"],
        *,
        shrink: float = 0.1,
        keep: int | None = None,
    ) -> Mahalanobis:
        """Measure means and the shared covariance.

        Args:
            features: one row per sample.
            labels: class of each row; equal ones where there are no classes.
            shrink: how far the covariance is pulled towards a sphere, 0 to 1.
            keep: how many leading directions to measure along; all of them without it.

        Raises:
            LayerwiseError: fewer than two rows, rows that do not match, do not vary within their
                classes or are not finite, missing labels, or an option out of range.
        """
        return cls.fit_stream(lambda: [(features, labels)], shrink=shrink, keep=keep)

    @classmethod
    def fit_stream(
        cls,
        batches: Callable[[], Iterable[tuple[Float[Tensor, "_ d"], Int[Tensor, " _"]]]],
        *,
        shrink: float = 0.1,
        keep: int | None = None,
    ) -> Mahalanobis:
        """Measure rows that come in batches, twice: once for the means, once around them.

        Args:
            batches: gives the same rows with their classes each time.
            shrink: as in `fit`.
            keep: as in `fit`.

        Raises:
            LayerwiseError: as in `fit`.
        """
        if not 0 <= shrink <= 1:
            raise LayerwiseError(f"shrink={shrink}; give 0, for the covariance as it is, to 1")
        nearest, dtype = None, torch.float32
        for features, labels in batches():
            require_labelled(features, labels)
            part, dtype = NearestMean.fit(features, labels), features.dtype
            nearest = part if nearest is None else nearest.merge(part)
        if nearest is None:
            raise LayerwiseError("there are no rows to measure; give two or more")
        means, classes = nearest.means, nearest.classes
        around = (
            features.double() - means[torch.searchsorted(classes, labels)]
            for features, labels in batches()
        )
        weight = Whiten.fit_stream(around, shrink=shrink, keep=keep).weight
        return cls(means.to(dtype), weight.to(dtype).contiguous(), classes)

    def forward(self, features: Float[Tensor, "m d"]) -> Float[Tensor, "m c"]:
        """Distance to each mean.

        Raises:
            LayerwiseError: a row is not finite.
        """
        require_finite(features)
        # Around the centre of the means nothing cancels in the expanded square.
        centre = self.means.mean(0)
        rows, means = ((values - centre) @ self.whiten for values in (features, self.means))
        squares = rows.square().sum(1, keepdim=True) + means.square().sum(1) - 2 * rows @ means.T
        return squares.clamp(min=0).sqrt()

    def predict(self, features: Float[Tensor, "m d"]) -> Int[Tensor, " m"]:
        """Label of the nearest mean, as linear discriminant analysis with equal priors."""
        return self.classes[self(features).argmin(1)]

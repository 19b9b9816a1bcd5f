"""Retrieval by many patches of each picture (P086).

Every picture brings rows of overlapping patches at several scales (`patches` cuts them out). Rows
are brought to length 1, whitened onto their leading principal components, brought to length 1 again
and replaced by their signed roots. A query patch is as far from a picture as from its nearest
patch, and a query as far as its patches are on average.
"""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from layerwise._paper import paper
from layerwise.errors import LayerwiseError
from layerwise.features import Whiten
from layerwise.features._finite import require_finite


@final
@paper(
    "CNN Features off-the-shelf: an Astounding Baseline for Recognition",
    year=2014,
    arxiv="1403.6382",
    no=(86,),
)
class PatchRetrieval(nn.Module):
    """Ranks stored pictures by their patches. Build it with `fit`.

    Args:
        whiten: onto the leading principal components of all stored patches.
        gallery: the stored patches.

    Example:
        >>> patches = torch.randn(8, 5, 6, generator=torch.Generator().manual_seed(0))
        >>> PatchRetrieval.fit(patches).rank(patches)[:, 0].tolist()
        [0, 1, 2, 3, 4, 5, 6, 7]
    """

    gallery: Float[Tensor, "n a k"]

    def __init__(self, whiten: Whiten, gallery: Float[Tensor, "n a k"]) -> None:
        super().__init__()
        self.whiten = whiten
        self.register_buffer("gallery", gallery)

    @classmethod
    def fit(
        cls, features: Float[Tensor, "n d"] | Float[Tensor, "n a d"], *, keep: int = 500
    ) -> PatchRetrieval:
        """Store pictures.

        Args:
            features: one row per picture, or one for each of its patches.
            keep: principal components, as far as there are so many.

        Raises:
            LayerwiseError: fewer than two rows, rows that do not vary or are not finite, or `keep`
                below 1.
        """
        require_finite(features)
        if keep < 1:
            raise LayerwiseError(f"keep={keep} components; give at least 1")
        views = _views(features)
        rows = views.flatten(0, 1)
        whiten = Whiten.fit(rows, keep=min(keep, rows.shape[1], max(1, len(rows) - 1)))
        return cls(whiten, _describe(whiten, views))

    def forward(
        self, features: Float[Tensor, "m d"] | Float[Tensor, "m b d"]
    ) -> Float[Tensor, "m n"]:
        """Distance of each query to each stored picture.

        Args:
            features: one row per query, or one for each of its patches.

        Raises:
            LayerwiseError: a row is not finite.
        """
        require_finite(features)
        queries = _describe(self.whiten, _views(features))
        stored = self.gallery.flatten(0, 1)
        distances = [
            torch.cdist(query, stored).unflatten(1, self.gallery.shape[:2]).amin(2).mean(0)
            for query in queries
        ]
        return torch.stack(distances) if distances else queries.new_empty(0, len(self.gallery))

    def rank(self, features: Float[Tensor, "m d"] | Float[Tensor, "m b d"]) -> Int[Tensor, "m n"]:
        """Stored pictures by rising distance, equals in the order they were stored."""
        return self(features).argsort(dim=1, stable=True)


def _views(features: Tensor) -> Float[Tensor, "n a d"]:
    views = features if features.ndim == 3 else features.unsqueeze(1)
    return nn.functional.normalize(views, dim=2)


def _describe(whiten: Whiten, views: Float[Tensor, "n a d"]) -> Float[Tensor, "n a k"]:
    white = whiten(views.flatten(0, 1)).unflatten(0, views.shape[:2])
    unit = nn.functional.normalize(white, dim=2)
    return unit.sign() * unit.abs().sqrt()

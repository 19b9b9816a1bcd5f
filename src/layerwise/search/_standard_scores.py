"""Scores that mean the same for every query and every item.

A cosine of 0.8 is much for one picture and little for another that lies where everything is near.
Each score is measured against the `cohort` best scores of its query and against those of its item:
`((s - mean_q) / std_q + (s - mean_x) / std_x) / 2`, as speaker verification does (adaptive
symmetric normalisation, Matejka and others 2017). One threshold then serves all, and items that are
near to everything (hubs) fall back.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from layerwise.errors import LayerwiseError
from layerwise.features._finite import require_finite

_NUMBERS = 2**24


def standard_scores(
    queries: Float[Tensor, "m d"], features: Float[Tensor, "n d"], *, cohort: int = 100
) -> Float[Tensor, "m n"]:
    """Cosine of each query and item, in deviations from what is usual for the two.

    Args:
        queries: one row each.
        features: the stored rows, which are also the cohort.
        cohort: how many of the best scores say what is usual, as far as there are so many.

    Raises:
        LayerwiseError: fewer than 3 stored rows, rows that are not finite, or `cohort` below 2.

    Example:
        >>> rows = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
        >>> standard_scores(rows[:3], rows).argmax(1).tolist()
        [0, 1, 2]
    """
    if len(features) < 3 or cohort < 2:
        raise LayerwiseError(
            f"{len(features)} stored rows and cohort={cohort}: give at least 3 and 2"
        )
    require_finite(features)
    require_finite(queries, "queries")
    gallery = nn.functional.normalize(features, dim=1)
    unit = nn.functional.normalize(queries, dim=1)
    scores = unit @ gallery.T
    mean, deviation = _usual(unit, gallery, cohort)
    mean_x, deviation_x = _usual(gallery, gallery, cohort)
    return ((scores - mean[:, None]) / deviation[:, None] + (scores - mean_x) / deviation_x) / 2


def _usual(rows: Tensor, gallery: Tensor, cohort: int) -> tuple[Tensor, Tensor]:
    """Mean and deviation of the best scores of each row, itself and its copies left out."""
    size = max(1, _NUMBERS // len(gallery))
    kept = min(cohort, len(gallery) - 1)
    parts = []
    for part in rows.split(size):
        scores = part @ gallery.T
        same = scores > 1 - 1e-5
        parts.append(scores.masked_fill(same, -1.0).topk(kept, dim=1).values)
    best = torch.cat(parts) if parts else rows.new_empty(0, kept)
    return best.mean(1), best.std(1, correction=0).clamp(min=1e-6)

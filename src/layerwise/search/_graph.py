"""Search through somebody else's index: what goes in, and what is made of what it proposes.

The proposed rows are measured again like those of the exact search, so that distances agree and
only a neighbour that the index has missed can differ.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from layerwise.errors import LayerwiseError
from layerwise.features._finite import require_finite
from layerwise.search._measured import measured
from layerwise.search._neighbours import Found

_SPARE = 8

Propose = Callable[[Any, int], Tensor]
"""Rows for each query of a numpy array, so many; -1 where there is none."""


def stored(features: Float[Tensor, "n d"], *, cosine: bool) -> Float[Tensor, "n d"]:
    """A copy of the rows that are stored, of length 1 where directions are compared.

    Raises:
        LayerwiseError: there are no rows, or some are not finite.
    """
    if len(features) == 0:
        raise LayerwiseError("there are no rows to search; give at least one")
    require_finite(features)
    return nn.functional.normalize(features, dim=1) if cosine else features.clone()


def nearest(
    gallery: Float[Tensor, "n d"],
    features: Float[Tensor, "m d"],
    propose: Propose,
    *,
    cosine: bool,
    count: int,
) -> Found:
    """Measure what an index proposes.

    Args:
        gallery: the stored rows.
        features: the queries.
        propose: asks the index.
        cosine: queries are brought to length 1 first.
        count: how many to find.

    Raises:
        LayerwiseError: `count` is not within the gallery, or a query is not finite.
    """
    n = len(gallery)
    if not 1 <= count <= n:
        raise LayerwiseError(f"count={count} of {n} stored rows; give 1 to {n}")
    require_finite(features, "queries")
    unit = nn.functional.normalize(features, dim=1) if cosine else features
    rows = propose(as_numpy(unit), min(count + _SPARE, n))
    return Found(*measured(unit, gallery, rows.to(unit.device), count))


def as_numpy(rows: Float[Tensor, "n d"]) -> Any:
    """What the packages take."""
    return rows.detach().cpu().to(torch.float32).numpy()

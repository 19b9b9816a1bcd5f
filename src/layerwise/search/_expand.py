"""Query expansion: a query joined by what it has found, weighted by likeness.

`q' = q + sum_j max(0, q . x_j)^alpha x_j` over the nearest stored rows, all of length 1, and then
length 1 again (alpha-QE, Radenovic, Tolias and Chum 2018). At `alpha` 0 it is the plain average of
the query and its neighbours (Chum 2007); the larger, the less a doubtful neighbour counts.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from layerwise.errors import LayerwiseError
from layerwise.features._finite import require_finite
from layerwise.search._neighbours import Neighbours


def expand(
    queries: Float[Tensor, "m d"],
    features: Float[Tensor, "n d"],
    *,
    count: int = 10,
    alpha: float = 3.0,
) -> Float[Tensor, "m d"]:
    """Join each query with the rows nearest to it.

    Args:
        queries: one row each.
        features: the stored rows.
        count: how many rows join, as far as there are so many; 0 leaves the query as it is.
        alpha: power of the cosine that a row is weighted by.

    Returns:
        Rows of length 1.

    Raises:
        LayerwiseError: there are no stored rows, some are not finite, or `count` or `alpha` is
            negative.

    Example:
        >>> import torch
        >>> rows = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
        >>> expand(rows[:1], rows, count=2, alpha=0.0)[0, 1] > 0
        tensor(True)
    """
    if count < 0 or alpha < 0:
        raise LayerwiseError(f"count={count}, alpha={alpha}: give numbers from 0")
    require_finite(queries, "queries")
    unit = nn.functional.normalize(queries, dim=1)
    if count == 0:
        return unit
    found = Neighbours.fit(features)(unit, count=min(count, len(features)))
    rows = nn.functional.normalize(features, dim=1)[found.rows]
    weight = (rows @ unit.unsqueeze(2)).clamp(min=0).pow(alpha)
    return nn.functional.normalize(unit + (weight * rows).sum(1), dim=1)

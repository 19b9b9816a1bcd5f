"""Candidates of an index, measured again: distances by the difference itself, ties by row."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor


def measured(
    queries: Float[Tensor, "m d"],
    gallery: Float[Tensor, "n d"],
    rows: Int[Tensor, "m k"],
    count: int,
) -> tuple[Float[Tensor, "m c"], Int[Tensor, "m c"]]:
    """The nearest of some candidates: Euclidean distances and rows, nearest first.

    A stored item is at distance 0 from itself, and equal items stand in the order of their rows.

    Args:
        queries: one row each.
        gallery: the stored rows.
        rows: candidates for each query, in any order; -1 where there is none.
        count: how many to keep.

    Example:
        >>> gallery = torch.tensor([[0.0], [1.0], [1.0]])
        >>> distances, rows = measured(gallery[1:2], gallery, torch.tensor([[2, 0, 1]]), 2)
        >>> distances.tolist(), rows.tolist()
        ([[0.0, 0.0]], [[1, 2]])
    """
    rows = rows.sort(1).values
    distances = (queries.unsqueeze(1) - gallery[rows.clamp(min=0)]).square().sum(2).sqrt()
    order = distances.masked_fill(rows < 0, torch.inf).sort(dim=1, stable=True)
    return order.values[:, :count], rows.gather(1, order.indices)[:, :count]

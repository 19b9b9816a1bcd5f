"""How good a ranking is: average precision.

`AP = mean over the relevant items of (relevant items up to it / its rank)`; equal similarities
stand in the order of the rows.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def average_precision(
    similarity: Float[Tensor, "m n"], relevant: Bool[Tensor, "m n"]
) -> Float[Tensor, " m"]:
    """Average precision of each query; NaN where nothing is relevant.

    Args:
        similarity: of each query to each item; minus infinity leaves an item out.
        relevant: which items answer the query.

    Example:
        >>> order = torch.tensor([[0.9, 0.5, 0.1]])
        >>> round(average_precision(order, torch.tensor([[True, False, True]])).item(), 4)
        0.8333
    """
    order = similarity.argsort(dim=1, descending=True, stable=True)
    hits = relevant.gather(1, order).to(similarity.dtype)
    ranks = torch.arange(1, hits.shape[1] + 1, dtype=hits.dtype, device=hits.device)
    return (hits * hits.cumsum(1) / ranks).sum(1) / hits.sum(1)

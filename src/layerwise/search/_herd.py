"""Herding: few samples of a class whose mean is that of the whole class (Rebuffi et al. 2017)."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def herd(
    features: Float[Tensor, " n *d"], own: Bool[Tensor, " n"], *, count: int
) -> Int[Tensor, " k"]:
    """Choose samples one after another, so that the mean of those chosen stays closest to all.

    Args:
        features: one row, or one map, for each sample.
        own: which samples are of the class.
        count: how many to choose; all where there are no more.

    Returns:
        Their places among the features, the first chosen first.

    Example:
        >>> herd(torch.tensor([[0.0], [4.0], [5.0], [9.0]]), torch.ones(4).bool(), count=2).tolist()
        [1, 2]
    """
    where = own.nonzero().flatten()
    rows = features[where].flatten(1)
    mean, total = rows.mean(0), torch.zeros_like(rows[0])
    free = torch.ones(len(rows), dtype=torch.bool, device=rows.device)
    chosen: list[int] = []
    for size in range(1, min(count, len(rows)) + 1):
        far = (mean - (total + rows) / size).square().sum(1)
        best = int(far.where(free, torch.inf).argmin())
        chosen.append(best)
        free[best] = False
        total = total + rows[best]
    return where[chosen]

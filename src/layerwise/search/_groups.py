"""Copies and groups among samples, by their vectors.

Copies: two samples whose cosine is above a threshold belong together, and so does whatever hangs
together by such pairs. The threshold comes from the data: it lies where it parts changed copies of
the samples (slightly cropped, lit otherwise) from their nearest strangers with the fewest mistakes.
Groups: k-means on unit vectors, with the number of groups by the silhouette where it is not given.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from layerwise.errors import LayerwiseError
from layerwise.features._finite import require_finite

_NUMBERS = 2**24


@final
@dataclass(frozen=True)
class Groups:
    """Rows that belong together.

    Args:
        labels: number of each row's group, counted from 0.
        middles: for each group, the row that is nearest to all others of it.
        cosine: of each row to its group's middle.
        silhouette: how well the groups are parted, -1 to 1; 0 for one group.
    """

    labels: Int[Tensor, " n"]
    middles: Int[Tensor, " k"]
    cosine: Float[Tensor, " n"]
    silhouette: Float[Tensor, ""]


def copies(features: Float[Tensor, "n d"], *, threshold: float = 0.95) -> Int[Tensor, " n"]:
    """Number of each row's group of copies, counted from 0 in the order of the rows.

    Args:
        features: one row per sample.
        threshold: cosine from which on two rows are copies.

    Raises:
        LayerwiseError: rows that are not finite, or a threshold that is no cosine.

    Example:
        >>> copies(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.01]])).tolist()
        [0, 1, 0]
    """
    require_finite(features)
    if not -1 <= threshold <= 1 + 1e-6:
        raise LayerwiseError(f"threshold={threshold}; give a cosine, such as 0.95")
    unit = nn.functional.normalize(features, dim=1)
    parent = list(range(len(unit)))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    size = max(1, _NUMBERS // max(1, len(unit)))
    for start in range(0, len(unit), size):
        pairs = (unit[start : start + size] @ unit.T >= threshold).nonzero()
        for row, other in pairs.tolist():
            if start + row < other:
                one, two = sorted((root(start + row), root(other)))
                parent[two] = one
    roots = [root(row) for row in range(len(unit))]
    numbers = {each: number for number, each in enumerate(dict.fromkeys(roots))}
    return torch.tensor([numbers[each] for each in roots], dtype=torch.int64)


def parting(
    same: Float[Tensor, " m"], strangers: Float[Tensor, " k"]
) -> tuple[float, float, float]:
    """Threshold with the fewest mistakes, the share it finds of `same`, and of `strangers`.

    Args:
        same: cosines of samples and their changed copies.
        strangers: cosines of samples and their nearest strangers.

    Raises:
        LayerwiseError: there are none of either.

    Example:
        >>> parting(torch.tensor([0.9, 0.95]), torch.tensor([0.2, 0.5]))[1:]
        (1.0, 0.0)
    """
    if len(same) == 0 or len(strangers) == 0:
        raise LayerwiseError("there are no pairs to set a threshold by; give one with --threshold")
    values = torch.cat([same, strangers]).double().sort().values
    tried = (values[1:] + values[:-1]) / 2 if len(values) > 1 else values
    found = (same.double() >= tried[:, None]).double().mean(1)
    wrong = (strangers.double() >= tried[:, None]).double().mean(1)
    best = int((found - wrong).argmax())
    return tried[best].item(), found[best].item(), wrong[best].item()


def groups(features: Float[Tensor, "n d"], *, count: int | None = None, seed: int = 0) -> Groups:
    """Divide rows into groups by k-means on the sphere.

    Args:
        features: one row per sample.
        count: how many groups; without it, the number up to 20 with the best silhouette.
        seed: of the first centres.

    Raises:
        LayerwiseError: fewer rows than groups, or rows that are not finite.

    Example:
        >>> rows = torch.eye(3).repeat(4, 1) + 0.01 * torch.arange(12)[:, None]
        >>> found = groups(rows)
        >>> found.labels.unique().numel(), len(found.middles)
        (3, 3)
    """
    from sklearn.cluster import KMeans
    from sklearn.metrics import silhouette_score

    require_finite(features)
    n = len(features)
    if n == 0 or (count is not None and not 1 <= count <= n):
        raise LayerwiseError(f"{count or 'some'} groups of {n} samples; give 1 to {n}")
    unit = nn.functional.normalize(features.double(), dim=1)
    rows = unit.cpu().numpy()
    different = len(unit.unique(dim=0))
    best = torch.zeros(n, dtype=torch.int64), float("-inf")
    wanted = [count] if count is not None else range(2, min(20, different - 1) + 1)
    for k in wanted:
        if k > different:
            raise LayerwiseError(f"{k} groups, but only {different} samples differ; give fewer")
        labels = KMeans(k, n_init=4, random_state=seed).fit_predict(rows)
        parted = 0.0
        if 1 < k < n:
            size = min(n, 2000)
            parted = float(silhouette_score(rows, labels, sample_size=size, random_state=seed))
        if parted > best[1]:
            best = torch.from_numpy(labels).long(), parted
    return _with_middles(unit, *best, dtype=features.dtype)


def _with_middles(unit: Tensor, labels: Tensor, parted: float, *, dtype: torch.dtype) -> Groups:
    count = int(labels.max()) + 1
    means = torch.stack([unit[labels == group].mean(0) for group in range(count)])
    cosine = (unit * nn.functional.normalize(means, dim=1)[labels]).sum(1)
    middles = [
        int(cosine.masked_fill(labels != group, -torch.inf).argmax()) for group in range(count)
    ]
    silhouette = torch.tensor(max(parted, -1.0) if count > 1 else 0.0, dtype=dtype)
    return Groups(labels, torch.tensor(middles), cosine.to(dtype), silhouette)

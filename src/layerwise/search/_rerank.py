"""SuperGlobal's search: reranking with nothing but global descriptors (P159).

The first `first` items of each query are reranked. Every item is averaged with its `near` nearest
among them, which count by `beta` times their similarity; S1 is the query times the refined item.
The maximum over the best refined items is a new query, and S2 its product with each of them. The
items are sorted by (S1 + S2) / 2, and the rest follows as it was. An item always counts itself in
full, also where others are as near: the authors take whatever is sorted first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from layerwise._paper import paper
from layerwise.errors import LayerwiseError
from layerwise.features._finite import require_finite

_NUMBERS = 2**24
"""Numbers of the first items that are held at a time."""


@final
@dataclass(frozen=True)
class Ranked:
    """All stored rows for each query, best first.

    Args:
        scores: what the order rests on; rows beyond the first keep their cosine.
        rows: of the gallery.
    """

    scores: Float[Tensor, "m n"]
    rows: Int[Tensor, "m n"]


@final
@paper(
    "Global Features are All You Need for Image Retrieval and Reranking",
    year=2023,
    arxiv="2308.06954",
    no=(159,),
)
class SuperGlobalSearch(nn.Module):
    """Ranks stored rows by cosine, then reranks the first of them. Build it with `fit`.

    Args:
        gallery: the stored rows, of length 1.
        first: how many are reranked.
        near: neighbours that refine an item.
        beta: weight of these neighbours.

    Example:
        >>> rows = torch.randn(20, 6, generator=torch.Generator().manual_seed(0))
        >>> SuperGlobalSearch.fit(rows)(rows[3:5]).rows[:, 0].tolist()
        [3, 4]
    """

    gallery: Float[Tensor, "n d"]

    def __init__(
        self, gallery: Float[Tensor, "n d"], *, first: int = 400, near: int = 9, beta: float = 0.15
    ) -> None:
        super().__init__()
        self.register_buffer("gallery", gallery)
        self.first, self.near, self.beta = first, near, beta

    @classmethod
    def fit(
        cls, features: Float[Tensor, "n d"], *, first: int = 400, near: int = 9, beta: float = 0.15
    ) -> SuperGlobalSearch:
        """Store rows.

        Args:
            features: one descriptor per picture.
            first: how many of the best are reranked.
            near: neighbours that refine an item.
            beta: weight of these neighbours, against 1 for the item itself.

        Raises:
            LayerwiseError: there are no rows, some are not finite, or an option is out of range.
        """
        if len(features) == 0:
            raise LayerwiseError("there are no rows to search; give at least one")
        require_finite(features)
        if first < 1 or near < 0 or beta < 0:
            raise LayerwiseError(
                f"first={first}, near={near}, beta={beta}: give at least 1, 0 and 0"
            )
        gallery = nn.functional.normalize(features, dim=1)
        return cls(gallery, first=first, near=near, beta=beta)

    def forward(self, queries: Float[Tensor, "m d"]) -> Ranked:
        """Rank all stored rows for each query.

        Args:
            queries: one descriptor per query.

        Raises:
            LayerwiseError: a query is not finite.
        """
        require_finite(queries, "queries")
        scores = nn.functional.normalize(queries, dim=1) @ self.gallery.T
        scores, rows = scores.sort(dim=1, descending=True, stable=True)
        first = min(self.first, len(self.gallery))
        size = max(1, _NUMBERS // (first * (first + (self.near + 1) * self.gallery.shape[1])))
        for part in torch.arange(len(queries)).split(size):
            top = self.gallery[rows[part, :first]]
            again = rerank(queries[part], top, near=self.near, beta=self.beta)
            order = again.argsort(dim=1, descending=True, stable=True)
            scores[part, :first] = again.gather(1, order)
            rows[part, :first] = rows[part, :first].gather(1, order)
        return Ranked(scores, rows)


def rerank(
    queries: Float[Tensor, "m d"],
    candidates: Float[Tensor, "m k d"],
    *,
    near: int = 9,
    beta: float = 0.15,
) -> Float[Tensor, "m k"]:
    """Score the first items of each query anew.

    Args:
        queries: one row each.
        candidates: the items that each query has found.
        near: neighbours that refine an item.
        beta: weight of these neighbours, against 1 for the item itself.

    Example:
        >>> items = torch.eye(3)[None]
        >>> rerank(items[:, 1], items).argmax(1).tolist()
        [1]
    """
    unit = nn.functional.normalize(queries, dim=1)
    items = nn.functional.normalize(candidates, dim=2)
    alike = items @ items.transpose(1, 2)
    itself = torch.eye(items.shape[1], dtype=torch.bool, device=items.device)
    kept = min(near + 1, items.shape[1])
    places = alike.masked_fill(itself, torch.inf).topk(kept, dim=2).indices
    weight = beta * alike.gather(2, places)
    weight[..., 0] = 1.0
    # A row of weights over all items replaces the gathering of `near` copies of each.
    mixing = torch.zeros_like(alike).scatter(2, places, weight / weight.sum(2, keepdim=True))
    refined = mixing @ items
    one = (refined @ unit.unsqueeze(2)).squeeze(2)
    best = one.topk(kept, dim=1).indices.unsqueeze(2)
    expanded = refined.gather(1, best.expand(-1, -1, refined.shape[2])).amax(1)
    return (one + (refined @ expanded.unsqueeze(2)).squeeze(2)) / 2

"""Exact nearest neighbours: the readout that fits nothing.

Distances of a chunk of queries to the whole gallery come from one matrix product around the
gallery's mean, so that little cancels. The best rows are then measured again by the difference
itself and sorted by distance and row: a stored item is at distance 0 from itself, equal items
stand in the order of their rows, and one search serves every number of neighbours and every target.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from layerwise.errors import LayerwiseError
from layerwise.features._finite import require_finite, without_values
from layerwise.search._measured import measured

_SPARE = 8
"""More rows than asked for are measured again, in case the product's rounding misplaced some."""

_CHUNK = 2**21
"""Numbers held at a time."""

_ROWS = 4096
"""Rows squared at a time."""


@final
@dataclass(frozen=True)
class Found:
    """The nearest stored rows of each query, nearest first.

    Args:
        distances: Euclidean, between rows of length 1 where the index normalises.
        rows: of the gallery.
    """

    distances: Float[Tensor, "m k"]
    rows: Int[Tensor, "m k"]

    def classify(
        self, labels: Int[Tensor, " n"], *, counts: Sequence[int] = (1, 5, 20)
    ) -> Int[Tensor, "c m"]:
        """Most frequent label among the first neighbours; of equal ones that of the nearer.

        Args:
            labels: of the gallery's rows.
            counts: how many neighbours vote.

        Raises:
            LayerwiseError: more neighbours are to vote than were found.
        """
        near = labels[self.rows]
        classes, votes = near.unique(return_inverse=True)
        # Halving bonuses, together less than a vote, let the nearest decide where votes are equal.
        bonus = 0.5 ** torch.arange(2.0, 2.0 + near.shape[1], dtype=torch.float64)
        answers = []
        for count in self._allowed(counts):
            weight = (1 + bonus[:count]).to(near.device).expand(len(near), -1)
            tally = weight.new_zeros(len(near), len(classes))
            answers.append(classes[tally.scatter_add(1, votes[:, :count], weight).argmax(1)])
        return torch.stack(answers)

    def regress(
        self, targets: Float[Tensor, "n t"], *, counts: Sequence[int] = (1, 5, 20)
    ) -> Float[Tensor, "c m t"]:
        """Mean of the first neighbours' targets.

        Args:
            targets: of the gallery's rows.
            counts: how many neighbours are averaged.

        Raises:
            LayerwiseError: more neighbours are to be averaged than were found.
        """
        near = targets[self.rows]
        return torch.stack([near[:, :count].mean(1) for count in self._allowed(counts)])

    def _allowed(self, counts: Sequence[int]) -> Sequence[int]:
        found = self.rows.shape[1]
        if not all(1 <= count <= found for count in counts):
            raise LayerwiseError(f"counts {list(counts)} of {found} neighbours; give 1 to {found}")
        return counts


@final
class Neighbours(nn.Module):
    """Finds the nearest stored rows. Build it with `fit`.

    Args:
        gallery: the stored rows, centred or of length 1.
        centre: what was subtracted from them.
        cosine: rows are brought to length 1 first, which ranks them by their cosine.

    Example:
        >>> index = Neighbours.fit(torch.eye(3), cosine=False)
        >>> found = index(torch.tensor([[0.0, 0.9, 0.1]]), count=2)
        >>> found.rows.tolist()
        [[1, 2]]
        >>> found.classify(torch.tensor([7, 8, 9]), counts=(1,)).tolist()
        [[8]]
    """

    gallery: Float[Tensor, "n d"]
    centre: Float[Tensor, " d"]
    squares: Float[Tensor, " n"]

    def __init__(
        self, gallery: Float[Tensor, "n d"], centre: Float[Tensor, " d"], *, cosine: bool = True
    ) -> None:
        super().__init__()
        self.register_buffer("gallery", gallery)
        self.register_buffer("centre", centre)
        # To add these up takes as long as one query does.
        parts = [part.square().sum(1) for part in gallery.split(_ROWS)]
        self.register_buffer("squares", torch.cat(parts))
        self.cosine = cosine

    @classmethod
    def fit(cls, features: Float[Tensor, "n d"], *, cosine: bool = True) -> Neighbours:
        """Store rows.

        Args:
            features: one row per sample.
            cosine: compare directions; without it, places.

        Raises:
            LayerwiseError: there are no rows, or some are not finite.
        """
        return cls.fit_stream([features], rows=len(features), cosine=cosine)

    @classmethod
    def fit_stream(
        cls, batches: Iterable[Float[Tensor, "_ d"]], *, rows: int, cosine: bool = True
    ) -> Neighbours:
        """Store rows that come in batches, without a second copy of them.

        Args:
            batches: of the rows.
            rows: how many there are in all.
            cosine: as in `fit`.

        Raises:
            LayerwiseError: as in `fit`, or another number of rows than was said.
        """
        gallery, start = torch.empty(0, 0), 0
        for features in batches:
            require_finite(features)
            if start == 0:
                gallery = features.new_empty(rows, features.shape[1])
            unit = nn.functional.normalize(features, dim=1) if cosine else features
            gallery[start : start + len(unit)] = unit[: rows - start]
            start += len(unit)
        if start != rows:
            raise LayerwiseError(f"{start} rows came of {rows}; say how many there are")
        if rows == 0:
            raise LayerwiseError("there are no rows to search; give at least one")
        centre = gallery.mean(0)
        return cls(gallery.sub_(centre), centre, cosine=cosine)

    def forward(self, features: Float[Tensor, "m d"], *, count: int = 20) -> Found:
        """Find the nearest rows of each query.

        Args:
            features: the queries, one row each.
            count: how many to find.

        Raises:
            LayerwiseError: `count` is not within the gallery, or a query is not finite.
        """
        n, d = self.gallery.shape
        if not 1 <= count <= n:
            raise LayerwiseError(f"count={count} of {n} stored rows; give 1 to {n}")
        require_finite(features, "queries")
        unit = nn.functional.normalize(features, dim=1) if self.cosine else features
        if without_values(features):  # a graph takes a batch of any size as a whole
            return Found(*self._nearest(unit - self.centre, count))
        size = max(1, _CHUNK // max(n, (count + _SPARE) * d))
        parts = [self._nearest(chunk, count) for chunk in (unit - self.centre).split(size)]
        return Found(torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts]))

    def _nearest(self, queries: Float[Tensor, "m d"], count: int) -> tuple[Tensor, Tensor]:
        # The query's own square is the same for all rows and is left out.
        squares = self.squares - 2 * queries @ self.gallery.T
        spare = min(count + _SPARE, len(self.gallery))
        rows = squares.topk(spare, largest=False, sorted=False).indices
        return measured(queries, self.gallery, rows, count)

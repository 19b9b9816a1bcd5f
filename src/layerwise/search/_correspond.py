"""Correspondences: what is nearest there, how near, and whether the way back leads home.

The brick of everything that matches places: each row of one picture gets its nearest row of the
other by the cosine, and that row its nearest row back. Where the way there and back ends at its
start, the two are mutual nearest neighbours; where it does not, the distance between start and end
says how far off it is (the cycle check).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from layerwise.search._neighbours import Neighbours


@final
@dataclass(frozen=True)
class Matches:
    """The match of each query.

    Args:
        rows: the stored row that is nearest to it.
        scores: how near, up to 1.
        back: the query that is nearest to that stored row.
    """

    rows: Int[Tensor, " m"]
    scores: Float[Tensor, " m"]
    back: Int[Tensor, " m"]

    @property
    def mutual(self) -> Bool[Tensor, " m"]:
        """Whether the way back leads home."""
        return self.back == torch.arange(len(self.back), device=self.back.device)

    def cycle(self, places: Float[Tensor, "m 2"]) -> Float[Tensor, " m"]:
        """How far from home the way back leads.

        Args:
            places: of the queries.

        Example:
            >>> matches = correspond(torch.eye(2)[[0, 0, 1]], torch.eye(2))
            >>> matches.cycle(torch.tensor([[0.0, 0.0], [3.0, 4.0], [9.0, 9.0]])).tolist()
            [0.0, 5.0, 0.0]
        """
        return (places[self.back] - places).norm(dim=1)


def correspond(queries: Float[Tensor, "m d"], features: Float[Tensor, "n d"]) -> Matches:
    """Match rows by their direction, there and back.

    Args:
        queries: rows of one picture.
        features: rows of the other.

    Raises:
        LayerwiseError: one of them has no rows, or some are not finite.

    Example:
        >>> matches = correspond(torch.eye(3)[[2, 0]], torch.eye(3))
        >>> matches.rows.tolist(), matches.mutual.tolist()
        ([2, 0], [True, True])
    """
    there = Neighbours.fit(features)(queries, count=1)
    back = Neighbours.fit(queries)(features, count=1).rows[:, 0]
    found = there.rows[:, 0]
    # Of rows of length 1, half the squared distance is 1 minus the cosine.
    return Matches(found, 1 - there.distances[:, 0].square() / 2, back[found])

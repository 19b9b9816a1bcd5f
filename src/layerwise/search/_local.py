"""Local features of a picture, and what two pictures have in common by them.

A putative match is a nearest descriptor. What survives is what one affine map explains: RANSAC
draws three matches at a time, counts those that the map through them carries near enough, and
refits the best map to them. The number of these inliers says whether the pictures show one thing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor

from layerwise.errors import LayerwiseError
from layerwise.search._correspond import correspond
from layerwise.search._neighbours import Neighbours


@final
@dataclass(frozen=True)
class LocalFeatures:
    """Places of a picture that are worth describing, the most telling first.

    Args:
        places: in pixels to the right and down.
        sizes: side of the square that each describes, in pixels.
        scores: how telling each is.
        descriptors: of length 1.
    """

    places: Float[Tensor, "k 2"]
    sizes: Float[Tensor, " k"]
    scores: Float[Tensor, " k"]
    descriptors: Float[Tensor, "k d"]

    def verify(
        self,
        other: LocalFeatures,
        *,
        near: float = 20.0,
        least: float = 0.5,
        rounds: int = 1000,
        generator: Generator | None = None,
    ) -> Verified:
        """Match with another picture's and keep what one affine map explains.

        Args:
            other: the other picture's local features.
            near: pixels of the other picture within which a match is an inlier.
            least: cosine below which descriptors do not match.
            rounds: of RANSAC.
            generator: for its draws.

        Raises:
            LayerwiseError: one of the pictures has no local features.
        """
        matches = correspond(self.descriptors, other.descriptors)
        kept = (matches.mutual & (matches.scores >= least)).nonzero().flatten()
        rows = torch.stack([kept, matches.rows[kept]], 1)
        ends = self.places[rows[:, 0]], other.places[rows[:, 1]]
        affine, inliers = ransac(*ends, near=near, rounds=rounds, generator=generator)
        return Verified(rows, matches.scores[kept], inliers, affine)


@final
@dataclass(frozen=True)
class Verified:
    """What two pictures have in common.

    Args:
        rows: places of the one and of the other that match.
        scores: cosine of each match.
        inliers: whether the map explains the match.
        affine: takes homogeneous places of the one to places of the other; zeros where none was
            found.
    """

    rows: Int[Tensor, "m 2"]
    scores: Float[Tensor, " m"]
    inliers: Bool[Tensor, " m"]
    affine: Float[Tensor, "2 3"]

    @property
    def count(self) -> int:
        """How many matches the map explains: the score of the pair."""
        return int(self.inliers.sum())


def ransac(
    places: Float[Tensor, "m 2"],
    others: Float[Tensor, "m 2"],
    *,
    near: float = 20.0,
    rounds: int = 1000,
    generator: Generator | None = None,
) -> tuple[Float[Tensor, "2 3"], Bool[Tensor, " m"]]:
    """Find the affine map that carries most places near their others.

    Args:
        places: where matches begin.
        others: where they end.
        near: distance within which a match is an inlier.
        rounds: triples that are tried.
        generator: for the draws.

    Returns:
        The map, and which matches it explains; none where no three matches agree with a fourth.

    Example:
        >>> places = torch.rand(20, 2, generator=torch.Generator().manual_seed(0)) * 100
        >>> others = places * 2 + 5
        >>> others[:5] += 90
        >>> affine, inliers = ransac(places, others, near=1.0)
        >>> affine.round().int().tolist(), int(inliers.sum())
        ([[2, 0, 5], [0, 2, 5]], 15)
    """
    nothing = places.new_zeros(2, 3), torch.zeros(len(places), dtype=torch.bool)
    if len(places) < 4:
        return nothing
    generator = generator or Generator().manual_seed(0)
    draws = torch.rand(rounds, len(places), generator=generator).topk(3, dim=1).indices
    points = torch.cat([places, torch.ones_like(places[:, :1])], 1).double()
    corners = points[draws]
    # Three points in a line, or turned inside out by the map, tell nothing.
    solvable = corners.det().abs() > 1.0
    maps = torch.linalg.solve(corners[solvable], others.double()[draws[solvable]])
    maps = maps[maps[:, :2].det() > 0]
    if len(maps) == 0:
        return nothing
    inside = (points @ maps - others).norm(dim=2) <= near
    best = inside[inside.sum(1).argmax()]
    if best.sum() < 4:
        return nothing
    fitted = torch.linalg.lstsq(points[best], others[best].double()).solution
    inliers = (points @ fitted - others).norm(dim=1) <= near
    return fitted.T.to(places.dtype), inliers


@final
class LocalIndex:
    """Finds stored pictures by their local features: votes first, then geometry. Build with `of`.

    Example:
        >>> places = torch.rand(3, 9, 2, generator=torch.Generator().manual_seed(0)) * 99
        >>> rows = torch.nn.functional.one_hot(torch.arange(27)).float().unflatten(0, (3, 9))
        >>> ones = torch.ones(9)
        >>> pictures = [LocalFeatures(p, ones, ones, r) for p, r in zip(places, rows)]
        >>> ranking = LocalIndex.of(pictures)(pictures[1])
        >>> ranking.pictures[0].item(), ranking.inliers[0].item()
        (1, 9)
    """

    def __init__(self, pictures: Sequence[LocalFeatures], index: Neighbours) -> None:
        self.pictures = tuple(pictures)
        self.index = index
        owner = [torch.full((len(p.places),), i) for i, p in enumerate(pictures)]
        self.owner = torch.cat(owner)

    @classmethod
    def of(cls, pictures: Sequence[LocalFeatures]) -> LocalIndex:
        """Store pictures.

        Raises:
            LayerwiseError: there are none, or they have no local features.
        """
        if not pictures:
            raise LayerwiseError("there are no pictures to search; give at least one")
        return cls(pictures, Neighbours.fit(torch.cat([p.descriptors for p in pictures])))

    def __call__(
        self,
        query: LocalFeatures,
        *,
        neighbours: int = 60,
        verified: int = 10,
        near: float = 20.0,
        reject: int = 0,
    ) -> Ranking:
        """Rank the pictures that may show what the query shows.

        Args:
            query: local features of a picture.
            neighbours: stored descriptors that each of the query's votes for.
            verified: pictures of most votes that are looked at with geometry.
            near: pixels within which a match is an inlier.
            reject: pictures of fewer inliers are left out, so that a query that shows nothing
                stored finds nothing.

        Raises:
            LayerwiseError: the query is not finite.
        """
        found = self.index(query.descriptors, count=min(neighbours, len(self.owner)))
        near_enough = found.distances.square() < 1.0  # cosine above one half
        # A stored picture gets one vote from each place of the query, not one for each neighbour.
        votes = torch.zeros(len(query.places), len(self.pictures))
        votes.scatter_reduce_(1, self.owner[found.rows], near_enough.float(), "amax")
        first = votes.sum(0).argsort(descending=True, stable=True)[:verified]
        counts = torch.tensor(
            [query.verify(self.pictures[int(i)], near=near).count for i in first], dtype=torch.long
        )
        order = counts.argsort(descending=True, stable=True)
        order = order[counts[order] >= reject]
        return Ranking(first[order], counts[order])


@final
@dataclass(frozen=True)
class Ranking:
    """Stored pictures, the likeliest first.

    Args:
        pictures: their numbers.
        inliers: matches with the query that one affine map explains.
    """

    pictures: Int[Tensor, " r"]
    inliers: Int[Tensor, " r"]

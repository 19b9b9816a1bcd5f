"""PatchCore: a place is anomalous if no normal place has ever looked like it.

The places of normal maps, each averaged with its neighbours, are thinned out to a coreset: again
and again the place farthest from all chosen ones joins it (greedy k-centre, Equation 5), measured
after a random projection. A place's score is its distance to the nearest place of the coreset. A
picture's score is that of its worst place, weighted down where the normal place it is nearest to
lies in a sparse region anyway (Equation 7). Ours: the coreset begins with the place farthest from
the mean, so that nothing but the projection is drawn at random; distances are taken in chunks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from layerwise._paper import paper
from layerwise.errors import LayerwiseError
from layerwise.features._finite import require_finite
from layerwise.search._neighbours import Neighbours

_PROJECTED = 128


@final
@dataclass(frozen=True)
class Anomalous:
    """How anomalous pictures and their places are; larger is worse.

    Args:
        scores: of each picture.
        places: of each place.
    """

    scores: Float[Tensor, " n"]
    places: Float[Tensor, "n h w"]


@final
@paper("Towards Total Recall in Industrial Anomaly Detection", year=2022, arxiv="2106.08265")
class PatchCore(nn.Module):
    """Tells places that look like no normal one. Build it with `fit`.

    Args:
        memory: the coreset of normal places.
        near: normal places that say how sparse a region is.

    Example:
        >>> normal = torch.rand(4, 3, 5, 5, generator=torch.Generator().manual_seed(0))
        >>> odd = normal.clone()
        >>> odd[2, :, 1:4, 1:4] += 5
        >>> PatchCore.fit(normal)(odd).scores.argmax().item()
        2
    """

    memory: Float[Tensor, "m c"]

    def __init__(self, memory: Float[Tensor, "m c"], *, near: int = 9) -> None:
        super().__init__()
        self.register_buffer("memory", memory)
        self.near = near

    @classmethod
    def fit(
        cls,
        feature_map: Float[Tensor, "n c h w"],
        *,
        part: float = 0.1,
        near: int = 9,
        generator: torch.Generator | None = None,
    ) -> PatchCore:
        """Remember normal places.

        Args:
            feature_map: of normal pictures; several layers are joined by `stacked`.
            part: of all places that is kept.
            near: normal places that say how sparse a region is.
            generator: draws the projection; without it, one of seed 0.

        Raises:
            LayerwiseError: there are no pictures, the maps are not finite, or an option is out of
                range.
        """
        if feature_map.numel() == 0:
            raise LayerwiseError("there are no normal pictures to learn from; give at least one")
        require_finite(feature_map, "maps")
        if not (0 < part <= 1 and near >= 1):
            raise LayerwiseError(f"part={part}, near={near}: give a part of 1, and at least 1")
        places = averaged(feature_map).flatten(0, 1)
        count = max(1, round(part * len(places)))
        return cls(places[coreset(places, count, generator=generator)], near=near)

    def forward(self, feature_map: Float[Tensor, "n c h w"]) -> Anomalous:
        """Judge pictures.

        Args:
            feature_map: of the same layers.

        Raises:
            LayerwiseError: the maps are not finite, or have other channels.
        """
        require_finite(feature_map, "maps")
        if feature_map.shape[1] != self.memory.shape[1]:
            raise LayerwiseError(
                f"maps of {feature_map.shape[1]} channels, but {self.memory.shape[1]} were "
                "learned; read the same layers"
            )
        places = averaged(feature_map)
        nearest = Neighbours.fit(self.memory, cosine=False)
        found = nearest(places.flatten(0, 1), count=1)
        distances = found.distances.view(places.shape[:2])
        if len(places) == 0:
            return Anomalous(distances.sum(1), distances.view(-1, *feature_map.shape[2:]))
        worst = distances.argmax(1)
        rows = torch.arange(len(places), device=places.device)
        at = found.rows.view(places.shape[:2])[rows, worst]
        around = self.memory[nearest(self.memory[at], count=min(self.near, len(self.memory))).rows]
        far = (places[rows, worst].unsqueeze(1) - around).square().sum(2).sqrt()
        score = distances[rows, worst]
        sparse = (
            1 - (score - far.logsumexp(1)).exp() if far.shape[1] > 1 else torch.ones_like(score)
        )
        return Anomalous(sparse * score, distances.view(-1, *feature_map.shape[2:]))


def coreset(
    features: Float[Tensor, "n d"], count: int, *, generator: torch.Generator | None = None
) -> Int[Tensor, " k"]:
    """Rows that together lie near to all others: greedily the farthest from those chosen.

    Args:
        features: one row per place.
        count: how many to choose.
        generator: draws the projection of wide rows; without it, one of seed 0.

    Raises:
        LayerwiseError: `count` is not within the rows.

    Example:
        >>> coreset(torch.tensor([[0.0], [0.1], [9.0], [9.3]]), 2).tolist()
        [3, 0]
    """
    if not 1 <= count <= len(features):
        raise LayerwiseError(f"count={count} of {len(features)} rows; give 1 to {len(features)}")
    rows = features - features.mean(0)
    if rows.shape[1] > _PROJECTED:
        generator = generator or torch.Generator().manual_seed(0)
        drawn = torch.randn(rows.shape[1], _PROJECTED, generator=generator).to(rows)
        rows = rows @ drawn / _PROJECTED**0.5
    squares = rows.square().sum(1)
    chosen = [int(squares.argmax())]
    left = torch.full_like(squares, torch.inf)
    while len(chosen) < count:
        new = rows[chosen[-1]]
        left = torch.minimum(left, squares - 2 * (rows @ new) + squares[chosen[-1]])
        left[chosen[-1]] = -1.0
        chosen.append(int(left.argmax()))
    return torch.tensor(chosen, device=features.device)


def stacked(maps: Sequence[Float[Tensor, "n _ _ _"]]) -> Float[Tensor, "n c h w"]:
    """Maps of several layers side by side, on the finest of their grids.

    Args:
        maps: of the same pictures.

    Raises:
        LayerwiseError: there are none.

    Example:
        >>> stacked([torch.zeros(2, 3, 8, 8), torch.zeros(2, 5, 4, 4)]).shape
        torch.Size([2, 8, 8, 8])
    """
    if not maps:
        raise LayerwiseError("there are no maps to join; give one for each layer")
    finest = max(maps, key=lambda each: each.shape[2] * each.shape[3]).shape[2:]
    grown = [nn.functional.interpolate(each, finest, mode="bilinear") for each in maps]
    return torch.cat(grown, 1)


def averaged(feature_map: Float[Tensor, "n c h w"]) -> Float[Tensor, "n p c"]:
    """Places averaged with their neighbours.

    Beyond the border stand zeros that count, as in the authors' code: a mean of fewer places would
    scatter more, and the border of a normal picture would look stranger than most defects.
    """
    mixed = nn.functional.avg_pool2d(feature_map, 3, 1, 1)
    return mixed.flatten(2).transpose(1, 2)

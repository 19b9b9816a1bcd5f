"""Does a layer say the same of one point of the world when it is seen from elsewhere?

Every foreground place of one view is matched to the place of another whose features have the
highest cosine; of these the most distinct are kept, by the ratio of the distances to the nearest
and the second nearest (P118). The world point behind the match says how far off it is.

Two things are ours. Only places whose point the other view shows as well, `within` the distance
that counts as right, are matched: what is hidden says nothing about features. And beside the recall
stands what blind choice would have got among as many places, as large bodies make it easy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from layerwise.errors import LayerwiseError


@final
@dataclass(frozen=True)
class ViewMatches:
    """Matches between two views.

    Args:
        errors: distance in the world between the two points of each match, the surest match first.
        recall: share of matches whose error is within the limit; NaN where nothing could match.
        chance: that share for places chosen blindly.
    """

    errors: Float[Tensor, " k"]
    recall: Float[Tensor, ""]
    chance: Float[Tensor, ""]


def match_views(
    first: Float[Tensor, "c h w"],
    second: Float[Tensor, "c i j"],
    points: Float[Tensor, "3 h w"],
    other_points: Float[Tensor, "3 i j"],
    *,
    within: float,
    keep: int = 1000,
) -> ViewMatches:
    """Match the places of one view with those of another.

    Args:
        first: features of one view.
        second: features of the other.
        points: world point behind each place of the first, NaN where it is background.
        other_points: that of the second.
        within: largest distance in the world at which a match is right.
        keep: how many matches count, the most distinct ones.

    Raises:
        LayerwiseError: features and points of different sizes, or features that are not finite.

    Example:
        >>> points = torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(0))
        >>> match_views(points - 0.5, points - 0.5, points, points, within=0.01).recall.item()
        1.0
    """
    for features, world in ((first, points), (second, other_points)):
        if features.shape[1:] != world.shape[1:]:
            raise LayerwiseError(
                f"features of {tuple(features.shape[1:])} places beside points of "
                f"{tuple(world.shape[1:])}; give a point for each place"
            )
        if not features.isfinite().all():
            raise LayerwiseError("the features of a view hold NaN or infinity; read it again")
    here, from_ = _foreground(first, points)
    there, to = _foreground(second, other_points)
    apart = torch.cdist(from_, to)
    shown = (apart <= within).any(1)
    here, apart = here[shown], apart[shown]
    if len(apart) == 0:
        none = from_.new_full((), torch.nan)
        return ViewMatches(from_.new_empty(0), none, none)
    distance = 1 - nn.functional.normalize(here, dim=1) @ nn.functional.normalize(there, dim=1).T
    nearest = distance.topk(min(2, len(there)), largest=False)
    ratio = nearest.values[:, 0] / nearest.values[:, -1].clamp(min=1e-9)
    surest = ratio.argsort(stable=True)[:keep]
    errors = apart.gather(1, nearest.indices[:, :1])[surest, 0]
    return ViewMatches(
        errors=errors,
        recall=(errors <= within).to(errors).mean(),
        chance=(apart <= within).to(errors).mean(),
    )


def _foreground(features: Tensor, points: Tensor) -> tuple[Float[Tensor, "k c"], Tensor]:
    seen = ~points.isnan().any(0)
    return features[:, seen].T, points[:, seen].T.to(features.dtype)

"""Places that two pictures share, found with any layer of any network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from jaxtyping import Float
from torch import Tensor

from layerwise.errors import LayerwiseError
from layerwise.models import Network
from layerwise.search._correspond import correspond
from layerwise.search._dense import centres, dense, rows


@final
@dataclass(frozen=True)
class PictureMatches:
    """Pairs of places, the surest first.

    Args:
        places: in the one picture, in pixels to the right and down.
        others: in the other.
        scores: how sure each pair is.
    """

    places: Float[Tensor, "m 2"]
    others: Float[Tensor, "m 2"]
    scores: Float[Tensor, " m"]


def match_pictures(
    network: Network,
    image: Float[Tensor, "n 3 H W"],
    partner: Float[Tensor, "n 3 H W"],
    *,
    layer: str = "60%",
    size: tuple[int, int] | None = None,
    astray: float = 0.0,
) -> list[PictureMatches]:
    """Match places that are each other's nearest by the cosine of a layer.

    Args:
        network: any network whose layer has places.
        image: pictures, prepared for it.
        partner: for each of them the picture to match with.
        layer: what describes the places.
        size: rows and columns of places; those of the layer without it.
        astray: how many pixels the way there and back may end from its start.

    Raises:
        LayerwiseError: no pictures, not as many partners, or values that are not finite.

    Example:
        >>> import torch, layerwise
        >>> module = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 4, stride=4), torch.nn.ReLU())
        >>> network = layerwise.open(module, example=torch.zeros(1, 3, 16, 16))
        >>> image = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
        >>> matches = match_pictures(network, image, image, layer="0")[0]
        >>> bool((matches.places == matches.others).all()), len(matches.places)
        (True, 16)
    """
    require_pairs(image, partner)
    one, other = (dense(network, x, layer=layer, size=size) for x in (image, partner))
    there = centres(one, (image.shape[2], image.shape[3]))
    here = centres(other, (partner.shape[2], partner.shape[3]))
    found = []
    for mine, theirs in zip(rows(one), rows(other), strict=True):
        matches = correspond(mine, theirs)
        kept = (matches.cycle(there) <= astray).nonzero().flatten()
        kept = kept[matches.scores[kept].argsort(descending=True, stable=True)]
        found.append(PictureMatches(there[kept], here[matches.rows[kept]], matches.scores[kept]))
    return found


def require_pairs(image: Tensor, partner: Tensor) -> None:
    """Refuse pictures without partners.

    Raises:
        LayerwiseError: not as many.
    """
    if len(image) != len(partner):
        raise LayerwiseError(
            f"{len(image)} pictures and {len(partner)} partners; give one partner for each"
        )

"""Places that two pictures share, in the pictures' own pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from layerwise.data import Samples, Unreadable
from layerwise.errors import LayerwiseError
from layerwise.models import ImagePreparation, Network
from layerwise.search._dense import one_layer
from layerwise.search._picture_matches import PictureMatches, match_pictures

if TYPE_CHECKING:
    from PIL import Image

Place = tuple[float, float]
"""Pixels to the right and down."""


@final
@dataclass(frozen=True)
class Matched:
    """Two pictures and the places they share.

    Args:
        pictures: as the network saw them: resized, and cut to its size.
        pairs: place in the one, place in the other, and their cosine; the surest first.
        count: places that were looked at.
        layer: what described them.
    """

    pictures: tuple[Image.Image, Image.Image]
    pairs: tuple[tuple[Place, Place, float], ...]
    count: int
    layer: str

    @classmethod
    def of(
        cls,
        pictures: tuple[Image.Image, Image.Image],
        found: PictureMatches,
        *,
        count: int,
        layer: str,
    ) -> Matched:
        """Put matches that anything found in order, the surest first, so that they can be drawn.

        Args:
            pictures: in whose pixels the places lie.
            found: their matches, as of `match_pictures`, `LoFTR` or `LiftedDescriptor`.
            count: places that were looked at.
            layer: what described them, in words.

        Example:
            >>> import torch
            >>> from PIL import Image
            >>> places = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
            >>> found = PictureMatches(places, places, torch.tensor([0.25, 0.75]))
            >>> blank = Image.new("RGB", (8, 8))
            >>> Matched.of((blank, blank), found, count=4, layer="0").pairs[0]
            ((3.0, 4.0), (3.0, 4.0), 0.75)
        """
        order = found.scores.argsort(descending=True, stable=True)
        rows = (each[order].tolist() for each in (found.places, found.others, found.scores))
        pairs = zip(*rows, strict=True)
        return cls(
            pictures, tuple(((x, y), (u, v), s) for (x, y), (u, v), s in pairs), count, layer
        )


def match_samples(network: Network, one: Samples, other: Samples, *, layer: str = "60%") -> Matched:
    """Match the first picture of each by their mutual nearest places.

    Args:
        network: any network of pictures whose layer has places.
        one: a picture.
        other: the picture to match it with.
        layer: address, or a pattern that picks one layer.

    Raises:
        LayerwiseError: what cannot be read as a picture, another kind of network, or a layer
            without places.
    """
    pictures = []
    for samples in (one, other):
        if samples.modality != "image" or network.modality != "image":
            raise LayerwiseError(
                f"{network.name} and {samples.source!r}: places are matched in pictures, by a "
                "network of pictures"
            )
        try:
            pictures.append(samples.load(0))
        except Unreadable as reason:
            raise LayerwiseError(f"{samples.names[0]} cannot be read: {reason}") from None
    inputs = [network.batch([network.prepare(picture)]) for picture in pictures]
    found = match_pictures(network, inputs[0], inputs[1], layer=layer)[0]  # type: ignore[arg-type]
    chosen = one_layer(network, layer)
    count = 1
    for axis in chosen.sure.grid or ():
        count *= axis
    one_seen, other_seen = (_seen(network, picture) for picture in pictures)
    return Matched.of((one_seen, other_seen), found, count=count, layer=chosen.name)


def _seen(network: Network, picture: Image.Image) -> Image.Image:
    """The picture as the network sees it, so that places lie where they belong."""
    from PIL import Image

    prepare = network.prepare
    if not isinstance(prepare, ImagePreparation):
        return picture
    import torch

    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (prepare.mean, prepare.std))
    pixels = ((prepare(picture) * std + mean).clamp(0, 1) * 255).round().byte()
    return Image.fromarray(pixels.permute(1, 2, 0).numpy())

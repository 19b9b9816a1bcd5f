"""Does a place of a layer still say what lies there in the picture?

For every place of a layer and every patch of the input, CKA over many pictures: a layer that keeps
places apart is most like the patch beneath each of them. Vision transformers with a class token
keep that to the end, global average pooling lets it go. Ours: patches are shrunk to 8 x 8 pixels,
so that the patch of any grid is a vector of the same length, and a large map is averaged to fewer
places first, because the work grows with the square of their number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from layerwise._paper import paper
from layerwise.measures._cka import cka
from layerwise.measures._on_grid import on_grid
from layerwise.models import Network

_PATCH = 8


@final
@dataclass(frozen=True)
class Localisation:
    """Likeness of the places of a layer to the patches of the input.

    Args:
        layer: its address.
        grid: rows and columns of its places, and of the patches.
        similarity: CKA of each place (rows) with each patch; NaN for what never changes.
    """

    layer: str
    grid: tuple[int, int]
    similarity: Float[Tensor, "p p"]

    @property
    def found(self) -> Float[Tensor, ""]:
        """Share of places that are most like their own patch; 1 over their number by chance."""
        own = torch.arange(len(self.similarity), device=self.similarity.device)
        return (self._best() == own).to(self.similarity).mean()

    @property
    def distance(self) -> Float[Tensor, ""]:
        """Mean way from a place to the patch that it is most like, in places."""
        rows, columns = (torch.arange(float(size)) for size in self.grid)
        at = torch.cartesian_prod(rows, columns).to(self.similarity)
        return (at[self._best()] - at).norm(dim=1).mean()

    def _best(self) -> Tensor:
        return self.similarity.nan_to_num(-torch.inf).argmax(1)


@paper(
    "Do Vision Transformers See Like Convolutional Neural Networks?",
    year=2021,
    arxiv="2108.08810",
    no=(219,),
)
def localisation(
    network: Network, image: Float[Tensor, "n 3 H W"], *, layer: str = "100%", side: int = 16
) -> Localisation:
    """Compare the places of one layer with the patches of the input.

    Args:
        network: of pictures.
        image: at least 4, better 50 or more: over few pictures everything is alike by chance.
        layer: an address, or a pattern that picks one; the last block by default.
        side: most rows and columns of places.

    Raises:
        LayerwiseError: too few pictures, no such layer or several, or one without places.

    Example:
        >>> from layerwise.vocabulary import examples
        >>> found = localisation(**examples(localisation), layer="0")
        >>> found.grid, found.similarity.shape
        ((8, 8), torch.Size([64, 64]))
    """
    seen = on_grid(network, image, layer, side=side)
    patches = _patches(image, seen.grid).to(seen.places.dtype)
    similarity = cka(list(seen.places.unbind(1)), list(patches.unbind(1)))
    return Localisation(seen.layer, seen.grid, similarity)


def _patches(image: Float[Tensor, "n 3 H W"], grid: tuple[int, ...]) -> Float[Tensor, "n p k"]:
    """The picture in as many patches as the layer has places, row by row."""
    size = [_PATCH * side for side in grid]
    small = functional.interpolate(image, size=size, mode="area")
    return functional.unfold(small, _PATCH, stride=_PATCH).transpose(1, 2)

"""Deep feature factorization: what a layer sees as alike, as heat maps over pictures (P244).

All places of all pictures are the rows of one matrix, and a non-negative factorisation with few
parts groups them: a row of parts is a concept, its scores laid out again are that concept's heat
map in each picture. The paper takes the last ReLU layer of a VGG; any layer with places will do,
as `NonNegative` says. New pictures are scored with the parts held fixed. Concepts of a coarse and a
fine factorisation are matched by cosine, which draws the paper's hierarchy (`parents`).
"""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from layerwise._paper import paper
from layerwise.errors import LayerwiseError
from layerwise.explain._nonnegative import NonNegative


@final
@paper(
    "Deep Feature Factorization For Concept Discovery",
    year=2018,
    arxiv="1806.10206",
    no=(244,),
)
class DeepFeatureFactorization(nn.Module):
    """Finds concepts in the maps of a layer, and where they are. Build it with `fit`.

    Args:
        factors: of the places of all pictures it was fitted to.

    Example:
        >>> maps = torch.zeros(1, 3, 2, 2)
        >>> maps[0, 0, :, 0], maps[0, 1:, :, 1] = 5.0, 2.0
        >>> DeepFeatureFactorization.fit(maps, count=2).segment(maps).tolist()
        [[[0, 1], [0, 1]]]
    """

    def __init__(self, factors: NonNegative) -> None:
        super().__init__()
        self.factors = factors

    @classmethod
    def fit(
        cls, feature_map: Float[Tensor, "n c h w"], *, count: int = 4, iterations: int = 200
    ) -> DeepFeatureFactorization:
        """Factorise the places of all pictures together.

        Args:
            feature_map: what a layer gives for the pictures, as `read` or `taps.on_grid` gives it.
            count: concepts, 2 to 10 in the paper.
            iterations: most rounds of the factorisation.

        Raises:
            LayerwiseError: no pictures, maps that are not finite, or `count` below 1.
        """
        return cls(NonNegative.fit(_places(feature_map), count=count, iterations=iterations))

    @property
    def concepts(self) -> Float[Tensor, "k c"]:
        """The concepts as directions of the layer, of length 1, the most used first."""
        return self.factors.parts

    @property
    def error(self) -> Float[Tensor, ""]:
        """Share of the fitted maps' length that the concepts leave out."""
        return self.factors.error

    def forward(
        self, feature_map: Float[Tensor, "m c h w"], *, size: tuple[int, int] | None = None
    ) -> Float[Tensor, "m k y x"]:
        """Heat map of each concept in each picture.

        Args:
            feature_map: what the layer gives for any pictures.
            size: height and width that the heat maps are brought to, bilinearly.

        Raises:
            LayerwiseError: the maps are not finite.
        """
        n, _, h, w = feature_map.shape
        heat = self.factors(_places(feature_map)).unflatten(0, (n, h, w)).permute(0, 3, 1, 2)
        return heat if size is None else nn.functional.interpolate(heat, size, mode="bilinear")

    def segment(
        self, feature_map: Float[Tensor, "m c h w"], *, size: tuple[int, int] | None = None
    ) -> Int[Tensor, "m y x"]:
        """The strongest concept of each place. Arguments and errors as in `forward`."""
        return self(feature_map, size=size).argmax(dim=1)

    def restore(self, heat: Float[Tensor, "m k h w"]) -> Float[Tensor, "m c h w"]:
        """The maps that some heat maps stand for."""
        return torch.einsum("mkhw,kc->mchw", heat, self.factors.parts)

    def parents(self, coarse: DeepFeatureFactorization) -> Int[Tensor, " k"]:
        """The concept of a coarser factorisation that each of these is most like.

        Raises:
            LayerwiseError: the other belongs to a layer of another width.
        """
        mine, theirs = self.concepts, coarse.concepts
        if mine.shape[1] != theirs.shape[1]:
            raise LayerwiseError(
                f"concepts of {mine.shape[1]} channels have no parents among those of "
                f"{theirs.shape[1]}; factorise the same layer twice"
            )
        return (mine @ theirs.T).argmax(dim=1)


def _places(feature_map: Float[Tensor, "n c h w"]) -> Float[Tensor, "n*h*w c"]:
    return feature_map.permute(0, 2, 3, 1).flatten(0, 2)

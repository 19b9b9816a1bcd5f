"""DELF: local features of a picture from a layer's map at several scales (P226).

Every cell of the map, at every scale of an image pyramid, is a place with a descriptor. A small
net of two 1x1 convolutions scores the cells: it is trained on image labels, descriptors frozen, as
the weights of their sum, `logits = W sum_i phi(f_i) f_i`. The cells of highest score are kept,
brought to length 1, rotated onto 40 principal components and brought to length 1 again; weaker
cells close to a kept one of the same scale are dropped. `LocalIndex` searches with them.

Without labels a cell's score is its length after the mean over all cells is taken away (the paper's
descriptor norm; without the mean ours keeps the cells with the most common content). Descriptors
are those of the given network; the paper tunes them on landmarks first. A cell's place is the
middle of its share of the picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn

from layerwise._paper import paper
from layerwise.errors import LayerwiseError
from layerwise.features import Whiten
from layerwise.models import Network
from layerwise.search._attention import CellAttention, Norm
from layerwise.search._dense import centres, dense, rows
from layerwise.search._local import LocalFeatures

SCALES = tuple(2 ** (i / 2 - 2) for i in range(7))
"""0.25 to 2 in steps of the square root of 2."""


@final
@paper(
    "Large-Scale Image Retrieval with Attentive Deep Local Features",
    year=2017,
    arxiv="1612.06321",
    no=(226,),
)
class Delf(nn.Module):
    """Extracts attentive local features. Build it with `fit`.

    Args:
        reduce: onto the leading principal components of cells of length 1.
        attention: scores cells.
        layer: whose cells are described.
        scales: of the image pyramid.

    Example:
        >>> import layerwise
        >>> module = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU())
        >>> network = layerwise.open(module, example=torch.zeros(1, 3, 16, 16))
        >>> image = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
        >>> delf = Delf.fit(network, image, layer="1", scales=(1.0,), dims=4)
        >>> [one.descriptors.shape for one in delf(network, image, count=10)]
        [torch.Size([10, 4]), torch.Size([10, 4])]
    """

    def __init__(
        self,
        reduce: Whiten,
        attention: CellAttention | Norm,
        *,
        layer: str,
        scales: Sequence[float] = SCALES,
    ) -> None:
        super().__init__()
        self.reduce = reduce
        self.attention = attention
        self.layer = layer
        self.scales = tuple(scales)

    @classmethod
    def fit(
        cls,
        network: Network,
        image: Float[Tensor, "n 3 H W"],
        *,
        labels: Int[Tensor, " n"] | None = None,
        layer: str = "60%",
        scales: Sequence[float] = SCALES,
        dims: int = 40,
        steps: int = 200,
        generator: Generator | None = None,
    ) -> Delf:
        """Learn the principal components and, from labels, which cells matter.

        Args:
            network: any network whose layer has places.
            image: pictures, prepared for the network.
            labels: class of each picture; without them, the descriptors' length is the score.
            layer: whose cells are described; the paper takes a late stage of stride 16.
            scales: of the image pyramid.
            dims: principal components, as far as there are so many.
            steps: of training the attention.
            generator: for its start and batches.

        Raises:
            LayerwiseError: no pictures, none that are finite, a layer without places, or labels
                that do not match.
        """
        if not scales or min(scales) <= 0:
            raise LayerwiseError(f"scales={list(scales)} must be positive and at least one")
        pyramid = [dense(network, _scaled(image, scale), layer=layer) for scale in scales]
        cells = torch.cat([rows(maps).flatten(0, 1) for maps in pyramid])
        few = cells[:: max(1, len(cells) // 50_000)]
        unit = nn.functional.normalize(few, dim=1)
        reduce = Whiten.fit(unit, keep=min(dims, unit.shape[1], max(1, len(unit) - 1)))
        if labels is None:
            return cls(reduce, Norm(cells.mean(0)), layer=layer, scales=scales)
        attention = CellAttention.fit(
            [rows(maps) for maps in pyramid], labels, steps=steps, generator=generator
        )
        return cls(reduce, attention, layer=layer, scales=scales)

    def forward(
        self,
        network: Network,
        image: Float[Tensor, "n 3 H W"],
        *,
        count: int = 1000,
        apart: float = 0.0,
    ) -> list[LocalFeatures]:
        """Extract the local features of each picture.

        Args:
            network: the one that was fitted.
            image: pictures, prepared for it.
            count: how many places to keep.
            apart: cells of one scale nearer than so many of their own sides to a better one are
                dropped; 0 keeps all.

        Raises:
            LayerwiseError: no pictures, or they are not finite.
        """
        size = (image.shape[-2], image.shape[-1])
        found: list[list[Tensor]] = [[] for _ in image]
        for scale in self.scales:
            maps = dense(network, _scaled(image, scale), layer=self.layer)
            cells, places = rows(maps), centres(maps, size)
            scores = self.attention(cells)
            side = places.new_full((len(places), 1), size[0] / maps.shape[-2])
            for i, score in enumerate(scores):
                free = _suppressed(maps[i].shape[-2:], score, apart)
                parts = [places, side, score[:, None], cells[i]]
                found[i].append(torch.cat(parts, 1)[free])
        return [self._best(torch.cat(parts), count) for parts in found]

    def _best(self, table: Float[Tensor, "k w"], count: int) -> LocalFeatures:
        # Scores that differ in the fifth digit only stand in the order of their places: which of
        # them is larger may depend on the processor.
        told = (table[:, 3] / table[:, 3].abs().amax().clamp(min=1e-12) * 1e4).floor()
        best = table[told.argsort(descending=True, stable=True)[:count]]
        unit = nn.functional.normalize(best[:, 4:], dim=1)
        # The paper rotates and does not whiten: directions of little variance stay small.
        reduced = (unit - self.reduce.mean) @ nn.functional.normalize(self.reduce.weight, dim=0)
        descriptors = nn.functional.normalize(reduced, dim=1)
        return LocalFeatures(best[:, :2], best[:, 2], best[:, 3], descriptors)


def _scaled(image: Float[Tensor, "n 3 H W"], scale: float) -> Tensor:
    """The picture at another size, its sides whole pixels."""
    if scale == 1.0 or len(image) == 0:
        return image
    size = [max(1, round(side * scale)) for side in image.shape[-2:]]
    return nn.functional.interpolate(image, size, mode="bilinear", antialias=scale < 1)


def _suppressed(grid: Sequence[int], score: Float[Tensor, " t"], apart: float) -> Tensor:
    """Which cells have no better one within `apart` cells."""
    reach = int(apart)
    if reach == 0:
        return torch.ones_like(score, dtype=torch.bool)
    maps = score.unflatten(0, tuple(grid))[None, None]
    best = nn.functional.max_pool2d(maps, 2 * reach + 1, stride=1, padding=reach)
    return (maps == best).flatten()

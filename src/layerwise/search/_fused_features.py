"""Dense features of several layers or networks as one, for matching (P201).

Rows are places. Each layer's rows are projected onto the principal components of both pictures
together, so that they stay comparable, brought to length 1 and weighted; set side by side, the dot
product of two places is the sum of `weight^2 cosine` over the layers. In the paper three layers of
Stable Diffusion (256 components each) and the last of DINOv2 count half each; any layers of any
networks may stand in, read with `dense` at one `size`. What the paper joins into one block before
it is brought to length 1 is here one layer each, with a weight of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from layerwise._paper import paper
from layerwise.errors import LayerwiseError, unknown
from layerwise.fuse._layers import Layers, pick, require_layers
from layerwise.search._correspond import Matches, correspond
from layerwise.search._rotate import rotate


@final
@paper(
    "A Tale of Two Features: Stable Diffusion Complements DINO for Zero-Shot Semantic "
    "Correspondence",
    year=2023,
    arxiv="2305.15347",
    no=(201,),
)
class FusedFeatures(nn.Module):
    """Joins places of several layers so that cosines are averaged. Build it with `fit`.

    Attributes:
        layers: addresses, in the order of the blocks.
        weights: of each block.
        means: of each layer's rows; zeros where it is not projected.
        axes: principal components of each layer; None where it is not projected.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> layers = {"a": torch.randn(30, 4, generator=generator),
        ...           "b": torch.randn(30, 6, generator=generator)}
        >>> fused = FusedFeatures.fit(layers)
        >>> fused(layers).shape
        torch.Size([30, 10])
        >>> bool(fused.match(layers, layers).mutual.all())
        True
    """

    weights: Float[Tensor, " l"]

    def __init__(
        self,
        layers: tuple[str, ...],
        weights: Float[Tensor, " l"],
        blocks: Mapping[str, tuple[Tensor, Tensor] | None],
    ) -> None:
        super().__init__()
        self.layers = layers
        self.register_buffer("weights", weights)
        for i, name in enumerate(layers):
            mean, axes = blocks[name] or (None, None)
            self.register_buffer(f"mean{i}", mean)
            self.register_buffer(f"axes{i}", axes)

    @classmethod
    def fit(
        cls,
        layers: Layers,
        *,
        weights: Mapping[str, float] | None = None,
        keep: int | Mapping[str, int] | None = None,
    ) -> FusedFeatures:
        """Find the principal components.

        Args:
            layers: places of both pictures, one after the other, as each layer describes them.
            weights: of each layer; equal ones that add up to 1 without it.
            keep: how many components, of every layer or of some; without it, and of the others,
                features stay as they are.

        Raises:
            LayerwiseError: no layers, rows that do not match or are not finite, a weight that is
                negative or of no layer, or `keep` below 1.
        """
        require_layers(layers)
        names = tuple(layers)
        given = dict.fromkeys(names, 1 / len(names)) if weights is None else weights
        kept = (
            keep
            if isinstance(keep, Mapping)
            else {}
            if keep is None
            else dict.fromkeys(names, keep)
        )
        for name in (*given, *kept):
            if name not in layers:
                raise unknown("layer given", name, names)
        if min(given.values()) < 0 or max(given.values()) <= 0 or min(kept.values(), default=1) < 1:
            raise LayerwiseError(
                f"weights={dict(given)} and keep={dict(kept)}: weights must not be negative nor "
                "all zero, and at least 1 component is kept"
            )
        some = next(iter(layers.values()))
        share = some.new_tensor([given.get(name, 0.0) for name in names])
        blocks = {
            name: _components(rows, kept[name]) if name in kept else None
            for name, rows in layers.items()
        }
        return cls(names, share, blocks)

    def forward(self, layers: Layers) -> Float[Tensor, "n w"]:
        """Join places.

        Args:
            layers: places of one picture or several, as each layer describes them.

        Raises:
            LayerwiseError: a layer is missing, or its rows do not match or are not finite.
        """
        parts = []
        for i, rows in enumerate(pick(layers, self.layers)):
            mean, axes = getattr(self, f"mean{i}"), getattr(self, f"axes{i}")
            projected = rows if axes is None else (rows - mean) @ axes
            parts.append(self.weights[i] * nn.functional.normalize(projected, dim=1))
        return torch.cat(parts, 1)

    def match(self, layers: Layers, others: Layers) -> Matches:
        """Match the places of one picture with those of another.

        Args:
            layers: places of the one.
            others: places of the other.

        Raises:
            LayerwiseError: as for joining.
        """
        return correspond(self(layers), self(others))


def _components(rows: Float[Tensor, "n d"], keep: int) -> tuple[Tensor, Tensor]:
    """Mean and leading principal components, as far as there are so many."""
    mean = rows.double().mean(0)
    axes = rotate(rows.double() - mean)[1].flip(1)[:, :keep]
    return mean.to(rows), axes.to(rows)

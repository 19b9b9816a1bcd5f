"""Layers of any widths side by side in one: standardised, balanced and as wide as each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from layerwise.features._standardise import Standardise
from layerwise.fuse._layers import Layers, balanced, pick


@final
class Aligned(nn.Module):
    """Brings layers to a common width. Build it with `fit`.

    Args:
        blocks: what brings each layer to zero mean and a total variance of 1, by address.
        rotations: into the common width; none where all widths are equal.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> layers = {"a": torch.randn(9, 2), "b": torch.randn(9, 3)}
        >>> Aligned.fit(layers, width=4, generator=generator)(layers).shape
        torch.Size([2, 9, 4])
    """

    def __init__(
        self, blocks: Mapping[str, Standardise], rotations: Sequence[Float[Tensor, "_ w"]]
    ) -> None:
        super().__init__()
        self.layers = tuple(blocks)
        self.blocks = nn.ModuleList(blocks.values())
        self.rotations = nn.ParameterList(nn.Parameter(r, requires_grad=False) for r in rotations)

    @classmethod
    def fit(cls, layers: Layers, *, width: int, generator: torch.Generator) -> Aligned:
        """Measure the layers, and draw rotations where their widths differ.

        Args:
            layers: what each layer holds.
            width: the common width, where the layers' widths differ.
            generator: draws the rotations.
        """
        blocks = {name: balanced(features) for name, features in layers.items()}
        if len({features.shape[1] for features in layers.values()}) == 1:
            return cls(blocks, ())
        return cls(blocks, [_rotation(x, width, generator) for x in layers.values()])

    def forward(self, layers: Layers) -> Float[Tensor, "l n w"]:
        """The layers side by side.

        Raises:
            LayerwiseError: one is missing, or they do not belong together.
        """
        chosen = zip(self.blocks, pick(layers, self.layers), strict=True)
        parts = [block(features) for block, features in chosen]
        if not self.rotations:
            return torch.stack(parts)
        return torch.stack([x @ turn for x, turn in zip(parts, self.rotations, strict=True)])


def _rotation(features: Tensor, width: int, generator: torch.Generator) -> Float[Tensor, "_ w"]:
    """The first columns of a random rotation, at the scale that keeps the expected variance."""
    d = features.shape[1]
    side = max(d, width)
    noise = torch.randn(side, side, generator=generator, device=generator.device)
    rotation = torch.linalg.qr(noise).Q[:d, :width] * (side / width) ** 0.5
    return rotation.to(features)

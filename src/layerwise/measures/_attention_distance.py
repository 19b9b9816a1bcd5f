"""How far do the heads of a transformer look?

Mean attention distance, `sum_j A_ij d(i, j)` averaged over queries i and samples, head by head: in
pixels between the centres of patches, in tokens along a text. Local heads behave like convolutions.
Ours: tokens that are no places (class token, registers) are left out and what remains of a query's
attention is brought to sum 1, so that a head which mostly looks at them does not seem local.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from layerwise._paper import paper
from layerwise.errors import LayerwiseError
from layerwise.models import Layer, Network
from layerwise.taps import attention


@final
@dataclass(frozen=True)
class AttentionDistance:
    """Distances of all heads.

    Args:
        layers: addresses of the attention layers; none in a network without attention.
        distance: of each layer's heads.
        unit: `pixels` or `tokens`.
    """

    layers: tuple[str, ...]
    distance: tuple[Float[Tensor, " _"], ...]
    unit: str

    @property
    def mean(self) -> Float[Tensor, " l"]:
        """Mean over the heads of each layer."""
        return torch.stack([heads.mean() for heads in self.distance])

    @property
    def nearest(self) -> Float[Tensor, " l"]:
        """The most local head of each layer."""
        return torch.stack([heads.min() for heads in self.distance])

    @property
    def spread(self) -> Float[Tensor, " l"]:
        """Deviation over the heads of each layer: large where some are local and others not."""
        return torch.stack([heads.std(correction=0) for heads in self.distance])


@paper(
    "Do Vision Transformers See Like Convolutional Neural Networks?",
    year=2021,
    arxiv="2108.08810",
    no=(219,),
)
def attention_distance(
    network: Network, inputs: Tensor | Mapping[str, Tensor], *, layers: str | None = None
) -> AttentionDistance:
    """Measure every head in one forward.

    Args:
        network: any network; one without attention has no rows.
        inputs: a batch, of the size of the network's example where samples are pictures.
        layers: addresses or patterns; without it all attention layers.

    Raises:
        LayerwiseError: no samples, no such layer, attention within windows, or pictures of another
            size than the example's.

    Example:
        >>> from layerwise.vocabulary import examples
        >>> found = attention_distance(**examples(attention_distance))
        >>> found.layers  # the network of the examples has no attention
        ()
    """
    samples = next(iter(inputs.values())) if isinstance(inputs, Mapping) else inputs
    if len(samples) == 0:
        raise LayerwiseError("there are no samples to look at; give at least one")
    given = inputs.get("attention_mask") if isinstance(inputs, Mapping) else None
    pixels = tuple(samples.shape[-2:]) if samples.is_floating_point() else ()
    found: dict[str, Tensor] = {}

    def receive(layer: Layer, weights: Tensor) -> None:
        prefix = layer.layout.prefix if layer.layout else 0
        places = weights[:, :, prefix:, prefix:]
        apart = _distances(layer, places.shape[-1], pixels).to(places)
        if len(places) != len(samples) or places.shape[-2:] != apart.shape:
            raise LayerwiseError(
                f"the attention of {layer.name!r} is of shape {tuple(weights.shape)} for "
                f"{len(samples)} samples: it does not lead from every place to every place; leave "
                "the layer out with layers="
            )
        total = places.sum(-1)
        each = (places * apart).sum(-1) / total.where(total > 0, 1.0)
        real = (total > 0).to(each)
        if given is not None and given.shape == (len(places), places.shape[-1]):
            real = real * given[:, None].to(each)
        found[layer.name] = (each * real).sum((0, 2)) / real.sum((0, 2)).clamp(min=1)

    attention(network, inputs, receive, layers=layers)
    return AttentionDistance(
        tuple(found), tuple(found.values()), "pixels" if len(pixels) == 2 else "tokens"
    )


def _distances(layer: Layer, count: int, pixels: tuple[int, ...]) -> Float[Tensor, "k k"]:
    """Between places: in pixels where there is a grid, else along the sequence."""
    grid = layer.layout.grid if layer.layout else None
    if grid is None or len(pixels) != 2:
        line = torch.arange(float(count))[:, None]
        return torch.cdist(line, line)
    if grid[0] * grid[1] != count:
        raise LayerwiseError(
            f"{layer.name!r} has {count} places and not the {grid[0]} x {grid[1]} of the network's "
            "example; give pictures of the same size"
        )
    rows, columns = (
        torch.arange(float(n)) * size / n for n, size in zip(grid, pixels, strict=True)
    )
    centres = torch.cartesian_prod(rows, columns)
    return torch.cdist(centres, centres)

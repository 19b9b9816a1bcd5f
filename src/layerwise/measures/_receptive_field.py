"""What part of a picture decides about one place of a layer: the effective receptive field.

The squared gradient of the place in the middle of a layer with respect to the input, averaged over
pictures. The theoretical field of a convolutional network is much larger than what counts in it,
and a transformer could look everywhere from its first layer on, but does not. Ours: the gradient is
that of a random direction of the place's channels, another one for each picture, whose square is on
average the squared Jacobian of all channels; a plain sum over channels may cancel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from layerwise._paper import paper
from layerwise.errors import LayerwiseError
from layerwise.models import Layer, Network
from layerwise.models._hooks import at_rest
from layerwise.taps import tap


@final
@dataclass(frozen=True)
class ReceptiveField:
    """How much each pixel counts for the middle of each layer.

    Args:
        layers: addresses.
        maps: share of the squared gradient at each pixel; each sums to 1.
        radius: root mean square distance of that share from the middle of the place, in pixels.
    """

    layers: tuple[str, ...]
    maps: Float[Tensor, "l H W"]
    radius: Float[Tensor, " l"]


@paper(
    "Do Vision Transformers See Like Convolutional Neural Networks?",
    year=2021,
    arxiv="2108.08810",
    no=(219,),
)
def receptive_field(
    network: Network,
    image: Float[Tensor, "n 3 H W"],
    *,
    layers: str = "blocks",
    generator: torch.Generator | None = None,
) -> ReceptiveField:
    """Measure the fields of some layers, with one forward and one backward for each.

    Args:
        network: of pictures.
        image: at least one, as the network takes them.
        layers: addresses or patterns; those that have no places are left out.
        generator: for the directions; without it, one of seed 0.

    Raises:
        LayerwiseError: no pictures, no such layer, none that has places, or gradients that are not
            finite.

    Example:
        >>> from layerwise.vocabulary import examples
        >>> field = receptive_field(**examples(receptive_field), layers="0")
        >>> (field.maps[0] > 0).sum().item()  # one convolution of 3 x 3
        9
    """
    if len(image) == 0:
        raise LayerwiseError("there are no pictures to look at; give at least one")
    network.take_example(image)
    chosen = [layer for layer in network.layers.select(layers) if _has_places(layer)]
    if not chosen:
        raise LayerwiseError(f"no layer of {layers!r} has places; give maps or tokens on a grid")
    generator = generator or torch.Generator().manual_seed(0)
    units: dict[str, tuple[Tensor, tuple[float, float]]] = {}

    def receive(layer: Layer, value: Tensor) -> None:
        middle, where = _middle(layer, value)
        drawn = torch.randn(middle.shape, generator=generator, dtype=torch.float64).to(middle)
        units[layer.name] = ((middle * drawn).sum(), where)

    pixels = image.detach().clone().requires_grad_()
    with at_rest(network.module), torch.enable_grad():
        with tap(network, [layer.name for layer in chosen], receive):
            network(pixels)
        fields, radii = [], []
        for layer in chosen:
            unit, where = units[layer.name]
            (gradient,) = torch.autograd.grad(unit, pixels, retain_graph=True)
            share = gradient.square().sum(1).mean(0)
            if not bool(share.isfinite().all()):
                raise LayerwiseError(
                    f"the gradient of layer {layer.name!r} is not finite; look at the pictures and "
                    "at the network's weights"
                )
            share = share / share.sum().clamp(min=torch.finfo(share.dtype).tiny)
            fields.append(share)
            radii.append((share * _squares(share, where)).sum().sqrt())
    return ReceptiveField(
        tuple(layer.name for layer in chosen), torch.stack(fields), torch.stack(radii)
    )


def _has_places(layer: Layer) -> bool:
    layout = layer.layout
    return layout is not None and (layout.form == "map" or layout.grid is not None)


def _middle(layer: Layer, value: Tensor) -> tuple[Float[Tensor, "n c"], tuple[float, float]]:
    """The place in the middle, and where it lies as shares of height and width."""
    layout = layer.sure
    standard = layout.standard(value)
    if layout.form == "map":
        height, width = standard.shape[2:]
        middle = standard[:, :, height // 2, width // 2]
    else:
        assert layout.grid is not None
        height, width = layout.grid
        middle = standard[:, layout.prefix + (height // 2) * width + width // 2]
    return middle, ((height // 2 + 0.5) / height, (width // 2 + 0.5) / width)


def _squares(share: Float[Tensor, "H W"], where: tuple[float, float]) -> Float[Tensor, "H W"]:
    """Squared distance of each pixel's centre from a place."""
    rows, columns = (
        (torch.arange(size).to(share) + 0.5 - size * at).square()
        for size, at in zip(share.shape, where, strict=True)
    )
    return rows[:, None] + columns

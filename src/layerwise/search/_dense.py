"""The dense features of a picture at a layer: a map where every place describes what lies there.

Leading tokens that are no places are left out. A transformer's grid follows from the traced
example: its cells keep their size in pixels when pictures come in another size.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from layerwise.errors import LayerwiseError
from layerwise.features._finite import require_finite
from layerwise.models import Layer, Network
from layerwise.taps import on_grid, read


def dense(
    network: Network,
    image: Float[Tensor, "n 3 H W"],
    *,
    layer: str = "75%",
    size: tuple[int, int] | None = None,
) -> Float[Tensor, "n c h w"]:
    """Read a layer as maps.

    Args:
        network: any network of pictures.
        image: pictures, prepared for the network.
        layer: address, or a pattern that picks one layer.
        size: rows and columns to bring the maps to, bilinearly; their own without it. Maps of
            layers and networks that are to be compared place by place need one size.

    Raises:
        LayerwiseError: there are no pictures or they are not finite; the pattern picks several
            layers; the layer has no places.

    Example:
        >>> import torch, layerwise
        >>> module = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 4, stride=4), torch.nn.ReLU())
        >>> network = layerwise.open(module, example=torch.zeros(1, 3, 16, 16))
        >>> dense(network, torch.rand(2, 3, 16, 24), layer="1").shape
        torch.Size([2, 8, 4, 6])
    """
    (maps,) = several(network, image, [layer])
    if size is None:
        return maps
    return nn.functional.interpolate(maps, size, mode="bilinear", align_corners=False)


def several(
    network: Network, image: Float[Tensor, "n 3 H W"], layers: Sequence[str]
) -> list[Float[Tensor, "n _ _ _"]]:
    """Read several layers as maps in one forward. Arguments and errors as in `dense`."""
    if len(image) == 0:
        raise LayerwiseError("there are no pictures to read; give at least one")
    require_finite(image, "pictures")
    network.take_example(image[:1])
    chosen = [one_layer(network, layer) for layer in layers]
    found = read(network, image, [layer.name for layer in chosen])
    return [on_grid(network, layer, found[layer.name], image) for layer in chosen]


def one_layer(network: Network, pattern: str) -> Layer:
    """The layer that a pattern picks.

    Raises:
        LayerwiseError: it picks none or several.
    """
    chosen = network.layers.select(pattern)
    if len(chosen) != 1:
        names = ", ".join(layer.name for layer in chosen[:4])
        raise LayerwiseError(f"{pattern!r} picks {len(chosen)} layers, {names}...; say which one")
    return chosen[0]


def rows(feature_map: Float[Tensor, "n c h w"]) -> Float[Tensor, "n t c"]:
    """The places of maps one after the other, row by row. A view."""
    return feature_map.flatten(2).transpose(1, 2)


def centres(feature_map: Float[Tensor, "n c h w"], size: tuple[int, int]) -> Float[Tensor, "t 2"]:
    """Where each place's cell has its middle in a picture of `size`: pixels to the right and down.

    The middle of the first pixel is at (0.5, 0.5).
    """
    height, width = feature_map.shape[-2:]
    down = (torch.arange(height).to(feature_map) + 0.5) * size[0] / height
    right = (torch.arange(width).to(feature_map) + 0.5) * size[1] / width
    return torch.stack(torch.meshgrid(right, down, indexing="xy"), 2).flatten(0, 1)


def last_of_stride(network: Network, stride: int) -> str:
    """The last layer with maps whose cells are at most so many pixels wide.

    Raises:
        LayerwiseError: there is none, or the network does not take pictures.
    """
    example = network.example
    if not isinstance(example, Tensor):
        raise LayerwiseError(f"{network.name} does not take pictures; give one that does")

    def narrow(layer: Layer) -> bool:
        grid = None if layer.layout is None else layer.layout.grid
        return grid is not None and grid[1] > 1 and example.shape[-1] <= stride * grid[1]

    found = [layer.name for layer in network.layers if narrow(layer)]
    if not found:
        raise LayerwiseError(
            f"{network.name} has no layer whose cells are {stride} pixels wide or less; name the "
            "layers with coarse= and fine="
        )
    return found[-1]

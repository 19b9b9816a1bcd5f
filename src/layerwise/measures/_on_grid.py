"""The places of a layer of pictures, row by row, and how many rows and columns there are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from layerwise import taps
from layerwise.errors import LayerwiseError
from layerwise.models import Network


@final
@dataclass(frozen=True)
class OnGrid:
    """What a layer holds of some pictures.

    Args:
        layer: its address.
        grid: rows and columns.
        places: one vector for each.
        prefix: tokens that are no places, such as the class token.
    """

    layer: str
    grid: tuple[int, int]
    places: Float[Tensor, "n p d"]
    prefix: Float[Tensor, "n q d"]


def on_grid(network: Network, image: Float[Tensor, "n 3 H W"], layer: str, *, side: int) -> OnGrid:
    """Read one layer of pictures; a large map is averaged to fewer places.

    Args:
        network: of pictures.
        image: a batch.
        layer: an address, or a pattern that picks one.
        side: most rows and columns of places.

    Raises:
        LayerwiseError: no such layer or several, or one without places.
    """
    network.take_example(image)
    chosen = network.layers.select(layer)
    if len(chosen) != 1:
        raise LayerwiseError(f"layer={layer!r} picks {len(chosen)} layers; give one")
    (seen,) = chosen
    layout = seen.sure
    values = taps.read(network, image, seen.name)[seen.name]
    maps = taps.on_grid(network, seen, values, image)
    rows, columns = (min(side, length) for length in maps.shape[2:])
    if (rows, columns) != tuple(maps.shape[2:]):
        maps = functional.adaptive_avg_pool2d(maps, (rows, columns))
    prefix = layout.tokens(values)[:, : layout.prefix]
    return OnGrid(seen.name, (rows, columns), maps.flatten(2).transpose(1, 2), prefix)

"""The places of a layer of pictures, row by row, and how many rows and columns there are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from layerwise.errors import LayerwiseError
from layerwise.models import Network
from layerwise.taps import read


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
    values = read(network, image, seen.name)[seen.name]
    grid = tuple(values.shape[2:]) if layout.form == "map" else layout.grid
    prefix, places = layout.tokens(values).tensor_split([layout.prefix], dim=1)
    if grid is None or grid[0] * grid[1] != places.shape[1]:
        raise LayerwiseError(
            f"the {places.shape[1]} places of layer {seen.name!r} are on no grid that is known; "
            "give a map or tokens, and pictures of the size of the network's example"
        )
    rows, columns = (min(side, length) for length in grid)
    if (rows, columns) != tuple(grid):
        maps = places.transpose(1, 2).unflatten(2, grid)
        small = functional.adaptive_avg_pool2d(maps, (rows, columns))
        places = small.flatten(2).transpose(1, 2)
    return OnGrid(seen.name, (rows, columns), places, prefix)

"""Major TOM: a grid of nearly equal cells over the Earth, and fragments of pictures of them (P082).

Rows follow the parallels every `distance` km. A row at latitude phi is cut into about
`2 pi R cos(phi) / distance` cells, so that all cells have nearly one area. A cell is called by its
row up or down and its column right or left of the origin, `922U_230L`; its anchor is its corner in
the south-west. A picture of a cell is cut into squares of the network's size that overlap by at
least `overlap`; they are spread evenly and touch all borders. Ours: the authors round the number of
squares, which leaves gaps between two (at 1.4 times the size, say); here it is rounded up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from layerwise._paper import paper
from layerwise.errors import LayerwiseError

_RADIUS = 6378.137


@final
@paper(
    "Global and Dense Embeddings of Earth: Major TOM Floating in the Latent Space",
    year=2024,
    arxiv="2412.05600",
    no=(82,),
)
class EarthGrid:
    """Names places on Earth by cells of nearly equal area.

    Args:
        distance: side of a cell in km.

    Raises:
        LayerwiseError: the distance is not between 0 and 5,000 km.

    Example:
        >>> grid = EarthGrid()
        >>> grid.cell(52.0, -3.0)
        '578U_21L'
        >>> grid.cell(*grid.middle("578U_21L"))
        '578U_21L'
    """

    def __init__(self, distance: float = 10.0) -> None:
        if not 0 < distance <= 5000:
            raise LayerwiseError(f"distance={distance}; give km above 0 and up to 5000")
        self.distance = distance

    def __repr__(self) -> str:
        return f"EarthGrid({self.distance:g})"

    def cell(self, latitude: float, longitude: float) -> str:
        """The cell that a place lies in.

        Raises:
            LayerwiseError: there is no such place.
        """
        if not (-90 <= latitude <= 90 and math.isfinite(longitude)):
            raise LayerwiseError(f"place {latitude}, {longitude}: give degrees north and east")
        height = 180 / self._rows
        row = min(math.floor(latitude / height), math.ceil(self._rows / 2) - 1)
        width = 360 / self._columns(row)
        east = (longitude + 180) % 360 - 180
        return _name(row, math.floor(east / width))

    def anchor(self, cell: str) -> tuple[float, float]:
        """Latitude and longitude of a cell's corner in the south-west.

        Raises:
            LayerwiseError: the grid has no such cell.
        """
        row, column = self._numbers(cell)
        return row * 180 / self._rows, column * 360 / self._columns(row)

    def middle(self, cell: str) -> tuple[float, float]:
        """Latitude and longitude of a cell's middle. Errors as those of `anchor`."""
        south, west = self.anchor(cell)
        row, _ = self._numbers(cell)
        return south + 90 / self._rows, west + 180 / self._columns(row)

    def area(self, cell: str) -> float:
        """Square kilometres of a cell on the sphere. Errors as those of `anchor`."""
        row, _ = self._numbers(cell)
        south, north = (math.radians((row + k) * 180 / self._rows) for k in (0, 1))
        whole = 2 * math.pi * _RADIUS**2 * (math.sin(north) - math.sin(south))
        return whole / self._columns(row)

    def neighbours(self, cell: str) -> tuple[str, ...]:
        """Cells that lie around a cell, as seen from its middle. Errors as those of `anchor`."""
        row, _ = self._numbers(cell)
        latitude, longitude = self.middle(cell)
        height, width = 180 / self._rows, 360 / self._columns(row)
        around = [
            self.cell(latitude + up * height, longitude + right * width)
            for up, right in product((-1, 0, 1), repeat=2)
            if abs(latitude + up * height) <= 90
        ]
        return tuple(name for name in dict.fromkeys(around) if name != cell)

    @property
    def _rows(self) -> int:
        """Rows from pole to pole, an even number: the equator parts two of them."""
        return 2 * math.ceil(math.pi * _RADIUS / self.distance / 2)

    def _columns(self, row: int) -> int:
        latitude = math.radians((row if row >= 0 else row + 1) * 180 / self._rows)
        around = 2 * math.pi * _RADIUS * math.cos(latitude)
        return max(1, 2 * math.ceil(around / self.distance / 2))

    def _numbers(self, cell: str) -> tuple[int, int]:
        try:
            up, right = cell.split("_")
            row = {"U": 1, "D": -1}[up[-1]] * int(up[:-1])
            column = {"R": 1, "L": -1}[right[-1]] * int(right[:-1])
        except (ValueError, KeyError, IndexError):
            raise LayerwiseError(f"{cell!r} is no cell; they are called as in 922U_230L") from None
        half = self._rows // 2
        inside = -half <= row < half and abs(2 * column + 1) < self._columns(row) + 1
        if not inside:
            raise LayerwiseError(f"the grid of {self.distance:g} km has no cell {cell!r}")
        return row, column


@final
@dataclass(frozen=True)
class Fragments:
    """Squares of pictures.

    Args:
        pixels: of every square.
        offsets: row and column of its first pixel.
    """

    pixels: Float[Tensor, "n f 3 s s"]
    offsets: Int[Tensor, "f 2"]


def fragments(
    image: Float[Tensor, "n 3 H W"], *, size: int = 224, overlap: float = 0.1
) -> Fragments:
    """Cut pictures into overlapping squares that cover every pixel.

    Args:
        image: pictures.
        size: side of a square; smaller pictures give squares of their shorter side.
        overlap: least part of a square that it shares with the next.

    Raises:
        LayerwiseError: the size is not positive, or the overlap not from 0 to below 1.

    Example:
        >>> fragments(torch.rand(1, 3, 32, 32), size=16).offsets.flatten().tolist()
        [0, 0, 0, 8, 0, 16, 8, 0, 8, 8, 8, 16, 16, 0, 16, 8, 16, 16]
    """
    if size < 1 or not 0 <= overlap < 1:
        raise LayerwiseError(f"size={size}, overlap={overlap}: give pixels and a part below 1")
    height, width = image.shape[2:]
    side = min(size, height, width)
    starts = [_starts(length, side, overlap) for length in (height, width)]
    offsets = torch.cartesian_prod(*starts).view(-1, 2)
    squares = [image[:, :, y : y + side, x : x + side] for y, x in offsets.tolist()]
    return Fragments(torch.stack(squares, 1), offsets)


def _starts(length: int, side: int, overlap: float) -> Int[Tensor, " k"]:
    """Even steps from the first pixel to the last square, none wider than the overlap allows."""
    step = max(1, math.floor(side * (1 - overlap)))
    steps = math.ceil((length - side) / step)
    places = [round(k * (length - side) / steps) for k in range(steps + 1)] if steps else [0]
    return torch.tensor(places)


def _name(row: int, column: int) -> str:
    up = f"{row}U" if row >= 0 else f"{-row}D"
    return f"{up}_{column}R" if column >= 0 else f"{up}_{-column}L"

"""A pinhole camera: which way each pixel looks, and where a point in space is seen."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor


@final
@dataclass(frozen=True)
class Camera:
    """Looks from one point to another; the picture is upright. All in float64.

    Args:
        position: where it stands; the second coordinate is the height.
        target: what stands in the middle of the picture.
        field: angle that the picture's height covers, in degrees.

    Example:
        >>> camera = Camera((0.0, 0.0, -5.0), (0.0, 0.0, 0.0))
        >>> place, depth = camera.project(torch.tensor([[0.0], [0.0], [1.0]]), (8, 8))
        >>> place.flatten().tolist(), depth.tolist()
        ([4.0, 4.0], [6.0])
    """

    position: tuple[float, float, float]
    target: tuple[float, float, float]
    field: float = 40.0

    @property
    def origin(self) -> Float[Tensor, " 3"]:
        """Where it stands."""
        return torch.tensor(self.position, dtype=torch.float64)

    @property
    def axes(self) -> Float[Tensor, "3 3"]:
        """Its right, its down and its forward, a row each."""
        target = torch.tensor(self.target, dtype=torch.float64)
        forward = torch.nn.functional.normalize(target - self.origin, dim=0)
        right = torch.linalg.cross(forward, torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64))
        right = torch.nn.functional.normalize(right, dim=0)
        return torch.stack([right, torch.linalg.cross(forward, right), forward])

    def rays(self, size: tuple[int, int]) -> Float[Tensor, "3 h w"]:
        """Direction of the ray through each pixel's middle.

        They go forward by exactly 1, so that the length along one is the depth.

        Args:
            size: height and width in pixels.
        """
        height, width = size
        rows, columns = (torch.arange(n, dtype=torch.float64) + 0.5 - n / 2 for n in size)
        down, right = torch.meshgrid(rows, columns, indexing="ij")
        focal = self._focal(height)
        seen = torch.stack([right / focal, down / focal, torch.ones(height, width).double()])
        return torch.einsum("ax,ahw->xhw", self.axes, seen)

    def project(
        self, points: Float[Tensor, "3 n"], size: tuple[int, int]
    ) -> tuple[Float[Tensor, "2 n"], Float[Tensor, " n"]]:
        """Where points are seen, in pixels from the left and from the top, and how deep.

        Args:
            points: in space.
            size: height and width in pixels.
        """
        height, width = size
        right, down, depth = self.axes @ (points.double() - self.origin[:, None])
        focal = self._focal(height)
        places = torch.stack([right, down]) / depth * focal
        middle = torch.tensor([[width / 2], [height / 2]], dtype=torch.float64)
        return places + middle, depth

    def _focal(self, height: int) -> float:
        return height / 2 / math.tan(math.radians(self.field) / 2)


def orbit(
    angle: float,
    *,
    elevation: float = 25.0,
    distance: float = 5.0,
    target: tuple[float, float, float] = (0.0, 0.5, 0.0),
) -> Camera:
    """A camera on a circle around a target.

    Args:
        angle: along the circle, in degrees.
        elevation: above the target, in degrees.
        distance: to the target.
        target: what it looks at.

    Example:
        >>> [round(x, 6) for x in orbit(90.0, elevation=0.0, target=(0.0, 0.0, 0.0)).position]
        [5.0, 0.0, 0.0]
    """
    around, up = math.radians(angle), math.radians(elevation)
    flat = distance * math.cos(up)
    offset = (flat * math.sin(around), distance * math.sin(up), flat * math.cos(around))
    x, y, z = (at + step for at, step in zip(target, offset, strict=True))
    return Camera((x, y, z), target)

"""Bodies whose every point and normal is known in closed form: planes, spheres, boxes.

Each has a solid texture, a pattern of smooth waves fixed to the body, so that a point of it has the
same colour from wherever it is seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, final, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

_NEAR = 1e-6
"""Nothing closer to the camera is seen."""


@final
@dataclass(frozen=True)
class Paint:
    """A solid texture between two colours.

    Args:
        colours: red, green and blue of both, 0 to 1.
        waves: direction and frequency of each wave, in radians for each unit of length.
        phases: of each wave.

    Example:
        >>> paint = Paint.random(torch.Generator().manual_seed(0))
        >>> paint(torch.zeros(3, 4).double()).shape
        torch.Size([3, 4])
    """

    colours: Float[Tensor, "2 3"]
    waves: Float[Tensor, "k 3"]
    phases: Float[Tensor, " k"]

    @classmethod
    def random(cls, generator: torch.Generator, *, waves: int = 4, scale: float = 5.0) -> Paint:
        """Draw one.

        Args:
            generator: for the draw.
            waves: how many overlap.
            scale: their typical frequency.
        """
        colours = torch.rand(2, 3, generator=generator).double()
        directions = scale * torch.randn(waves, 3, generator=generator).double()
        return cls(colours, directions, 6.3 * torch.rand(waves, generator=generator).double())

    def __call__(self, points: Float[Tensor, "3 n"]) -> Float[Tensor, "3 n"]:
        """Colour of points given in the body's own coordinates."""
        mix = torch.sigmoid(2 * (self.waves @ points + self.phases[:, None]).sin().sum(0))
        first, second = self.colours[:, :, None]
        return first + mix * (second - first)


@runtime_checkable
class Body(Protocol):
    """Something that rays hit."""

    @property
    def paint(self) -> Paint:
        """Its texture."""
        ...

    def hit(self, origin: Float[Tensor, " 3"], rays: Float[Tensor, "3 n"]) -> Float[Tensor, " n"]:
        """Length along each ray to the first point that it hits, infinite for none."""
        ...

    def local(self, points: Float[Tensor, "3 n"]) -> Float[Tensor, "3 n"]:
        """Points in the body's own coordinates."""
        ...

    def normal(self, points: Float[Tensor, "3 n"]) -> Float[Tensor, "3 n"]:
        """Which way the surface looks at points that lie on it: outwards, of length 1."""
        ...


@final
@dataclass(frozen=True)
class Plane:
    """A level floor without end, seen from above.

    Args:
        paint: its texture.
        height: where it lies.
    """

    paint: Paint
    height: float = 0.0

    def hit(self, origin: Float[Tensor, " 3"], rays: Float[Tensor, "3 n"]) -> Float[Tensor, " n"]:
        """As in `Body`."""
        length = (self.height - origin[1]) / rays[1]
        return torch.where(length > _NEAR, length, torch.inf)

    def local(self, points: Float[Tensor, "3 n"]) -> Float[Tensor, "3 n"]:
        """As in `Body`."""
        return points

    def normal(self, points: Float[Tensor, "3 n"]) -> Float[Tensor, "3 n"]:
        """As in `Body`."""
        return torch.zeros_like(points).index_fill(0, torch.tensor(1), 1.0)


@final
@dataclass(frozen=True)
class Sphere:
    """A ball.

    Args:
        paint: its texture.
        centre: where it lies.
        radius: its size.
    """

    paint: Paint
    centre: Float[Tensor, " 3"]
    radius: float

    def hit(self, origin: Float[Tensor, " 3"], rays: Float[Tensor, "3 n"]) -> Float[Tensor, " n"]:
        """As in `Body`: the smaller root of |origin + length * ray - centre|^2 = radius^2."""
        away = origin - self.centre
        a, b = rays.square().sum(0), away @ rays
        inside = b.square() - a * (away.square().sum() - self.radius**2)
        length = (-b - inside.clamp(min=0).sqrt()) / a
        return torch.where((inside >= 0) & (length > _NEAR), length, torch.inf)

    def local(self, points: Float[Tensor, "3 n"]) -> Float[Tensor, "3 n"]:
        """As in `Body`."""
        return points - self.centre[:, None]

    def normal(self, points: Float[Tensor, "3 n"]) -> Float[Tensor, "3 n"]:
        """As in `Body`."""
        return self.local(points) / self.radius


@final
@dataclass(frozen=True)
class Box:
    """A box in any orientation.

    Args:
        paint: its texture.
        centre: where it lies.
        half: half its edges.
        axes: directions of its edges, a row each, of length 1 and at right angles.
    """

    paint: Paint
    centre: Float[Tensor, " 3"]
    half: Float[Tensor, " 3"]
    axes: Float[Tensor, "3 3"]

    def hit(self, origin: Float[Tensor, " 3"], rays: Float[Tensor, "3 n"]) -> Float[Tensor, " n"]:
        """As in `Body`: a ray is inside where it is between all three pairs of faces."""
        start = self.local(origin[:, None])
        along = self.axes @ rays
        along = torch.where(along == 0, torch.finfo(along.dtype).tiny, along)
        reach = self.half[:, None] * along.sign()
        entered, left = ((-reach - start) / along).amax(0), ((reach - start) / along).amin(0)
        return torch.where((entered <= left) & (entered > _NEAR), entered, torch.inf)

    def local(self, points: Float[Tensor, "3 n"]) -> Float[Tensor, "3 n"]:
        """As in `Body`."""
        return self.axes @ (points - self.centre[:, None])

    def normal(self, points: Float[Tensor, "3 n"]) -> Float[Tensor, "3 n"]:
        """As in `Body`: that of the face which the point is nearest to, or farthest beyond."""
        local = self.local(points)
        face = (local.abs() - self.half[:, None]).argmax(0)
        return local.gather(0, face[None]).sign() * self.axes[face].T

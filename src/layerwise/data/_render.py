"""Pictures of scenes whose geometry is known exactly: depth, normal and point of every pixel.

One ray through the middle of each pixel is cut with every body in closed form. Light falls from one
direction and from everywhere; there are no shadows and no reflections, and edges are not smoothed,
so that every pixel shows one point of one body.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from layerwise.data._bodies import Body, Box, Paint, Plane, Sphere
from layerwise.data._camera import Camera
from layerwise.errors import LayerwiseError

_LIGHT = (0.5, 0.8, -0.33)
_SKY = (0.65, 0.75, 0.9)


@final
@dataclass(frozen=True)
class View:
    """What a camera sees of a scene.

    Args:
        image: red, green and blue, 0 to 1.
        depth: how far in front of the camera, along its axis; infinite for the sky.
        normals: in the camera's coordinates: right, down, forward; 0 for the sky.
        points: in space; NaN for the sky.
        bodies: which one is seen, -1 for the sky.
        camera: that saw it.
    """

    image: Float[Tensor, "3 h w"]
    depth: Float[Tensor, "h w"]
    normals: Float[Tensor, "3 h w"]
    points: Float[Tensor, "3 h w"]
    bodies: Int[Tensor, "h w"]
    camera: Camera


def render(
    scene: Sequence[Body], camera: Camera, *, size: tuple[int, int] = (224, 224), far: float = 20.0
) -> View:
    """See a scene through a camera. All is computed in float64.

    Args:
        scene: bodies; they may overlap.
        camera: where it is seen from.
        size: height and width in pixels.
        far: what lies deeper is sky.

    Raises:
        LayerwiseError: no bodies.

    Example:
        >>> paint = Paint.random(torch.Generator().manual_seed(0))
        >>> ball = Sphere(paint, torch.zeros(3).double(), 1.0)
        >>> view = render([ball], Camera((0.0, 0.0, -5.0), (0.0, 0.0, 0.0)), size=(9, 9))
        >>> view.depth[4, 4].item(), view.bodies[0, 0].item()
        (4.0, -1)
    """
    if not scene:
        raise LayerwiseError("there is nothing to render; give at least one body")
    origin, rays = camera.origin, camera.rays(size).flatten(1)
    depth, bodies = torch.stack([body.hit(origin, rays) for body in scene]).min(0)
    sky = depth >= far
    bodies, depth = bodies.masked_fill(sky, -1), depth.masked_fill(sky, torch.inf)
    points = origin[:, None] + depth.masked_fill(sky, torch.nan) * rays
    normals = torch.zeros_like(rays)
    image = torch.tensor(_SKY, dtype=rays.dtype)[:, None].repeat(1, len(depth))
    light = torch.nn.functional.normalize(torch.tensor(_LIGHT, dtype=rays.dtype), dim=0)
    for number, body in enumerate(scene):
        mine = bodies == number
        outward = body.normal(points[:, mine])
        shade = 0.35 + 0.65 * (light @ outward).clamp(min=0)
        image[:, mine] = shade * body.paint(body.local(points[:, mine]))
        normals[:, mine] = camera.axes @ outward
    return View(
        image=image.unflatten(1, size),
        depth=depth.unflatten(0, size),
        normals=normals.unflatten(1, size),
        points=points.unflatten(1, size),
        bodies=bodies.unflatten(0, size),
        camera=camera,
    )


def tabletop(generator: torch.Generator, *, things: int = 4) -> list[Body]:
    """Draw a scene: spheres and boxes that stand on a floor around the origin.

    Args:
        generator: for the draw.
        things: how many stand there, beside the floor, which comes first.

    Example:
        >>> len(tabletop(torch.Generator().manual_seed(0)))
        5
    """

    def between(low: float, high: float) -> float:
        return low + (high - low) * torch.rand((), generator=generator).item()

    scene: list[Body] = [Plane(Paint.random(generator, scale=2.5))]
    first = between(0.0, math.tau)
    for number in range(things):
        paint, size = Paint.random(generator), between(0.35, 0.65)
        # Equal sectors keep them apart.
        angle, radius = first + math.tau * number / things, between(0.7, 1.4)
        x, z = radius * math.cos(angle), radius * math.sin(angle)
        if between(0.0, 1.0) < 0.5:
            scene.append(Sphere(paint, torch.tensor([x, size, z]).double(), size))
        else:
            height, turn = between(0.35, 0.8), between(0.0, math.tau)
            s, c = math.sin(turn), math.cos(turn)
            axes = torch.tensor([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]]).double()
            half = torch.tensor([size, height, between(0.35, 0.65)]).double()
            scene.append(Box(paint, torch.tensor([x, height, z]).double(), half, axes))
    return scene

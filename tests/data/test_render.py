"""Rendered geometry against equations, marching rays, and another camera."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from layerwise.data import Box, Camera, Paint, Plane, Sphere, View, orbit, render, tabletop
from layerwise.errors import LayerwiseError

SIZE = (24, 36)


def _paint() -> Paint:
    return Paint.random(torch.Generator().manual_seed(0))


def _distance(body: object, points: Tensor) -> Tensor:
    """Signed distance of points `[3 n]` to a body's surface."""
    if isinstance(body, Plane):
        return points[1] - body.height
    away = points - body.centre[:, None]
    if isinstance(body, Sphere):
        return away.norm(dim=0) - body.radius
    beyond = (body.axes @ away).abs() - body.half[:, None]
    return beyond.clamp(min=0).norm(dim=0) + beyond.amax(0).clamp(max=0)


def _march(scene: list[object], camera: Camera) -> Tensor:
    """Depth by steps that never overshoot, along rays of length 1."""
    rays = camera.rays(SIZE).flatten(1)
    lengths = rays.norm(dim=0)
    travelled = torch.zeros_like(lengths)
    for _ in range(400):
        points = camera.origin[:, None] + travelled * rays / lengths
        travelled += torch.stack([_distance(body, points) for body in scene]).amin(0).clamp(0, 1)
    return (travelled / lengths).unflatten(0, SIZE)


@pytest.fixture(params=range(3), ids=lambda seed: f"scene {seed}")
def view(request: pytest.FixtureRequest) -> tuple[list[object], View]:
    scene = tabletop(torch.Generator().manual_seed(request.param))
    return scene, render(scene, orbit(50.0 * request.param), size=SIZE)


def test_depth_equals_that_of_marching_rays(view: tuple[list[object], View]) -> None:
    scene, seen = view
    marched = _march(scene, seen.camera)
    # A ray that grazes an edge takes more steps than there are.
    near = (seen.depth < 15) & ((marched - seen.depth).abs() > 1e-4)
    assert near.double().mean() < 5e-3
    assert (seen.bodies >= 0).double().mean() > 0.8


def test_every_point_lies_on_its_body_and_faces_along_its_normal(
    view: tuple[list[object], View],
) -> None:
    scene, seen = view
    for number, body in enumerate(scene):
        mine = seen.bodies == number
        points = seen.points[:, mine].requires_grad_()
        distance = _distance(body, points)
        assert distance.abs().max() < 1e-9
        (slope,) = torch.autograd.grad(_distance(body, points * (1 + 1e-12)).sum(), points)
        inward = (slope.norm(dim=0) - 1).abs() < 1e-6  # not so on the edge of a box
        expected = seen.camera.axes @ slope
        outside = inward & (distance >= 0)
        torch.testing.assert_close(
            seen.normals[:, mine][:, outside], expected[:, outside], rtol=0, atol=1e-5
        )
        assert (seen.normals[2][mine] < 0.1).all(), "what is seen faces the camera"


def test_another_camera_sees_a_point_where_it_projects_it(view: tuple[list[object], View]) -> None:
    scene, seen = view
    known = seen.bodies >= 0
    place, depth = seen.camera.project(seen.points[:, known], SIZE)
    row, column = known.nonzero().T
    torch.testing.assert_close(place, torch.stack([column, row]).double() + 0.5)
    torch.testing.assert_close(depth, seen.depth[known])

    other = orbit(50.0)
    first = render(scene, other, size=(401, 401))
    place, depth = other.project(seen.points[:, known], (401, 401))
    column, row = place.floor().long()
    inside = (place >= 0).all(0) & (place < 401).all(0)
    shown = first.depth[row[inside], column[inside]]
    agree = (shown - depth[inside]).abs() < 0.02 * shown
    in_front = shown > depth[inside] * 1.05
    assert agree.double().mean() > 0.5
    assert in_front.double().mean() < 0.05, "nothing that is seen lies behind what is farther"


def test_a_point_has_the_same_colour_from_everywhere_up_to_its_shade() -> None:
    ball = Sphere(_paint(), torch.tensor([0.0, 0.5, 0.0]).double(), 1.0)
    views = [render([ball], orbit(angle), size=(301, 301)) for angle in (0.0, 25.0)]
    points, colours = (
        [getattr(v, f)[:, v.bodies == 0] for v in views] for f in ("points", "image")
    )
    apart = torch.cdist(points[0].T[::50], points[1].T)
    same = apart.amin(1) < 0.01
    there = apart.argmin(1)[same]
    assert same.sum() > 100
    assert (colours[0][:, ::50][:, same] - colours[1][:, there]).abs().max() < 0.1


def test_a_plane_and_a_sphere_have_their_closed_forms() -> None:
    camera = Camera((0.0, 2.0, -4.0), (0.0, 2.0, 0.0), field=90.0)
    floor = render([Plane(_paint())], camera, size=(10, 10), far=1e9)
    below = (torch.arange(10) + 0.5 - 5) / 5
    expected = torch.where(below > 0, 2 / below.clamp(min=0.1), torch.inf)[:, None].expand(10, 10)
    torch.testing.assert_close(floor.depth, expected.double())
    ball = Sphere(_paint(), torch.tensor([0.0, 2.0, 0.0]).double(), 1.0)
    covered = (render([ball], camera, size=(400, 400)).bodies == 0).sum().item()
    radius = 200 * math.tan(math.asin(1 / 4))
    assert covered == pytest.approx(math.pi * radius**2, rel=0.01)


def test_a_box_hides_what_is_behind_it_and_the_sky_has_no_depth() -> None:
    box = Box(_paint(), torch.zeros(3).double(), torch.ones(3).double(), torch.eye(3).double())
    ball = Sphere(_paint(), torch.tensor([0.0, 0.0, 3.0]).double(), 0.5)
    seen = render([box, ball], Camera((0.0, 0.0, -5.0), (0.0, 0.0, 0.0)), size=(21, 21))
    assert seen.bodies[10, 10] == 0
    assert not (seen.bodies == 1).any()
    torch.testing.assert_close(seen.depth[10, 10], torch.tensor(4.0).double())
    torch.testing.assert_close(seen.normals[:, 10, 10], torch.tensor([0.0, 0.0, -1.0]).double())
    assert seen.depth[0, 0] == torch.inf
    assert seen.points[:, 0, 0].isnan().all()


def test_nothing_to_render_is_named() -> None:
    with pytest.raises(LayerwiseError, match="nothing to render"):
        render([], orbit(0.0))

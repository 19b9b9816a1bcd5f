"""3D awareness: does a layer know how far things are, which way they face, and that they stay?

The three probes of P118 for each layer. Depth and surface normals are read off its map by a readout
that was fitted on other scenes; features of one view are matched with those of another, nothing
fitted (`match_views`). The paper takes scanned objects and rooms; here scenes are rendered, so that
the truth is exact, needs no download, and has any viewing angle. That is ours, and so is this: all
layers are brought to one grid, so that they answer for the same places; the readout is linear
where the paper's is a decoder over several layers (`SurfaceDecoder` is one, to be given as `fit`);
and the pixel's place alone is probed as well, because what is high in a picture is mostly far.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from layerwise._paper import paper
from layerwise.data import View, orbit, render, tabletop
from layerwise.errors import LayerwiseError
from layerwise.measures._pictures import as_input, picture_size
from layerwise.measures._surface import (
    LinearSurface,
    Surface,
    SurfaceReadout,
    middles,
    surface_of,
)
from layerwise.measures._surface_scores import (
    DepthScores,
    NormalScores,
    depth_scores,
    normal_scores,
)
from layerwise.measures._view_matches import match_views
from layerwise.models import Network
from layerwise.taps import on_grid, read

Fit = Callable[[Tensor, Surface], SurfaceReadout]
"""Fits a readout to a map `[n c h w]` and the truth."""

Size = tuple[int, int]

_PLACE = "(place in the picture)"
_BATCH = 16


@final
@dataclass(frozen=True)
class Awareness3D:
    """What each layer knows of the world behind the pictures, for each held-out scene.

    The first row knows only where in the picture a pixel is; its recall is that of blind choice.
    `bootstrap_mean(found.depth.rmse.T)` gives the means with their intervals.

    Args:
        layers: what the rows are.
        depth: errors of the depth, `[l s]`.
        normals: errors of the normals, `[l s]`.
        recall: share of the places that were found again in the second view, NaN where it shows
            none of them.
        angles: between the two views, in degrees.
    """

    layers: tuple[str, ...]
    depth: DepthScores
    normals: NormalScores
    recall: Float[Tensor, "l a s"]
    angles: Float[Tensor, " a"]


@paper(
    "Probing the 3D Awareness of Visual Foundation Models", year=2024, arxiv="2404.08636", no=(118,)
)
def probe3d(
    network: Network,
    *,
    layers: str | Iterable[str] = ("25%", "50%", "75%", "100%"),
    fit: Fit = LinearSurface.fit,
    scenes: tuple[int, int] = (32, 12),
    angles: Sequence[float] = (15.0, 45.0, 75.0, 105.0),
    grid: int = 16,
    within: float = 0.25,
    generator: torch.Generator | None = None,
) -> Awareness3D:
    """Probe layers of a network of pictures for depth, normals and correspondence.

    Args:
        network: of pictures, in float32 or float64.
        layers: addresses or patterns of layers that have places.
        fit: makes the readout.
        scenes: how many are fitted to, and how many are reported.
        angles: from the first view of a reported scene to each of the others, in degrees.
        grid: places along the picture's longer side.
        within: distance in the world at which a match is right; things are about 1 across.
        generator: draws the scenes; without it, one of seed 0.

    Raises:
        LayerwiseError: a network of something else than pictures, a layer without places, or no
            scenes.

    Example:
        >>> import layerwise
        >>> convolution = nn.Conv2d(3, 4, 3, padding=1)
        >>> network = layerwise.open(convolution, example=torch.zeros(1, 3, 32, 32))
        >>> found = probe3d(network, layers=".", scenes=(4, 2), angles=(10.0,))
        >>> found.layers, found.depth.rmse.shape, found.recall.shape
        (('(place in the picture)', '.'), torch.Size([2, 2]), torch.Size([2, 1, 2]))
    """
    if min(scenes) < 1:
        raise LayerwiseError(f"scenes={scenes}; give at least one to fit to and one to report")
    generator = generator or torch.Generator().manual_seed(0)
    size, turns = picture_size(network), (0.0, *angles)
    fitted = [view for _ in range(scenes[0]) for view in _scene(generator, turns[:1], size)]
    held = [view for _ in range(scenes[1]) for view in _scene(generator, turns, size)]
    maps = _maps(network, [*fitted, *held], layers, _cells(size, grid))
    read_off, recalls = [], []
    for places in maps.values():
        readout = fit(places[: len(fitted)], surface_of(fitted))
        read_off.append(readout(places[len(fitted) :]).resized(size))
        recalls.append(_recall(places[len(fitted) :], held, len(turns), within))
    depth, normals = _scored(read_off, surface_of(held), len(turns))
    blind = recalls[0][1]
    return Awareness3D(
        layers=tuple(maps),
        depth=depth,
        normals=normals,
        recall=torch.stack([blind, *(recall for recall, _ in recalls[1:])]),
        angles=recalls[0][0].new_tensor(angles),
    )


def _scene(generator: torch.Generator, turns: Sequence[float], size: Size) -> list[View]:
    """A scene from one elevation and distance, and from all sides asked for."""
    things = tabletop(generator)
    first, high, away = torch.rand(3, generator=generator).tolist()
    return [
        render(
            things,
            orbit(360 * first + turn, elevation=12 + 30 * high, distance=4.2 + 2 * away),
            size=size,
        )
        for turn in turns
    ]


def _cells(size: Size, grid: int) -> Size:
    most = max(size)
    rows, columns = (max(1, round(min(grid, most) * side / most)) for side in size)
    return rows, columns


def _maps(
    network: Network, views: Sequence[View], layers: str | Iterable[str], cells: Size
) -> dict[str, Float[Tensor, "v c h w"]]:
    """Every layer on the common grid, and before them the places alone."""
    parts: dict[str, list[Tensor]] = {}
    for start in range(0, len(views), _BATCH):
        inputs = torch.stack([view.image for view in views[start : start + _BATCH]])
        batch = as_input(network, inputs)
        for name, values in read(network, batch, layers).items():
            whole = on_grid(network, network.layers[name], values, batch)
            small = nn.functional.interpolate(whole, cells, mode="bilinear", antialias=True)
            parts.setdefault(name, []).append(small.cpu())
    maps = {name: torch.cat(batches) for name, batches in parts.items()}
    like = next(iter(maps.values()))
    y, x = torch.meshgrid(*(torch.linspace(-1, 1, n).to(like) for n in cells), indexing="ij")
    curved = torch.stack([x, y, x * x, x * y, y * y, y**3])
    return {_PLACE: curved.expand(len(like), *curved.shape), **maps}


def _recall(
    maps: Float[Tensor, "v c h w"], views: Sequence[View], turns: int, within: float
) -> tuple[Float[Tensor, "a s"], Float[Tensor, "a s"]]:
    """Recall of each angle and scene, and that of blind choice."""
    size = maps.shape[2], maps.shape[3]
    points = [_things(view, size) for view in views]
    recall, blind = maps.new_zeros(2, len(views))
    for place in range(len(views)):
        first = place - place % turns
        found = match_views(maps[first], maps[place], points[first], points[place], within=within)
        recall[place], blind[place] = found.recall, found.chance
    by_scene = torch.stack([recall, blind]).unflatten(1, (-1, turns))[:, :, 1:]
    return by_scene[0].T, by_scene[1].T


def _things(view: View, size: Size) -> Float[Tensor, "3 h w"]:
    """World points in the middle of each place, without floor and sky."""
    rows, columns = middles(view.bodies.shape, size)
    world, bodies = view.points[:, rows][..., columns], view.bodies[rows][..., columns]
    return world.where(bodies > 0, torch.nan)


def _scored(
    found: Sequence[Surface], truth: Surface, turns: int
) -> tuple[DepthScores, NormalScores]:
    """Scores of each layer and scene, over all views of a scene."""
    depth, normals = (
        torch.stack([getattr(each, field) for each in found]) for field in ("depth", "normals")
    )
    far = depth_scores(depth, truth.depth.to(depth).expand_as(depth))
    turned = normal_scores(normals, truth.normals.to(normals).expand_as(normals))

    def scenes(scores: Tensor) -> Tensor:
        return scores.unflatten(1, (-1, turns)).nanmean(2)

    return (
        DepthScores(scenes(far.rmse), scenes(far.relative), scenes(far.within)),
        NormalScores(scenes(turned.rmse), scenes(turned.within)),
    )

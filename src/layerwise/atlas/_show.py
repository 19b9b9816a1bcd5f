"""What people look at: a few samples, where they lie at each layer, and what the layer sees.

Places and colours are principal components: linear, the same every time, and honest about what a
linear readout could use. Each layer's plane is turned to fit the one before, so that a slider
through the layers moves samples no further than the layers do.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from layerwise.atlas._atlas import LayerMap, LayerPicture, Neighbours, Shown
from layerwise.data import Samples, Target, Unreadable
from layerwise.models import Network

_THUMBNAIL = 72
_EXCERPT = 280
_FINEST_GRID = 56


def choose_shown(rows: Sequence[int], count: int, seed: int) -> list[int]:
    """Some of the rows, drawn without looking at anything but the seed, in order."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randperm(len(rows), generator=generator)[:count].tolist()
    return sorted(rows[i] for i in drawn)


def show(samples: Samples, rows: Sequence[int], sides: Mapping[int, str]) -> tuple[Shown, ...]:
    """Thumbnails or excerpts of some samples, with what is known of them."""
    return tuple(
        Shown(
            name=samples.names[row],
            key=samples.keys[row],
            picture=_thumbnail(samples, row) if samples.modality == "image" else "",
            text=_excerpt(samples, row) if samples.modality == "text" else "",
            split=sides.get(row, ""),
            targets={name: value_of(t, row) for name, t in samples.targets.items()},
        )
        for row in rows
    )


def value_of(target: Target, row: int) -> str:
    """A target's value in words, empty where it is missing."""
    if not bool(target.known[row]):
        return ""
    value = target.values[row]
    return target.classes[int(value)] if target.kind == "class" else f"{float(value):.4g}"


def place(network: str, features: Mapping[str, Float[Tensor, "n _"]]) -> tuple[LayerMap, ...]:
    """Put the shown samples on a plane at every layer.

    Args:
        network: its name.
        features: `[n d]` of the shown samples by layer, in the order of the network.
    """
    maps: list[LayerMap] = []
    before: Tensor | None = None
    for layer, values in features.items():
        plane = _components(values, 2)
        if before is not None:
            u, _, v = torch.linalg.svd(plane.T @ before)
            plane = plane @ (u @ v)
        before = plane
        low, high = plane.amin(0), plane.amax(0)
        spread = (high - low).clamp_min(1e-12)
        unit = ((plane - low) / spread).tolist()
        places = tuple((round(x, 4), round(y, 4)) for x, y in unit)
        maps.append(LayerMap(network, layer, places))
    return tuple(maps)


def neighbours(
    network: str, features: Mapping[str, Float[Tensor, "n _"]], *, queries: int = 10, count: int = 6
) -> tuple[Neighbours, ...]:
    """For some shown samples, the nearest others by cosine of the standardised features."""
    found = []
    for layer, values in features.items():
        unit = torch.nn.functional.normalize(_standardised(values), dim=1)
        asked = tuple(range(0, len(unit), max(1, len(unit) // queries)))[:queries]
        closeness = unit[list(asked)] @ unit.T
        closeness[torch.arange(len(asked)), torch.tensor(asked)] = -torch.inf
        nearest = closeness.topk(min(count, len(unit) - 1), 1).indices.tolist()
        found.append(Neighbours(network, layer, asked, tuple(map(tuple, nearest))))
    return tuple(found)


def pictures(
    network: Network, values: Mapping[str, Float[Tensor, "n ..."]], samples: Sequence[int]
) -> tuple[LayerPicture, ...]:
    """Colour what each layer gives for a few images by its first three principal components.

    The components are those of all places of all these images together, so that one colour means
    one thing along a row.

    Args:
        network: the network.
        values: what its layers gave, in their standard form.
        samples: the first images that were read, by the place that `LayerPicture.sample` gives.
    """
    return tuple(
        LayerPicture(network.name, layer, sample, picture)
        for layer, value in values.items()
        if (grid := on_grid(value[: len(samples)], network, layer)) is not None
        for sample, picture in zip(samples, coloured(grid), strict=True)
    )


def coloured(grid: Float[Tensor, "n c h w"]) -> list[str]:
    """Pictures of grids by their first three principal components, as data URIs.

    Args:
        grid: of one layer; one colour means one thing in all of them.
    """
    from PIL import Image

    n, _, h, w = grid.shape
    colours = _components(grid.permute(0, 2, 3, 1).flatten(0, 2), 3)
    low, high = colours.quantile(0.01, 0), colours.quantile(0.99, 0)
    shades = ((colours - low) / (high - low).clamp_min(1e-12)).clamp(0, 1).mul(255)
    images = shades.view(n, h, w, 3).byte().numpy()
    return [data_uri(Image.fromarray(image), "PNG") for image in images]


def on_grid(value: Tensor, network: Network, layer: str) -> Float[Tensor, "n c h w"] | None:
    """A layer's values at their places in the picture, not too fine; None where it has none."""
    layout = network.layers[layer].sure
    if layout.form == "map":
        grid = value
    elif layout.form == "tokens" and layout.grid is not None:
        places = value[:, layout.prefix :].transpose(1, 2)
        if places.shape[2] != layout.grid[0] * layout.grid[1]:
            return None
        grid = places.unflatten(2, layout.grid)
    else:
        return None
    if grid.shape[-1] < 2:
        return None
    factor = -(-max(grid.shape[-2:]) // _FINEST_GRID)
    return (
        torch.nn.functional.avg_pool2d(grid.float().cpu(), factor)
        if factor > 1
        else grid.float().cpu()
    )


def _components(values: Float[Tensor, "n d"], count: int) -> Float[Tensor, "n k"]:
    """Scores on the first principal components; a component that is not there scores zero."""
    centred = values.double() - values.double().mean(0)
    if len(centred) < centred.shape[1]:
        squares, vectors = torch.linalg.eigh(centred @ centred.T)
        scores = vectors * squares.clamp_min(0).sqrt()
    else:
        scores = centred @ torch.linalg.eigh(centred.T @ centred).eigenvectors
    top = scores[:, -count:].flip(1)
    # Signs are free; the same picture every time needs a rule.
    top = top * top.gather(0, top.abs().argmax(0, keepdim=True)).sign()
    return torch.nn.functional.pad(top, (0, count - top.shape[1]))


def _standardised(values: Tensor) -> Tensor:
    values = values.float()
    return (values - values.mean(0)) / values.std(0).clamp_min(1e-6)


def _thumbnail(samples: Samples, row: int) -> str:
    try:
        image = samples.load(row)
    except Unreadable:  # it was readable before; a vanished file costs its picture, not the atlas
        return ""
    image = image.convert("RGB")
    image.thumbnail((_THUMBNAIL, _THUMBNAIL))
    return data_uri(image, "JPEG")


def _excerpt(samples: Samples, row: int) -> str:
    try:
        text = " ".join(str(samples.load(row)).split())
    except Unreadable:
        return ""
    return text if len(text) <= _EXCERPT else text[:_EXCERPT] + " …"


def data_uri(image: Any, form: str) -> str:
    """A picture of PIL as a page can hold it."""
    buffer = io.BytesIO()
    image.save(buffer, form, **({"quality": 80} if form == "JPEG" else {"optimize": True}))
    kind = form.lower()
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"

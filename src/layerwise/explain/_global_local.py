"""Global-local similarity: where a picture's places say what the whole says (P163).

The class token stands for the whole, every patch token for its place; their cosine is a map that
costs one product per place, where attention rollout costs a product of matrices per layer. The box
around the places most like the whole is cut out of the picture, brought to its size, and read
again; both readings side by side are the features. Nothing is trained.

Ours: a network without class token is summed up by the mean of its places, so that convolutional
ones serve as well; and the box reaches to the far edge of its last places, which public code leaves
out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from layerwise._paper import paper
from layerwise.errors import LayerwiseError
from layerwise.explain._differentiable import require_inputs, running
from layerwise.explain._response import layer_of
from layerwise.models import Layer, Network
from layerwise.taps import read


@final
@dataclass(frozen=True)
class Regions:
    """What was found in each picture.

    Args:
        similarity: of each place with the whole.
        boxes: left, upper, right and lower edge in pixels.
        crops: the boxes at the size of the pictures.
        features: the whole's reading of the picture, and of the crop.
    """

    similarity: Float[Tensor, "n h w"]
    boxes: Int[Tensor, "n 4"]
    crops: Float[Tensor, "n c H W"]
    features: Float[Tensor, "n e"]


@paper(
    "Global-Local Similarity for Efficient Fine-Grained Image Recognition with Vision Transformers",
    year=2024,
    arxiv="2407.12891",
    no=(163,),
)
def global_local_similarity(
    network: Network,
    image: Float[Tensor, "n c H W"],
    *,
    layer: str | None = None,
    count: int = 8,
) -> Regions:
    """Find the region of each picture that is most like the whole, and read it again.

    Args:
        network: a vision transformer, or any network with a layer that has places.
        image: pictures as the network takes them.
        layer: address of a layer with places; without it, the last one.
        count: places that the box is put around.

    Raises:
        LayerwiseError: no pictures, no such layer, one without places, or fewer than `count`.

    Example:
        >>> from layerwise.vocabulary import examples
        >>> found = global_local_similarity(**examples(global_local_similarity))
        >>> found.similarity.shape, found.features.shape
        (torch.Size([36, 4, 4]), torch.Size([36, 12]))
    """
    require_inputs(image)
    network.take_example(image)
    chosen = _last_with_places(network) if layer is None else layer_of(network, layer)
    whole, places = _read(network, image, chosen)
    grid = _grid(network, image, chosen, places)
    if not 1 <= count <= places.shape[1]:
        raise LayerwiseError(
            f"layer {chosen.name!r} has {places.shape[1]} places; count={count} must be from 1 to "
            "so many"
        )
    similarity = nn.functional.cosine_similarity(whole[:, None], places, dim=2)
    boxes = _boxes(similarity.topk(count).indices, grid, image.shape[2:])
    crops = torch.cat(
        [
            nn.functional.interpolate(
                each[None, :, upper:lower, left:right],
                image.shape[2:],
                mode="bilinear",
                align_corners=False,
            )
            for each, (left, upper, right, lower) in zip(image, boxes.tolist(), strict=True)
        ]
    )
    again, _ = _read(network, crops, chosen)
    return Regions(similarity.view(-1, *grid), boxes, crops, torch.cat([whole, again], 1))


def _last_with_places(network: Network) -> Layer:
    for layer in reversed(network.layers):
        layout = layer.layout
        if layout is not None and layout.grid is not None and layout.grid != (1, 1):
            return layer
    raise LayerwiseError(f"{network.name} has no layer with places in rows and columns")


def _read(
    network: Network, image: Tensor, layer: Layer
) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n p d"]]:
    """The whole and the places of pictures."""
    layout = layer.sure
    with running(network, image):
        tokens = layout.tokens(read(network, image, layer.name)[layer.name])
    places = tokens[:, layout.prefix :]
    return (tokens[:, 0] if layout.prefix else places.mean(1)), places


def _grid(network: Network, image: Tensor, layer: Layer, places: Tensor) -> tuple[int, int]:
    """Rows and columns of the places; other sizes than the example's have others."""
    grid, example = layer.sure.grid, network.example
    if grid is None or not isinstance(example, Tensor):
        raise LayerwiseError(
            f"layer {layer.name!r} has no places in rows and columns; give another layer"
        )
    rows, columns = (
        round(now * cells / before)
        for now, cells, before in zip(image.shape[2:], grid, example.shape[2:], strict=True)
    )
    if rows * columns != places.shape[1]:
        raise LayerwiseError(
            f"{places.shape[1]} places of layer {layer.name!r} are not {rows} rows of {columns}; "
            f"give pictures of the size that the network takes, {list(example.shape[2:])}"
        )
    return rows, columns


def _boxes(
    chosen: Int[Tensor, "n k"], grid: tuple[int, int], size: torch.Size
) -> Int[Tensor, "n 4"]:
    """The boxes around some places, in pixels."""
    rows, columns = chosen // grid[1], chosen % grid[1]
    edges = (columns.amin(1), rows.amin(1), columns.amax(1) + 1, rows.amax(1) + 1)
    across, down = size[1] / grid[1], size[0] / grid[0]
    steps = (across, down, across, down)
    return torch.stack([(e * s).round() for e, s in zip(edges, steps, strict=True)], 1).long()

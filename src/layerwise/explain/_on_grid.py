"""A layer's places in rows and columns, whether it gives maps or tokens."""

from __future__ import annotations

import math

from jaxtyping import Float
from torch import Tensor

from layerwise.errors import LayerwiseError
from layerwise.models import Layer


def on_grid(layer: Layer, value: Float[Tensor, "n ..."]) -> Float[Tensor, "n c h w"]:
    """Lay out what flows from a layer as maps; tokens that are no places are left out.

    Args:
        layer: the layer, as `network.layers` lists it.
        value: its output in the standard form, as `read` gives it.

    Raises:
        LayerwiseError: the layer has no places in rows and columns.

    Example:
        >>> import torch, layerwise
        >>> network = layerwise.open(torch.nn.Conv2d(3, 8, 3), example=torch.zeros(1, 3, 9, 9))
        >>> value = layerwise.read(network, torch.zeros(2, 3, 9, 9), ".")["."]
        >>> on_grid(network.layers["."], value).shape
        torch.Size([2, 8, 7, 7])
    """
    layout = layer.sure
    if layout.form == "map":
        return value
    if layout.form == "vector" or layout.grid is None:
        raise LayerwiseError(
            f"layer {layer.name!r} gives {layout.form} without rows and columns; "
            f"choose a layer with a map or a grid of tokens"
        )
    places = value[:, layout.prefix :].transpose(1, 2)
    rows, columns = layout.grid
    if places.shape[2] != rows * columns:  # pictures of another size than the example's
        rows = columns = math.isqrt(places.shape[2])
    if places.shape[2] != rows * columns:
        raise LayerwiseError(
            f"layer {layer.name!r} gives {places.shape[2]} tokens, and nothing says in how many "
            f"rows; open the network with an example of this size"
        )
    return places.unflatten(2, (rows, columns))

"""What stands at each place of a layer, without asking anybody for the shape of its tokens."""

from __future__ import annotations

from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor

from layerwise.errors import LayerwiseError
from layerwise.models import Layer, Network
from layerwise.taps._read import Inputs


def placed(
    network: Network, layer: Layer, value: Tensor, inputs: Inputs
) -> Float[Tensor, "n c h w"] | Float[Tensor, "n t c"]:
    """A layer's standard form with its places only: a map of a picture, or the tokens of a text.

    Class tokens and registers are no places and are left out.

    Args:
        network: the network.
        layer: the layer.
        value: in its standard form.
        inputs: the batch it was read from, for the shape of the grid.

    Raises:
        LayerwiseError: the layer has no places.
    """
    layout = layer.sure
    if layout.form == "vector":
        blocks = [each for each in network.layers if each.kind == "block" and each.layout]
        near = [each.name for each in blocks if each.sure.form != "vector"]
        hint = f"; the last block that has some is {near[-1]!r}" if near else ""
        raise LayerwiseError(
            f"layer {layer.name!r} has no places, it gives one row of {value.shape[1]} numbers "
            f"for each input{hint}"
        )
    if layout.form == "map":
        return value
    places = value[:, layout.prefix :]
    if layout.grid is None:
        return places
    return places.transpose(1, 2).unflatten(2, _grid(network, layer, places.shape[1], inputs))


def on_grid(
    network: Network, layer: Layer, value: Tensor, inputs: Inputs
) -> Float[Tensor, "n c h w"]:
    """A layer's standard form as maps; tokens that are no places are left out.

    Args:
        network: the network.
        layer: the layer, as `network.layers` lists it.
        value: its output, as `read` gives it.
        inputs: the batch it was read from, for the shape of the grid.

    Raises:
        LayerwiseError: the layer has no places in rows and columns.

    Example:
        >>> import torch, layerwise
        >>> network = layerwise.open(torch.nn.Conv2d(3, 8, 3), example=torch.zeros(1, 3, 9, 9))
        >>> inputs = torch.zeros(2, 3, 9, 9)
        >>> value = layerwise.read(network, inputs, ".")["."]
        >>> on_grid(network, network.layers["."], value, inputs).shape
        torch.Size([2, 8, 7, 7])
    """
    laid = placed(network, layer, value, inputs)
    if laid.ndim != 4:
        raise LayerwiseError(
            f"layer {layer.name!r} gives places in one row; choose a layer with a map or a grid of "
            f"tokens"
        )
    return laid


def _grid(network: Network, layer: Layer, count: int, inputs: Inputs) -> tuple[int, int]:
    """Rows and columns of tokens: those of the example, grown as the picture has."""
    grid = layer.sure.grid
    assert grid is not None
    now, then = _size(inputs), _size(network.example)
    scaled = grid
    if now is not None and then is not None:
        scaled = (now[0] * grid[0] // then[0], now[1] * grid[1] // then[1])
    for rows, columns in (scaled, grid):
        if rows * columns == count:
            return rows, columns
    raise LayerwiseError(
        f"layer {layer.name!r} gives {count} places for these inputs, {grid[0]} x {grid[1]} for "
        f"the network's example; open the network with an example= of the size you explain"
    )


def _size(inputs: Inputs | None) -> tuple[int, int] | None:
    tensors = inputs.values() if isinstance(inputs, Mapping) else [inputs]
    pictures = [t for t in tensors if t is not None and t.ndim == 4 and t.is_floating_point()]
    return (pictures[0].shape[2], pictures[0].shape[3]) if pictures else None

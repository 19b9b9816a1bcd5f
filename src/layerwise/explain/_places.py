"""What stands at each place of a layer, without asking anybody for the shape of its tokens."""

from __future__ import annotations

from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor

from layerwise.errors import LayerwiseError
from layerwise.explain._differentiable import Inputs
from layerwise.features import Features
from layerwise.models import Layer, Network


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


def heat(network: Network, attributions: Mapping[str, Tensor], inputs: Inputs) -> Features:
    """One number for each place: attributions summed over the channels.

    Args:
        network: the network.
        attributions: of some layers, in their standard form.
        inputs: the batch that was explained.

    Returns:
        By address `[n 1 h w]`, or `[n t 1]` for texts.

    Raises:
        LayerwiseError: a layer has no places.

    Example:
        >>> import torch, layerwise
        >>> network = layerwise.open(torch.nn.Conv2d(3, 4, 3), example=torch.zeros(1, 3, 9, 9))
        >>> heat(network, {".": torch.ones(2, 4, 7, 7)}, torch.zeros(2, 3, 9, 9))["."].shape
        torch.Size([2, 1, 7, 7])
    """
    found = {}
    for name, value in attributions.items():
        places = placed(network, network.layers.find(name), value, inputs)
        found[name] = places.sum(1 if places.ndim == 4 else 2, keepdim=True)
    return Features(found)


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

"""The one layer that a pattern picks."""

from __future__ import annotations

from layerwise.errors import LayerwiseError
from layerwise.models import Layer, Network


def only(network: Network, pattern: str) -> Layer:
    """The layer of a method that looks at one: an address, a depth, or any pattern for one layer.

    Args:
        network: where to look.
        pattern: as `network.layers` takes it.

    Raises:
        LayerwiseError: no such layer, or several.

    Example:
        >>> import torch, layerwise
        >>> network = layerwise.open(torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU()),
        ...                          example=torch.zeros(1, 2))
        >>> only(network, "kind:linear").name
        '0'
    """
    found = network.layers.select(pattern)
    if len(found) > 1:
        names = ", ".join(layer.name for layer in found[:4])
        raise LayerwiseError(
            f"{pattern!r} picks {len(found)} layers ({names} ...); give the address of one"
        )
    return found[0]

"""Changing what flows out of a layer, for as long as a `with` lasts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from layerwise.errors import LayerwiseError
from layerwise.models import Layer, Network
from layerwise.taps._tap import tap

Edit = Callable[[Tensor], Tensor]
"""Takes a layer's output in its standard form and gives one of the same shape."""


@final
@dataclass(frozen=True)
class Skip:
    """Lets what flows into a layer flow out of it, as if the layer were not there."""


@final
@dataclass(frozen=True)
class Scale:
    """Multiplies by a number."""

    factor: float

    def __call__(self, value: Tensor) -> Tensor:
        return value * self.factor


@final
@dataclass(frozen=True)
class Add:
    """Adds a number, or a tensor that broadcasts to the standard form."""

    other: float | Tensor

    def __call__(self, value: Tensor) -> Tensor:
        return value + self.other


@final
@dataclass(frozen=True)
class Replace:
    """Puts a number, or a tensor that broadcasts to the standard form, in the place of all."""

    other: float | Tensor

    def __call__(self, value: Tensor) -> Tensor:
        other = torch.as_tensor(self.other, dtype=value.dtype, device=value.device)
        return other.expand_as(value)


@final
@dataclass(frozen=True)
class Clamp:
    """Keeps values between two bounds, for all channels or for some."""

    low: float | None = None
    high: float | None = None
    channels: tuple[int, ...] | None = None

    def __call__(self, value: Tensor) -> Tensor:
        clamped = value.clamp(self.low, self.high)
        if self.channels is None:
            return clamped
        axis = 1 if value.ndim == 4 else value.ndim - 1
        chosen = torch.zeros(value.shape[axis], dtype=torch.bool, device=value.device)
        chosen[list(self.channels)] = True
        shape = [-1 if place == axis else 1 for place in range(value.ndim)]
        return torch.where(chosen.view(shape), clamped, value)


@contextmanager
def edit(network: Network, edits: Mapping[str, Edit | Skip]) -> Iterator[Network]:
    """Change what flows out of some layers in every forward inside the `with`.

    Args:
        network: the network; its weights and code stay as they are.
        edits: by address or pattern: `Skip()`, `Scale`, `Add`, `Replace`, `Clamp`, or any function
            that takes the output in its standard form (`[n d]`, `[n c h w]`, `[n t d]`) and gives
            one of the same shape. Gradients flow through it.

    Raises:
        LayerwiseError: no such layer; a layer to be skipped takes in another shape than it gives;
            a function gave another shape than it got.

    Example:
        >>> import torch, layerwise
        >>> network = layerwise.open(torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU()),
        ...                          example=torch.zeros(1, 4))
        >>> with edit(network, {"0": Replace(2.0)}):
        ...     network(torch.zeros(1, 4)).tolist()
        [[2.0, 2.0, 2.0, 2.0]]
    """
    changes: dict[str, Edit] = {}
    entering: dict[str, str] = {}
    for pattern, change in edits.items():
        for layer in network.layers.select(pattern):
            if isinstance(change, Skip):
                entering[network.layers.entry(layer).name] = layer.name
            else:
                changes[layer.name] = change
    entered: dict[str, Tensor] = {}
    skipped = set(entering.values())

    def receive(layer: Layer, value: Tensor) -> Tensor | None:
        if layer.name in entering:
            entered[entering[layer.name]] = value
        if layer.name in skipped:
            return entered.pop(layer.name)
        if layer.name in changes:
            return _changed(layer, value, changes[layer.name])
        return None

    with tap(network, [*entering, *skipped, *changes], receive):
        yield network


def _changed(layer: Layer, value: Tensor, change: Edit) -> Tensor:
    standard = layer.sure.standard(value)
    other = change(standard)
    if other.shape != standard.shape:
        raise LayerwiseError(
            f"the edit of layer {layer.name!r} gave shape {list(other.shape)}, "
            f"it must give {list(standard.shape)}"
        )
    return layer.sure.original(other, tuple(value.shape))

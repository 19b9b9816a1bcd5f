"""How far the heads of a network look, and whether its places stay where they are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from layerwise.atlas._comparison import Looking, Placed
from layerwise.data import Samples, Unreadable
from layerwise.errors import LayerwiseError
from layerwise.measures import attention_distance, localisation
from layerwise.models import Network
from layerwise.taps._attention import attention_layers

_LOOKED = 8
_PLACED = 48
_LENGTH = 256
"""Tokens of a text that are looked at: attention costs their square."""
_DEPTHS = ("0%", "33%", "67%", "100%")


def looking(network: Network, samples: Samples, seed: int) -> Iterator[Looking]:
    """Distances of all heads on a few samples; nothing where no attention can be seen."""
    layers = attention_layers(network)
    if not layers:
        return
    prepared = drawn(network, samples, _LOOKED, seed)
    if network.modality == "text":
        prepared = [{**p, "input_ids": p["input_ids"][:_LENGTH]} for p in prepared]
    last = max(1, len(network.layers) - 1)
    try:
        found = attention_distance(network, network.batch(prepared))
    except LayerwiseError:  # windows, or attention that nobody can see
        return
    for name, heads in zip(found.layers, found.distance, strict=True):
        depth = network.layers[name].position / last
        yield Looking(network.name, name, depth, tuple(sorted(heads.tolist())), found.unit)


def placed(network: Network, samples: Samples, seed: int) -> Iterator[Placed]:
    """Localisation at four depths of a network of pictures; nothing where there are no places."""
    if network.modality != "image":
        return
    prepared = drawn(network, samples, _PLACED, seed)
    image = network.batch(prepared)
    if not isinstance(image, Tensor) or len(image) < 4:
        return
    blocks = [layer for layer in network.layers if layer.kind == "block"]
    for name in dict.fromkeys(network.layers.select(depth)[0].name for depth in _DEPTHS):
        layer = network.layers[name]
        try:
            found = localisation(network, image, layer=name)
        except LayerwiseError:  # no grid of places
            continue
        yield Placed(
            network.name,
            name,
            [block.name for block in blocks].index(layer.name) / max(1, len(blocks) - 1),
            float(found.found),
            1 / len(found.similarity),
            float(found.distance) / max(found.grid),
        )


def drawn(network: Network, samples: Samples, count: int, seed: int) -> list[Any]:
    """Some samples, prepared; those that cannot be read are passed over."""
    generator = torch.Generator().manual_seed(seed)
    found: list[Any] = []
    for row in torch.randperm(len(samples), generator=generator).tolist():
        if len(found) == count:
            break
        try:
            found.append(network.prepare(samples.load(row)))
        except (Unreadable, LayerwiseError):
            continue
    return found

"""Which layers are pooled how, and where that is stored.

A layer that gives a vector is kept as it is. Maps have no first and no last place, so these two
poolings go with tokens only. Without a word from the user every layer is pooled by its mean; the
first token is added where tokens are led by others that are no places of the input, or where a text
network is found to look ahead; the last one where it is found to look back only.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import torch

from layerwise.errors import LayerwiseError
from layerwise.features import Column, First, Last, Mean
from layerwise.features.laws import Pooling
from layerwise.models import Layer, Network
from layerwise.taps._read import pool

_TOKENS_ONLY = ("first", "last")


@final
@dataclass(frozen=True)
class Wanted:
    """Layers to read with their poolings.

    Args:
        poolings: by the layer's address, in the order of execution.
        columns: one for each of them, in the same order.
        refused: layers that a pattern picked but nobody can vouch for, with the reason.
    """

    poolings: Mapping[str, tuple[Pooling, ...]]
    columns: tuple[Column, ...]
    refused: tuple[tuple[str, str], ...]


def wanted(
    network: Network, layers: str | Iterable[str], poolings: Sequence[Pooling] | None
) -> Wanted:
    """Choose the layers and how to pool each.

    Raises:
        LayerwiseError: no such layer, none that can be vouched for, or a layer that none of the
            poolings fits.
    """
    chosen = network.layers.select(layers)
    sure = [layer for layer in chosen if layer.layout is not None]
    refused = tuple((layer.name, layer.doubt) for layer in chosen if layer.layout is None)
    if not sure:
        raise LayerwiseError(
            f"layer {refused[0][0]!r} cannot be read in a known form: {refused[0][1]}"
        )
    if poolings is None:
        looking = _looking(network) if network.modality == "text" else ()
        by_layer = {layer.name: _usual(layer, looking) for layer in sure}
    else:
        by_layer = {layer.name: _fitting(layer, poolings) for layer in sure}
    columns = [_column(layer, pooling) for layer in sure for pooling in by_layer[layer.name]]
    return Wanted(by_layer, tuple(columns), refused)


def _usual(layer: Layer, looking: tuple[Pooling, ...]) -> tuple[Pooling, ...]:
    if layer.sure.form != "tokens":
        return (Mean(),)
    if layer.sure.prefix:
        return (Mean(), First())
    return (Mean(), *looking)


def _looking(network: Network) -> tuple[Pooling, ...]:
    """First if the first token knows what comes after it, else Last; by trying."""
    texts = ("one two six", "one two ten")
    inputs = network.batch([network.prepare(text) for text in texts])
    last = [layer for layer in network.layers.select("blocks") if layer.layout is not None][-1]
    if last.sure.form != "tokens":
        return ()
    one, other = pool(network, inputs, last.name, [First()])[last.name, "first"]
    return (Last(),) if torch.allclose(one, other, rtol=1e-3, atol=1e-5) else (First(),)


def _fitting(layer: Layer, poolings: Sequence[Pooling]) -> tuple[Pooling, ...]:
    if layer.sure.form == "vector":
        return (Mean(),)
    tokens = layer.sure.form == "tokens"
    fitting = tuple(p for p in poolings if tokens or p.name not in _TOKENS_ONLY)
    if not fitting:
        raise LayerwiseError(
            f"layer {layer.name!r} is a {layer.sure.form}, and {poolings[0].name!r} needs tokens; "
            "add a pooling such as Mean()"
            if poolings
            else "no pooling was asked for; give one such as Mean()"
        )
    return fitting


def _column(layer: Layer, pooling: Pooling) -> Column:
    layout = layer.sure
    words = f"{layout.form} after {layout.prefix} prefix" if layout.prefix else str(layout.form)
    width = math.prod(layer.shape) if layout.form == "vector" else layer.width
    return Column(layer.name, pooling.name, width, words, repr(pooling))

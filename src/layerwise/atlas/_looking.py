"""How far the heads of a network look, whether its places stay where they are, what each tells."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from layerwise.atlas._comparison import Looking, Placed, Probed
from layerwise.data import Samples, Unreadable
from layerwise.errors import LayerwiseError
from layerwise.measures import Localisation, TokenProbe, attention_distance
from layerwise.measures._localisation import localise
from layerwise.measures._on_grid import on_grid
from layerwise.measures._token_probe import probe_places
from layerwise.models import Network
from layerwise.taps._attention import attention_layers

_LOOKED = 8
_PLACED = 48
_PROBED = 96
_SIDE = 16
_LENGTH = 256
"""Tokens of a text that are looked at: attention costs their square."""
_DEPTHS = ("0%", "33%", "67%", "100%")


def looking(network: Network, samples: Samples, seed: int) -> Iterator[Looking]:
    """Distances of all heads on a few samples; nothing where no attention can be seen."""
    layers = attention_layers(network)
    if not layers:
        return
    prepared = list(drawn(network, samples, _LOOKED, seed).values())
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


def places_of(
    network: Network, samples: Samples, seed: int
) -> tuple[tuple[Placed, ...], tuple[Probed, ...]]:
    """Localisation, and probes of single places, at four depths of a network of pictures.

    Nothing where there are no places; no probes without a target of classes.
    """
    if network.modality == "text":
        return (), ()
    target = next((t for t in samples.targets.values() if t.kind == "class"), None)
    rows = range(len(samples)) if target is None else target.known.nonzero().flatten().tolist()
    prepared = drawn(network, samples.take(rows), _PLACED if target is None else _PROBED, seed)
    image = network.batch(list(prepared.values()))
    if not isinstance(image, Tensor) or image.ndim != 4 or len(image) < 4:
        return (), ()
    labels = None if target is None else target.values[[rows[i] for i in prepared]]
    found: list[Placed] = []
    probed: list[Probed] = []
    blocks = [layer.name for layer in network.layers if layer.kind == "block"]
    order = blocks or [layer.name for layer in network.layers]
    for name in dict.fromkeys(network.layers.select(depth)[0].name for depth in _DEPTHS):
        depth = order.index(name) / max(1, len(order) - 1)
        try:
            seen = on_grid(network, image, name, side=_SIDE)
        except LayerwiseError:  # no grid of places
            continue
        few = replace(seen, places=seen.places[:_PLACED], prefix=seen.prefix[:_PLACED])
        found.append(_placed(localise(few, image[:_PLACED]), network, depth))
        if labels is not None and len(labels) >= 8 and len(labels.unique()) > 1:
            assert target is not None
            probe = probe_places(seen, labels)
            probed.append(_probed(probe, network, depth, target.name, len(labels)))
    return tuple(found), tuple(probed)


def _placed(found: Localisation, network: Network, depth: float) -> Placed:
    return Placed(
        network.name,
        found.layer,
        depth,
        float(found.found),
        1 / len(found.similarity),
        float(found.distance) / max(found.grid),
    )


def _probed(probe: TokenProbe, network: Network, depth: float, target: str, count: int) -> Probed:
    return Probed(
        network=network.name,
        layer=probe.layer,
        depth=depth,
        target=target,
        samples=count,
        single=float(probe.single.value),
        single_low=float(probe.single.low),
        single_high=float(probe.single.high),
        pooled=float(probe.pooled.value),
        pooled_low=float(probe.pooled.low),
        pooled_high=float(probe.pooled.high),
        gain=float(probe.gain.value),
        gain_low=float(probe.gain.low),
        gain_high=float(probe.gain.high),
        prefix=float(probe.prefix.max()) if len(probe.prefix) else None,
    )


def drawn(network: Network, samples: Samples, count: int, seed: int) -> dict[int, Any]:
    """Some samples, prepared, by their row; those that cannot be read are passed over."""
    generator = torch.Generator().manual_seed(seed)
    found: dict[int, Any] = {}
    for row in torch.randperm(len(samples), generator=generator).tolist():
        if len(found) == count:
            break
        try:
            found[row] = network.prepare(samples.load(row))
        except (Unreadable, LayerwiseError):
            continue
    return found

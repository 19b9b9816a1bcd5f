"""From the pass over the data to rows and features: what surveys and comparisons share."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from layerwise.atlas._atlas import LayerRow, NetworkRow
from layerwise.atlas._choose import Key
from layerwise.atlas._geometry import dimensions_of, smallness
from layerwise.atlas._price import Price
from layerwise.data import Samples
from layerwise.errors import LayerwiseError
from layerwise.models import Network
from layerwise.taps import Extraction


def named_networks(networks: Sequence[Network]) -> dict[str, Network]:
    """The networks by their names, of which each may stand only once."""
    named = {network.name: network for network in networks}
    if not named or len(named) < len(networks):
        given = ", ".join(network.name for network in networks) or "none"
        raise LayerwiseError(f"networks {given}: give at least one, and each name only once")
    return named


def make_folder(folder: Path) -> None:
    """Make a folder for results where there is none."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LayerwiseError(
            f"the folder {str(folder)!r} cannot be made: {error.strerror}; give another with --out"
        ) from error


def store_of(folder: Path, network: str) -> Path:
    """Where an atlas keeps the features of a network.

    Args:
        folder: of the atlas.
        network: its name.
    """
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", network).strip("-.") or "network"
    return folder / "features" / f"{name}.lance"


def load_features(
    samples: Samples, extractions: Mapping[str, Extraction]
) -> tuple[list[int], dict[Key, Float[Tensor, "n d"]]]:
    """Features of the samples that every network could read, in one order."""
    stored = [extraction.store.keys() for extraction in extractions.values()]
    rows = [i for i, key in enumerate(samples.keys) if all(key in keys for keys in stored)]
    if not rows:
        aside = set_aside(samples, extractions)
        first = f", first {aside[0][0]!r}: {aside[0][1]}" if aside else ""
        raise LayerwiseError(
            f"no sample of {samples.source} could be read by every network; "
            f"{len(aside)} were set aside{first}"
        )
    keys = [samples.keys[i] for i in rows]
    features = {
        (name, column.layer, column.pooling): extraction.store.load(column.name, keys=keys).float()
        for name, extraction in extractions.items()
        for column in extraction.store.columns
    }
    return rows, features


def layer_rows(
    networks: Mapping[str, Network],
    extractions: Mapping[str, Extraction],
    features: Mapping[Key, Float[Tensor, "n _"]],
    priced: Mapping[tuple[str, str], Price],
) -> tuple[LayerRow, ...]:
    """A row for every layer that was read or refused, with its costs and dimensions."""
    found = []
    for name, network in networks.items():
        refused = dict(extractions[name].refused)
        read = {column.layer for column in extractions[name].store.columns}
        listed = [layer for layer in network.layers if layer.name in read | refused.keys()]
        for i, layer in enumerate(listed):
            mine = {
                key[2]: value for key, value in features.items() if key[:2] == (name, layer.name)
            }
            row = LayerRow(
                network=name,
                layer=layer.name,
                kind=layer.kind,
                position=i,
                depth=i / max(1, len(listed) - 1),
                layout=layer.layout.form if layer.layout else "",
                shape=layer.shape,
                width=layer.width if layer.layout else 0,
                parameters=layer.parameters_before,
                flops=layer.flops_before,
                milliseconds=priced[name, layer.name].together,
                bytes=sum(4 * value.shape[1] for value in mine.values()),
                refused=refused.get(layer.name, ""),
            )
            found.append(dimensions_of(row, mine["mean"]) if "mean" in mine else row)
    return tuple(found)


def set_aside(
    samples: Samples, extractions: Mapping[str, Extraction]
) -> tuple[tuple[str, str], ...]:
    """Names of samples that could not be used, with the reasons."""
    every = [*samples.set_aside, *(s for e in extractions.values() for s in e.set_aside)]
    return tuple(dict.fromkeys((aside.name, aside.reason) for aside in every))


def pooled_by_mean(
    features: Mapping[Key, Float[Tensor, "n _"]], network: str
) -> dict[str, Float[Tensor, "n _"]]:
    """The layers of one network, pooled by their mean.

    Args:
        features: of all networks, layers and poolings.
        network: its name.
    """
    return {k[1]: values for k, values in features.items() if k[0] == network and k[2] == "mean"}


def network_row(
    network: Network, extraction: Extraction, features: Mapping[str, Float[Tensor, "n _"]]
) -> NetworkRow:
    """A network's row, with what has to be known about how it was read."""
    return NetworkRow(
        network.name,
        network.source,
        network.modality,
        network.card,
        sum(p.numel() for p in network.module.parameters()),
        network.weights_hash,
        repr(network.prepare),
        (*_notes(network, extraction), *smallness(features)),
    )


def _notes(network: Network, extraction: Extraction) -> tuple[str, ...]:
    read = [network.layers[column.layer] for column in extraction.store.columns]
    copied = [layer.name for layer in dict.fromkeys(read) if layer.overwritten]
    notes = [f"{name} was not read: {reason}" for name, reason in extraction.refused]
    if copied:
        notes.append(f"changed in place later, so copied before: {', '.join(copied)}")
    return tuple(notes)

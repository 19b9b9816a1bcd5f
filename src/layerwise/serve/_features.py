"""Features of a few samples in memory, read and pooled as those that are stored."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from layerwise.atlas._reader import pooling_named
from layerwise.data import Samples, Unreadable, batches
from layerwise.errors import LayerwiseError
from layerwise.features import Recipe
from layerwise.features.laws import Pooling
from layerwise.models import Network
from layerwise.taps._columns import Wanted
from layerwise.taps._read import pool


def columns_of(recipe: Recipe, network: Network, made: str) -> Wanted:
    """What to read of a network for features like those that are stored.

    Args:
        recipe: of the store.
        network: as it was opened now.
        made: what the store belongs to, in words.

    Raises:
        LayerwiseError: the network is another one now, or it is fed otherwise.
    """
    fed = re.sub(r" at 0x[0-9a-f]+", "", repr(network.prepare))
    now = replace(recipe, weights=network.weights_hash, preparation=fed)
    if difference := recipe.difference(now):
        raise LayerwiseError(
            f"{made} was made otherwise than {network.name} opens here: {difference}; make it anew"
        )
    poolings: dict[str, tuple[Pooling, ...]] = {}
    for column in recipe.columns:
        pooling = pooling_named(column.pooling)
        poolings[column.layer] = (*poolings.get(column.layer, ()), pooling)
    return Wanted(poolings, recipe.columns, ())


@final
@dataclass(frozen=True)
class Seen:
    """What a network makes of a few samples.

    Args:
        places: of the samples that could be read.
        prepared: the same, as the network takes them.
        features: of the same, by column.
        left: the others by their place, with the reason.
    """

    places: tuple[int, ...]
    prepared: tuple[Any, ...]
    features: Mapping[str, Float[Tensor, "n _"]]
    left: Mapping[int, Unreadable]


def seen(network: Network, samples: Samples, wanted: Wanted) -> Seen:
    """Read samples in one forward.

    Args:
        network: reads them.
        samples: a few, called by their places.
        wanted: the columns.
    """
    batch = next(batches(samples, network.prepare, [range(len(samples))], workers=0))
    left = {int(each.name): Unreadable(each.reason) for each in batch.set_aside}
    if not batch.prepared:
        return Seen((), (), {}, left)
    pooled = pool(network, network.batch(batch.prepared), wanted.poolings, wanted.poolings)
    rows = {c.name: pooled[c.layer, c.pooling].float().cpu() for c in wanted.columns}
    sound = torch.stack([each.isfinite().all(1) for each in rows.values()]).all(0)
    unsound = Unreadable("the network gives NaN or infinity for it")
    good = sound.tolist()
    pairs = list(zip(batch.indices, batch.prepared, good, strict=True))
    return Seen(
        tuple(place for place, _, kept in pairs if kept),
        tuple(prepared for _, prepared, kept in pairs if kept),
        {name: each[sound] for name, each in rows.items()},
        left | {place: unsound for place, _, kept in pairs if not kept},
    )

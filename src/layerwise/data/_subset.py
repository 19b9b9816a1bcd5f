"""A seeded part of the samples in which every class keeps its share."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Hashable, Sequence

from layerwise.errors import LayerwiseError


def subset(strata: Sequence[Hashable], limit: int | None, seed: int) -> list[int]:
    """Choose at most `limit` places, each stratum in proportion, in ascending order.

    Every place gets a rank inside its stratum, in a seeded order, as a fraction of the stratum's
    size; the places with the smallest fractions are taken. So a smaller limit is always a part of
    a larger one.

    Raises:
        LayerwiseError: the limit is below one.

    Example:
        >>> kept = subset("aaaaaaaabb", 5, seed=0)
        >>> sum(place < 8 for place in kept), sum(place >= 8 for place in kept)
        (4, 1)
    """
    if limit is not None and limit < 1:
        raise LayerwiseError(f"limit={limit} leaves nothing; give 1 or more, or no limit")
    if limit is None or limit >= len(strata):
        return list(range(len(strata)))
    members: defaultdict[Hashable, list[int]] = defaultdict(list)
    for place, stratum in enumerate(strata):
        members[stratum].append(place)
    generator = random.Random(seed)
    ranked: list[tuple[float, float, int]] = []
    for places in members.values():
        generator.shuffle(places)
        for rank, place in enumerate(places):
            ranked.append(((rank + 0.5) / len(places), generator.random(), place))
    return sorted(place for _, _, place in sorted(ranked)[:limit])

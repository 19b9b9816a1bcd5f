"""Deals units of samples out to sides, so that every side is like the whole.

Units are what must stay together. They are dealt one by one, largest first and otherwise in a
seeded order, each to the side that lacks most of what the unit holds (the rule of iterative
stratification, Sechidis et al. 2011). A stratum that has as many units as there are sides, or more,
reaches every side wherever its units hold nothing else.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Container, Hashable, Iterator, Mapping, Sequence

from layerwise.data._keys import content
from layerwise.data._samples import Target

_QUANTILES = 10
_PER_QUANTILE = 10


def strata_of(target: Target, rows: Sequence[int]) -> dict[int, int]:
    """Stratum of each row: its class, or the quantile of its number."""
    values = target.values[rows]
    if target.kind == "class":
        return dict(zip(rows, values.tolist(), strict=True))
    bins = max(1, min(_QUANTILES, len(rows) // _PER_QUANTILE))
    ranks = values.argsort(stable=True).argsort()
    return dict(zip(rows, (ranks * bins // max(1, len(rows))).tolist(), strict=True))


def units_of(target: Target, keys: Sequence[str], rows: Sequence[int]) -> list[list[int]]:
    """Rows that must stay together: connected by a group or by equal content."""
    again = {content(keys[row]) for row in rows if content(keys[row]) != keys[row]}
    parent: dict[int, int] = {}  # of rows that were joined to another one
    first: dict[Hashable, int] = {}

    def root(row: int) -> int:
        while row in parent:
            parent[row] = parent.get(parent[row], parent[row])
            row = parent[row]
        return row

    for row in rows:
        for shared in _shared(target, content(keys[row]), row, again):
            one, other = root(row), root(first.setdefault(shared, row))
            if one != other:
                parent[one] = other
    members: dict[int, list[int]] = {}
    for row in rows:
        if (top := root(row)) in members:
            members[top].append(row)
        else:
            members[top] = [row]
    return list(members.values())


def _shared(
    target: Target, held: str, row: int, again: Container[str]
) -> Iterator[tuple[str, Hashable]]:
    """What a row has in common with others, if there are any."""
    if held in again:
        yield "content", held
    if target.groups is not None:
        yield "group", target.groups[row]


def deal(
    units: Sequence[Sequence[int]],
    strata: Mapping[int, int],
    fractions: Sequence[float],
    seed: int,
) -> list[list[int]]:
    """Deal units out to as many sides as there are fractions.

    Example:
        >>> strata = {row: row % 2 for row in range(20)}
        >>> sides = deal([[row] for row in range(20)], strata, (0.6, 0.2, 0.2), seed=0)
        >>> [len(side) for side in sides], sum(strata[row] for row in sides[2])
        ([12, 4, 4], 2)
    """
    wholes = Counter(strata[row] for unit in units for row in unit)
    waiting = Counter(stratum for unit in units for stratum in {strata[row] for row in unit})
    unreached = {stratum: set(range(len(fractions))) for stratum in wholes}
    lacking = [{s: share * count for s, count in wholes.items()} for share in fractions]
    lacking_all = [share * wholes.total() for share in fractions]
    sides: list[list[int]] = [[] for _ in fractions]

    def need(side: int, counts: Counter[int]) -> tuple[float, float]:
        share = sum(n * lacking[side][s] / wholes[s] for s, n in counts.items())
        return round(share, 9), lacking_all[side]

    for i in _order(units, seed):
        counts = Counter(strata[row] for row in units[i])
        urgent = [unreached[s] for s in counts if 0 < len(unreached[s]) >= waiting[s]]
        allowed = set.intersection(*urgent) if urgent else set()
        best = max(sorted(allowed) or range(len(sides)), key=lambda side: need(side, counts))
        for stratum, count in counts.items():
            lacking[best][stratum] -= count
            waiting[stratum] -= 1
            unreached[stratum].discard(best)
        lacking_all[best] -= len(units[i])
        sides[best] += units[i]
    return sides


def _order(units: Sequence[Sequence[int]], seed: int) -> list[int]:
    order = list(range(len(units)))
    random.Random(seed).shuffle(order)
    return sorted(order, key=lambda i: -len(units[i]))

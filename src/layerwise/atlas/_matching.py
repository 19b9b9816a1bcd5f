"""Which layers of two networks belong together, and how sure that is.

Layers are compared by what they make of the same samples. Intervals come from leaving out one of
ten parts of the samples after the other (the jackknife of Quenouille and Tukey).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from layerwise.atlas._atlas import Similarity
from layerwise.atlas._comparison import Match, Same
from layerwise.measures import cka, diagonality, map_r2
from layerwise.measures._bootstrap import student
from layerwise.models import Network

_PARTS = 10
_MAPPED = 600  # samples for linear maps; more cost much and change little

Rows = dict[str, Float[Tensor, "n _"]]
"""Features of a network's layers, mean over places, by address."""


def intervals(one: Rows, two: Rows) -> tuple[Float[Tensor, "l m"], Float[Tensor, "l m"]]:
    """Ends of the 95 % interval of CKA between the layers of two networks."""
    mine, theirs = list(one.values()), list(two.values())
    whole = cka(mine, theirs).double()
    count = len(mine[0])
    parts = min(_PARTS, count // 4)
    part = torch.arange(count) % parts
    pseudo = torch.stack(
        [
            parts * whole
            - (parts - 1)
            * cka([v[part != i] for v in mine], [v[part != i] for v in theirs]).double()
            for i in range(parts)
        ]
    )
    error = student(0.975, parts - 1) * pseudo.std(0) / math.sqrt(parts)
    return whole - error, whole + error


def told_of(named: Mapping[str, Network], one: Rows, two: Rows) -> tuple[Similarity, Similarity]:
    """R2 of the linear maps from the first network to the second, and back."""
    names = list(named)
    count = len(next(iter(one.values())))
    few = torch.linspace(0, count - 1, min(count, _MAPPED)).long()
    mine, theirs = ({k: v[few] for k, v in side.items()} for side in (one, two))
    found = []
    for (a, x), (b, y) in (
        ((names[0], mine), (names[1], theirs)),
        ((names[1], theirs), (names[0], mine)),
    ):
        table = map_r2(list(x.values()), list(y.values())).tolist()
        found.append(Similarity(a, b, tuple(x), tuple(y), _plain(table)))
    return found[0], found[1]


def _plain(table: Sequence[Sequence[float]]) -> tuple[tuple[float | None, ...], ...]:
    return tuple(tuple(v if math.isfinite(v) else None for v in row) for row in table)


def _tensor(similarity: Similarity) -> Float[Tensor, "l m"]:
    values = [[math.nan if v is None else v for v in row] for row in similarity.values]
    return torch.tensor(values, dtype=torch.float64)


def diagonality_of(similarity: Similarity) -> float | None:
    values = _tensor(similarity)
    return float(diagonality(values)) if min(values.shape) > 1 else None


def matches_of(
    across: Similarity,
    told: tuple[Similarity, Similarity],
    *,
    depths: Mapping[tuple[str, str], float],
    ends: tuple[Tensor, Tensor],
) -> tuple[Match, ...]:
    """For every layer of either network its partner in the other; none for what never changes."""
    found = []
    for side in (0, 1):
        values = _tensor(across)
        names = (across.network, across.layers), (across.other, across.other_layers)
        (name, layers), (other, others) = names if side == 0 else names[::-1]
        turned = [t if side == 0 else t.T for t in (values, *ends)]
        maps = told[side].values
        for i, layer in enumerate(layers):
            row = turned[0][i]
            if bool(row.isnan().all()):
                continue
            j = int(row.nan_to_num(-math.inf).argmax())
            depth, partner = depths[name, layer], depths[other, others[j]]
            found.append(
                Match(
                    network=name,
                    layer=layer,
                    depth=depth,
                    other=other,
                    other_layer=others[j],
                    other_depth=partner,
                    cka=float(row[j]),
                    low=float(turned[1][i, j]),
                    high=float(turned[2][i, j]),
                    apart=partner - depth,
                    told=maps[i][j],
                )
            )
    return tuple(found)


def same_of(
    network: Network,
    other: Network,
    across: Similarity,
    told: Similarity,
    *,
    depths: Mapping[tuple[str, str], float],
    ends: tuple[Tensor, Tensor],
) -> tuple[Same, ...]:
    """Each layer against itself, where both networks have the same weights by name and shape."""
    mine, theirs = network.module.state_dict(), other.module.state_dict()
    if {k: v.shape for k, v in mine.items()} != {k: v.shape for k, v in theirs.items()}:
        return ()
    found = []
    for i, layer in enumerate(across.layers):
        value = across.values[i][i]
        if across.other_layers != across.layers or value is None:
            continue
        own = [k for k in mine if k.startswith(f"{layer.split('[')[0]}.")]
        own = [k for k in own if mine[k].is_floating_point()]
        moved = sum(float((theirs[k].double() - mine[k].double()).square().sum()) for k in own)
        size = sum(float(mine[k].double().square().sum()) for k in own)
        found.append(
            Same(
                layer=layer,
                depth=depths[across.network, layer],
                cka=value,
                low=float(ends[0][i, i]),
                high=float(ends[1][i, i]),
                told=told.values[i][i],
                changed=math.sqrt(moved / size) if size else None,
            )
        )
    return tuple(found)

"""The units of every layer that stand out, and the samples that say what they look for.

Units are chosen on training samples; how far they stand out and for which class is told of test
samples. All comes from the features that the one pass has stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from layerwise.atlas._choose import Key
from layerwise.atlas._inside_rows import Inside, StandingOut
from layerwise.atlas._look import Look
from layerwise.data import Samples, Target
from layerwise.explain import UnitRow, exemplars, selective_units

_UNITS, _EXEMPLARS = 3, 5
_PICTURED = 300
"""Exemplars of all layers together, about."""
_NAMED = 20
"""Strongest test samples whose class is told, out of at least five times as many."""


def insides(
    looks: Mapping[str, Look],
    features: Mapping[Key, Float[Tensor, "n _"]],
    samples: Samples,
    sides: Mapping[int, str],
    seed: int,
) -> tuple[tuple[Inside, ...], list[int]]:
    """All layers, looked into, and the rows of the samples that their units name.

    Args:
        looks: by network.
        features: that were stored; units are channels of the mean over places.
        samples: the data.
        sides: of the split, by row; without one, halves are drawn.
        seed: of that draw.
    """
    means = {key[:2]: values for key, values in features.items() if key[2] == "mean"}
    train, test = (
        torch.tensor([row for row, on in sides.items() if on == side], dtype=torch.int64)
        for side in ("train", "test")
    )
    if not sides:
        train, test = torch.randperm(
            len(samples), generator=torch.Generator().manual_seed(seed)
        ).tensor_split(2)
    units = {
        at: units_of(values, samples.targets, train=train, test=test, layers=len(means))
        for at, values in means.items()
    }
    rows = sorted({row for found in units.values() for unit in found for row in unit.samples})
    place = {row: i for i, row in enumerate(rows)}
    return tuple(
        Inside(
            network,
            layer,
            left_out,
            concepts,
            tuple(replace(u, samples=tuple(place[row] for row in u.samples)) for u in found),
        )
        for (network, layer), found in units.items()
        for concepts, left_out in [looks[network].concepts.get(layer, ((), None))]
    ), rows


def units_of(
    features: Float[Tensor, "n _"],
    targets: Mapping[str, Target],
    *,
    train: Int[Tensor, " _"],
    test: Int[Tensor, " _"],
    layers: int,
) -> tuple[StandingOut, ...]:
    """The units of a layer that stand out most, with rows of the samples as their exemplars.

    Args:
        features: of all samples at the layer.
        targets: that may tell what the exemplars have in common.
        train: rows that units are chosen on.
        test: rows that tell how far they stand out.
        layers: how many layers of all networks share the exemplars that a page can hold.
    """
    if not len(train) or not len(test):
        return ()
    rows = torch.cat([train, test])
    held = torch.arange(len(rows)) >= len(train)
    count = max(1, min(_UNITS, _PICTURED // (_EXEMPLARS * layers)))
    some = features[rows]
    found = selective_units(some, held=held, count=count, shown=_EXEMPLARS)
    strongest = exemplars(
        some[held][:, [row.unit for row in found]], count=max(1, min(_NAMED, len(test) // 5))
    ).samples
    return tuple(
        _named(row, rows[list(row.samples)], targets, train=train, test=test, top=test[top])
        for row, top in zip(found, strongest, strict=True)
    )


def _named(
    row: UnitRow,
    samples: Tensor,
    targets: Mapping[str, Target],
    *,
    train: Tensor,
    test: Tensor,
    top: Tensor,
) -> StandingOut:
    """A unit with the class that most of its exemplars have, of the target that says most."""
    most, told = 0.0, ("", "", 0.0, 0.0)
    for name, target in targets.items():
        known = target.values[samples][target.known[samples]]
        if target.kind != "class" or not len(known):
            continue
        answer = int(known.bincount().argmax())
        same = int((known == answer).sum())
        more = same / len(samples) - float((target.values[train] == answer).double().mean())
        if same > 1 and more > most:
            found, chance = (
                float((target.values[r] == answer).double().mean()) for r in (top, test)
            )
            most, told = more, (name, target.classes[answer], found, chance)
    return StandingOut(row.unit, row.selective, tuple(samples.tolist()), *told)

"""Several layers of a network joined, as candidates beside the single layers.

Three ways, each fitted for every target and seed on training samples only, with validation samples
to say when to stop: layers taken one after another while they help (`fuse.Greedy`), a learned sum
of all layers (`fuse.WeightedSum`), and the whitened mean of the first and the last layer
(`fuse.FirstLast`), where the two are equally wide. A combination is named after its members; as
every seed may choose others, those of the first seed give it its name.

Wide combinations cost more than all layers together. So the first seed's validation samples say
which are worth it: one that scores no higher there than the best single layer is not pursued.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from layerwise.atlas._choose import Key
from layerwise.data import Split, Target
from layerwise.fuse import FirstLast, Greedy, WeightedSum
from layerwise.measures import LinearReadout, Marks, ProbeTable, probe

_FEWEST = 20
"""Training samples below which there is nothing to choose a combination by."""

Layers = Mapping[str, Float[Tensor, "n _"]]
Way = tuple[str, str]
"""Network, and how its layers were joined."""


@final
@dataclass(frozen=True)
class Combined:
    """Layers that were joined.

    Args:
        key: network, members in words, and how they were joined.
        members: addresses of the layers.
        features: what they hold together.
    """

    key: Key
    members: tuple[str, ...]
    features: Float[Tensor, "n w"]


def join(
    features: Mapping[Key, Float[Tensor, "n _"]],
    target: Target,
    splits: Sequence[Split],
    seeds: Sequence[int],
    tables: Sequence[ProbeTable[Key]],
) -> tuple[list[ProbeTable[Key]], tuple[Combined, ...]]:
    """Join layers in every way that their network and the target allow, and read them.

    What comes to a single layer is left out: that layer is a candidate already.

    Args:
        features: of all layers; those that are pooled by their mean are joined.
        target: what the combination is to tell.
        splits: training samples fit, validation samples stop; one a seed.
        seeds: of all that is drawn.
        tables: readings of single layers, one table a seed.

    Returns:
        The tables with the readings of joined layers at their end, and the first seed's joins.
    """
    hopeful: set[Way] | None = None
    joined: list[dict[Way, Combined]] = []
    read: list[dict[Way, ProbeTable[Key]]] = []
    for table, divided, seed in zip(tables, splits, seeds, strict=True):
        found = _combined(features, target, divided, seed, hopeful)
        read.append(
            {
                at: probe(
                    {each.key: each.features},
                    target,
                    divided,
                    readouts=(LinearReadout(),),
                    seed=seed,
                )
                for at, each in found.items()
            }
        )
        joined.append(found)
        if hopeful is None:
            alone = table.validation.scores.max()
            hopeful = {at for at, one in read[0].items() if one.validation.scores.max() > alone}
    shared = [at for at in joined[0] if all(at in found for found in joined)]
    shared = [at for at in shared if hopeful and at in hopeful]
    longer = list(tables)
    for at in shared:
        longer = [_beside(one, more[at]) for one, more in zip(longer, read, strict=True)]
    return longer, tuple(joined[0][at] for at in shared)


def _combined(
    features: Mapping[Key, Float[Tensor, "n _"]],
    target: Target,
    split: Split,
    seed: int,
    only: Collection[Way] | None,
) -> dict[Way, Combined]:
    found: dict[Way, Combined] = {}
    if len(split.train) < _FEWEST:
        return found
    for network in dict.fromkeys(key[0] for key in features):
        layers = {k[1]: x for k, x in features.items() if k[0] == network and k[2] == "mean"}
        if len(layers) < 2:
            continue
        for way, join_ in (("greedy", _greedy), ("weighted-sum", _weighted), ("first-last", _ends)):
            if only is not None and (network, way) not in only:
                continue
            joined = join_(layers, target, split, seed)
            if joined is not None and len(joined[0]) > 1:
                members, values = joined
                key = (network, _in_words(members, way), way)
                found[network, way] = Combined(key, members, values.float())
    return found


Side = tuple[dict[str, Tensor], Tensor]
Joined = tuple[tuple[str, ...], Tensor]


def _greedy(layers: Layers, target: Target, split: Split, _: int) -> Joined | None:
    train, held = _sides(layers, target, split)
    fitted = Greedy.fit(*train, validation=held)
    return fitted.layers, fitted(layers)


def _weighted(layers: Layers, target: Target, split: Split, seed: int) -> Joined | None:
    loss: Callable[[Tensor, Tensor], Tensor] = (
        nn.functional.cross_entropy if target.kind == "class" else nn.functional.mse_loss
    )
    train, held = _sides(layers, target, split)
    fitted = WeightedSum.fit(
        *train,
        validation=held,
        loss=loss,
        width=256,
        generator=torch.Generator().manual_seed(seed),
    )
    return tuple(layers), fitted(layers)


def _ends(layers: Layers, _: Target, split: Split, __: int) -> Joined | None:
    first, *_between, last = layers.values()
    if first.shape[1] != last.shape[1] or first.shape[1] >= len(split.train):
        return None
    fitted = FirstLast.fit(_rows(layers, split.train))
    return fitted.layers, fitted(layers)


def _rows(layers: Layers, rows: Tensor) -> dict[str, Tensor]:
    return {name: values[rows] for name, values in layers.items()}


def _sides(layers: Layers, target: Target, split: Split) -> tuple[Side, Side]:
    """Layers and targets of the training and the validation samples.

    Numbers are brought to unit size, so that the price of a readout's weights means the same for
    every target.
    """
    if target.kind == "class":
        # Where the class is missing no side has the row.
        columns = nn.functional.one_hot(target.values.clamp_min(0), len(target.classes)).float()
    else:
        train = target.values[split.train].double()
        columns = ((target.values - train.mean()) / train.std().clamp_min(1e-12)).float()
    one, other = ((_rows(layers, side), columns[side]) for side in (split.train, split.validation))
    return one, other


def _beside(one: ProbeTable[Key], other: ProbeTable[Key]) -> ProbeTable[Key]:
    """All readings of two tables of the same target and split."""

    def marks(a: Marks, b: Marks) -> Marks:
        return replace(a, answers=torch.cat([a.answers, b.answers], 1))

    return replace(
        one,
        readings=(*one.readings, *other.readings),
        validation=marks(one.validation, other.validation),
        test=marks(one.test, other.test),
        permuted=torch.cat([one.permuted, other.permuted], 1),
    )


def _in_words(members: Sequence[str], name: str) -> str:
    return f"all {len(members)} layers" if name == "weighted-sum" else " + ".join(members)

"""Chooses what an index is made of: which samples are tried, and what each has to find.

With classes the samples are split as the main job splits them, groups and copies together; one half
chooses and the other scores. Without classes the queries are changed copies (see `_changed.py`).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from layerwise.data import Samples, Target, split
from layerwise.data._keys import content
from layerwise.errors import LayerwiseError, unknown
from layerwise.features import First, GeM, Last, Max, Mean, Store
from layerwise.features.laws import Pooling
from layerwise.models import Network
from layerwise.search._card import Card, card_of
from layerwise.search._changed import changed
from layerwise.search._choose import Trial, choose
from layerwise.search._descriptor import Descriptor
from layerwise.taps import extract
from layerwise.taps._extract import Progress

CHOOSING = "choosing"
"""Folder inside the index's, for what is read while the layers are being chosen."""

_TRIED = 600
"""Most samples that choose, and as many that score."""


def new_card(
    network: Network,
    samples: Samples,
    folder: Path,
    *,
    layers: str,
    target: str | None,
    seed: int,
    progress: Progress | None,
) -> Card:
    """Make the card of a new index: with the layers that were named, or with those that do best.

    Args:
        network: reads the samples.
        samples: what is to be found.
        folder: of the index.
        layers: addresses or patterns, or `auto`.
        target: classes that say which samples belong together.
        seed: chooses the samples that choose.
        progress: called as `progress(stage, done, total)`.

    Raises:
        LayerwiseError: no such layer or target, or too few samples to choose by.
    """
    if layers != "auto":
        return _named_card(network, samples, folder, layers)
    poolings: tuple[Pooling, ...] = (Mean(), Max(), First(), Last())
    poolings = poolings if network.modality == "text" else (Mean(), Max(), GeM(), First())
    known = _classes(samples, target)
    rows, sides = _sides(samples, known, seed)
    part = samples.take(rows)
    queries, items = (part, part) if known is not None else changed(part, seed=seed)

    def read(what: Samples, name: str) -> Store:
        place = folder / CHOOSING / f"{name}.lance"
        return extract(
            network, what, place, layers="blocks", poolings=poolings, progress=progress
        ).store

    asked = read(queries, "queries")
    found = asked if known is not None else read(items, "items")
    both = [
        (place, side)
        for place, side in enumerate(sides)
        if queries.keys[place] in set(asked.keys()) and items.keys[place] in set(found.keys())
    ]
    trials = []
    for wanted in ("choose", "score"):
        places = [place for place, side in both if side == wanted]
        trials.append(_trial((asked, found), (queries, items), places, known and known.take(rows)))
    last = asked.columns[-1].layer
    by = f"leave-one-out retrieval of {known.name!r}" if known else _by_copies(network)
    choice, descriptor = choose(
        *trials, last=[column.name for column in asked.columns if column.layer == last], by=by
    )
    shown = {column.name: f"{column.layer} ({column.pooling})" for column in asked.columns}
    choice = replace(
        choice, names=tuple(shown[name] for name in choice.names), last=shown[choice.last]
    )
    return card_of(asked.recipe, network.modality, descriptor, choice)


def _by_copies(network: Network) -> str:
    if network.modality == "text":
        return "finding the second half of a text by its first"
    return "finding a picture by a crop of it in other light"


def _named_card(network: Network, samples: Samples, folder: Path, layers: str) -> Card:
    first = samples.take(range(min(1, len(samples))))
    store = extract(
        network, first, folder / CHOOSING / "named.lance", layers=layers, poolings=(Mean(),)
    ).store
    descriptor = Descriptor([column.name for column in store.columns])
    return card_of(store.recipe, network.modality, descriptor, None)


def _classes(samples: Samples, target: str | None) -> Target | None:
    """The target that says which samples belong together."""
    classes = {name: t for name, t in samples.targets.items() if t.kind == "class"}
    if target is None:
        usable = [t for t in classes.values() if _usable(t)]
        return usable[0] if usable else None
    if target not in samples.targets:
        raise unknown("target", target, samples.targets)
    if target not in classes:
        raise LayerwiseError(
            f"target {target!r} holds numbers; a search is tried by classes: ask for "
            f"'{target}:class', or name another target"
        )
    return classes[target]


def _usable(target: Target) -> bool:
    """Two classes or more with several samples each."""
    counts = target.values[target.known].bincount()
    return int((counts >= 6).sum()) >= 2


def _sides(samples: Samples, known: Target | None, seed: int) -> tuple[list[int], list[str]]:
    """Samples that choose and samples that score, none of them the same, with nothing shared."""
    generator = torch.Generator().manual_seed(seed)
    if known is None:
        different = list({content(key): row for row, key in enumerate(samples.keys)}.values())
        order = [different[i] for i in torch.randperm(len(different), generator=generator)]
        order = order[: 2 * _TRIED]
        if len(order) < 4:
            raise LayerwiseError(
                f"{len(order)} different samples are too few to choose layers by; name the layers"
            )
        return order, ["choose", "score"] * (len(order) // 2) + ["choose"] * (len(order) % 2)
    parts = split(samples, known, seed=seed, fractions=(0.3, 0.2, 0.5))
    rows: list[int] = []
    sides: list[str] = []
    for side, members in (
        ("choose", torch.cat([parts.train, parts.validation])),
        ("score", parts.test),
    ):
        kept = members[torch.randperm(len(members), generator=generator)[:_TRIED]].sort().values
        rows += kept.tolist()
        sides += [side] * len(kept)
    return rows, sides


def _trial(
    stores: tuple[Store, Store],
    samples: tuple[Samples, Samples],
    places: list[int],
    known: Target | None,
) -> Trial:
    rows, found = (
        {c.name: store.load(c, [each.keys[place] for place in places]) for c in store.columns}
        for store, each in zip(stores, samples, strict=True)
    )
    if known is None:
        alike = torch.eye(len(places), dtype=torch.bool)
        return Trial(rows, found, alike, torch.ones_like(alike))
    labels = known.values[places]
    groups = known.groups or tuple(content(key) for key in samples[0].keys)
    numbers = {name: number for number, name in enumerate(dict.fromkeys(groups))}
    group = torch.tensor([numbers[groups[place]] for place in places])
    return Trial(rows, rows, labels == labels[:, None], group != group[:, None])

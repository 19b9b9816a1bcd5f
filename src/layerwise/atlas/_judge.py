"""One target: every layer's readouts, the choice among them, and the controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from layerwise.atlas._atlas import Choice, Collapse, Control, LayerRow, Score, TargetRow
from layerwise.atlas._candidate import Candidate
from layerwise.atlas._choose import Key, choose, stand
from layerwise.atlas._clock import Clock
from layerwise.atlas._combine import join
from layerwise.atlas._controls import controls
from layerwise.atlas._geometry import collapse_of
from layerwise.atlas._leaderboard import leaderboard
from layerwise.atlas._price import Budget, Price
from layerwise.data import Samples, Split, Target, split
from layerwise.measures import probe


@final
@dataclass(frozen=True)
class Judged:
    """All that was found for one target."""

    row: TargetRow
    split: Split
    scores: tuple[Score, ...]
    choice: Choice
    members: Mapping[Key, tuple[str, ...]]
    controls: tuple[Control, ...]
    collapse: tuple[Collapse, ...]
    candidates: tuple[Candidate, ...]

    @property
    def layers(self) -> list[tuple[str, str]]:
        """The chosen layer, or those that are joined in it, each with its network."""
        best = self.choice.best
        joined = {key[:2]: names for key, names in self.members.items()}
        names = joined.get((best.network, best.layer), (best.layer,))
        return [(best.network, name) for name in names]


def judge(
    samples: Samples,
    target: Target,
    *,
    features: Mapping[Key, Float[Tensor, "n _"]],
    random: Mapping[Key, Float[Tensor, "m _"]],
    few: Sequence[int],
    layers: Sequence[LayerRow],
    priced: Mapping[tuple[str, str], Price],
    budget: Budget,
    seeds: Sequence[int],
    clock: Clock,
) -> Judged:
    """Fit all readouts on each seed's training part, choose on validation, report on test."""
    generator = torch.Generator().manual_seed(seeds[0])
    splits = [split(samples, target, seed=seed) for seed in seeds]
    tables = []
    for done, (seed, divided) in enumerate(zip(seeds, splits, strict=True)):
        with clock.stage(f"judging {target.name}", done, len(seeds)):
            tables.append(probe(features, target, divided, seed=seed))
    with clock.stage(f"joining layers for {target.name}"):
        tables, joined = join(features, target, splits, seeds, tables)
    row = _target_row(target, splits[0])
    standing = stand(target, samples.keys, tables, generator)
    read = [layer for layer in layers if not layer.refused]
    costs = {(layer.network, layer.layer): layer.milliseconds for layer in read}
    costs |= {e.key[:2]: max(costs[e.key[0], name] for name in e.members) for e in joined}
    members = {each.key: each.members for each in joined}
    # Several layers of a network cost what the deepest of them costs.
    deepest = {
        (key[0], key[1]): max((priced[key[0], name] for name in names), key=lambda p: p.alone)
        for key, names in members.items()
    }
    payable = {**priced, **deepest}
    with clock.stage(f"choosing for {target.name}"):
        choice = choose(
            standing,
            milliseconds=costs,
            last={layer.network: layer.layer for layer in read},
            generator=generator,
            combined=list(members),
            affordable={at for at, price in payable.items() if budget.allows(price)},
        )
        checks = controls(
            target,
            standing,
            trained=features,
            random=random,
            rows=few,
            split=splits[0],
            generator=generator,
        )
        collapsed = collapse_of(target, features, splits[0].train)
    ranked = leaderboard(standing, payable, budget=budget, generator=generator)
    return Judged(row, splits[0], standing.scores, choice, members, checks, collapsed, ranked)


def _target_row(target: Target, divided: Split) -> TargetRow:
    labels = target.values[divided.test]
    chance = 0.0
    if target.kind == "class":
        most = int(target.values[divided.train].bincount().argmax())
        chance = float((labels == most).double().mean())
    return TargetRow(
        target.name,
        target.kind,
        target.classes,
        "accuracy" if target.kind == "class" else "R2",
        chance,
        len(divided.train),
        len(divided.validation),
        len(divided.test),
    )

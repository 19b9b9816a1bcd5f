"""Training, validation and test samples for one target, with nothing shared between the sides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import final

import torch
from jaxtyping import Int64
from torch import Tensor

from layerwise.data._deal import deal, strata_of, units_of
from layerwise.data._keys import content
from layerwise.data._samples import Samples, Target
from layerwise.errors import LayerwiseError, unknown


def _nothing() -> Tensor:
    return torch.empty(0, dtype=torch.int64)


@final
@dataclass(frozen=True)
class Split:
    """Which samples fit, which choose, and which report, for one target.

    Samples whose value is missing are on no side.

    Args:
        train: `[a]` indices into the samples, ascending.
        validation: `[b]` indices.
        test: `[c]` indices.
        left_out: `[d]` indices of samples that have a value and yet are on no side.
        notes: why samples were left out, and what else the reader should know, a line each.
    """

    train: Int64[Tensor, " a"]
    validation: Int64[Tensor, " b"]
    test: Int64[Tensor, " c"]
    left_out: Int64[Tensor, " d"] = field(default_factory=_nothing)
    notes: tuple[str, ...] = ()


def split(
    samples: Samples,
    target: str | Target,
    *,
    seed: int,
    fractions: tuple[float, float, float] = (0.6, 0.2, 0.2),
) -> Split:
    """Divide the samples that have a value for a target.

    Samples of one group (`target.groups`) and samples of equal content stay together; classes, or
    the quantiles of numbers, keep their shares. Where the data give sides (`samples.split`), those
    win, groups or not: then a missing validation side is taken from the training side, and where
    only training and validation are given, the given validation side is the test. Copies of a
    held-out sample are left out of the sides before it.

    Args:
        samples: all samples.
        target: the target, or its name.
        seed: another seed gives another split, or another validation side.
        fractions: shares of training, validation and test.

    Raises:
        LayerwiseError: the target does not exist, or there is too little to divide.

    Example:
        >>> import torch
        >>> from layerwise.data import Target, open
        >>> samples = open(torch.arange(10.0).view(10, 1))
        >>> even = Target("even", "class", torch.arange(10) % 2, ("yes", "no"))
        >>> parts = split(samples, even, seed=0)
        >>> len(parts.train), len(parts.validation), len(parts.test)
        (6, 2, 2)
    """
    if min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-6:
        raise LayerwiseError(f"fractions={fractions} must be three positive shares that sum to 1")
    if isinstance(target, str):
        if target not in samples.targets:
            raise unknown("target", target, samples.targets)
        target = samples.targets[target]
    rows = target.known.nonzero().flatten().tolist()
    strata = strata_of(target, rows)
    if samples.split is None:
        return _made(samples, target, strata, fractions, seed)
    return _given(samples, target, strata, fractions[1] / (fractions[0] + fractions[1]), seed)


def few_shot(divided: Split, target: Target, *, shots: int, seed: int) -> Split:
    """Keep only a few samples of each class to fit on, and as many to choose on.

    The test side stays as it is. What is not kept is left out, and so are classes of whose samples
    none fits.

    Args:
        divided: as `split` gives it.
        target: what it was divided for.
        shots: samples of each class on the training side, and on the validation side at most.
        seed: another one draws other samples.

    Raises:
        LayerwiseError: the target is a quantity, or `shots` is below 1.

    Example:
        >>> import torch
        >>> even = Target("even", "class", torch.arange(20) % 2, ("yes", "no"))
        >>> rows = torch.arange(20)
        >>> few = few_shot(Split(rows[:12], rows[12:16], rows[16:]), even, shots=3, seed=0)
        >>> len(few.train), len(few.validation), len(few.test), len(few.left_out)
        (6, 4, 4, 6)
    """
    if target.kind != "class":
        raise LayerwiseError(
            f"shots={shots} counts samples of a class, and {target.name!r} is a quantity; take "
            "fewer samples with limit"
        )
    if shots < 1:
        raise LayerwiseError(f"shots={shots}; give 1 or more samples of each class")
    generator = torch.Generator().manual_seed(seed)
    kept = []
    for side in (divided.train, divided.validation):
        drawn = side[torch.randperm(len(side), generator=generator)]
        labels = target.values[drawn]
        firsts = [drawn[labels == label][:shots] for label in labels.unique()]
        kept.append(torch.cat(firsts).sort().values)
    before = torch.cat([divided.train, divided.validation])
    rest = before[~torch.isin(before, torch.cat(kept))]
    note = f"{shots} samples of each class fit and as many choose; {len(rest)} are left out"
    left_out = torch.cat([divided.left_out, rest]).sort().values
    return Split(kept[0], kept[1], divided.test, left_out, (*divided.notes, note))


def _made(
    samples: Samples,
    target: Target,
    strata: Mapping[int, int],
    fractions: Sequence[float],
    seed: int,
) -> Split:
    """Divide everything; classes that cannot reach every side are left out."""
    units = units_of(target, samples.keys, list(strata))
    rare = _rare(units, strata, target)
    left_out = [row for row in strata if strata[row] in rare]
    if left_out:
        kept = ([row for row in unit if strata[row] not in rare] for unit in units)
        units = [unit for unit in kept if unit]
    sides = deal(units, strata, fractions, seed)
    notes = []
    if left_out:
        names = sorted(target.classes[stratum] for stratum in rare)
        told = ", ".join(names[:5]) + (" ..." if len(names) > 5 else "")
        notes.append(
            f"{len(left_out)} samples of {len(rare)} classes of {target.name!r} are left out, "
            f"fewer than 3 {_unit_word(target)} each: {told}"
        )
    return _as_split(sides, left_out, notes)


def _rare(
    units: Sequence[Sequence[int]], strata: Mapping[int, int], target: Target
) -> frozenset[int]:
    """Classes with fewer units than sides; raises where too little is left."""
    holding = Counter(stratum for unit in units for stratum in {strata[row] for row in unit})
    if target.kind == "number":
        if len(units) < 3:
            raise LayerwiseError(
                f"target {target.name!r} has a value in {len(units)} {_unit_word(target)}; "
                "a split needs 3 or more"
            )
        return frozenset()
    _need_two_classes(target, holding)
    rare = frozenset(stratum for stratum, count in holding.items() if count < 3)
    if len(holding) - len(rare) < 2:
        raise LayerwiseError(
            f"target {target.name!r} has {len(holding)} classes, but {len(holding) - len(rare)} "
            f"with 3 or more {_unit_word(target)}; a split needs two such classes"
        )
    return rare


def _need_two_classes(target: Target, present: Mapping[int, int]) -> None:
    if not present:
        raise LayerwiseError(f"target {target.name!r} has no value in any sample")
    if len(present) == 1:
        only = target.classes[next(iter(present))]
        raise LayerwiseError(
            f"target {target.name!r} has one class only, {only!r}: there is nothing to tell apart"
        )


def _given(
    samples: Samples,
    target: Target,
    strata: Mapping[int, int],
    share: float,
    seed: int,
) -> Split:
    """Keep the sides that the data give; `share` of training becomes a missing validation."""
    words = samples.split or ()
    train, validation, test = (
        [row for row in strata if words[row] == side] for side in ("train", "validation", "test")
    )
    notes = []
    if not test:
        validation, test = [], validation
    if not train or not test:
        raise LayerwiseError(
            f"the given split has no {'test' if train else 'train'} sample with a value of "
            f"{target.name!r}; give samples to train on and samples to test on"
        )
    validation, copied = _without_copies(samples, validation, test)
    train, more = _without_copies(samples, train, [*validation, *test])
    if copied or more:
        notes.append(f"{len(copied + more)} samples are left out: they equal a held-out sample")
    if target.kind == "class":
        _need_two_classes(target, Counter(strata[row] for row in train))
    if not validation:
        units = units_of(target, samples.keys, train)
        train, validation = deal(units, strata, (1 - share, share), seed)
        notes.append(f"the validation side is taken from training: {len(validation)} samples")
    if not train or not validation:
        raise LayerwiseError(f"too few samples to train {target.name!r} and to choose on others")
    return _as_split([train, validation, test], [*copied, *more], notes)


def _without_copies(
    samples: Samples, rows: Sequence[int], held_out: Sequence[int]
) -> tuple[list[int], list[int]]:
    """Rows whose content is not held out, and the others."""
    contents = {content(samples.keys[row]) for row in held_out}
    copies = [row for row in rows if content(samples.keys[row]) in contents]
    return [row for row in rows if content(samples.keys[row]) not in contents], copies


def _unit_word(target: Target) -> str:
    return "samples" if target.groups is None else "groups of samples"


def _as_split(
    sides: Sequence[Sequence[int]], left_out: Sequence[int], notes: Sequence[str]
) -> Split:
    indices = [torch.tensor(sorted(side), dtype=torch.int64) for side in (*sides, left_out)]
    return Split(indices[0], indices[1], indices[2], indices[3], tuple(notes))

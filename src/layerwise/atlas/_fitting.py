"""From stored features to a fitted head: what fits, what chooses and calibrates, what reports.

Rows flow by out of the store; only what a readout has to hold is ever in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from layerwise.atlas._affine import Fusion, combined, require_several
from layerwise.atlas._calibrate import calibration_error, conformal, temperature_of
from layerwise.atlas._facts import DRAWS, Quality
from layerwise.atlas._heads import Maker
from layerwise.atlas._sides import Rows, Side, Stored, scores_of, width_of, wrong
from layerwise.data import Samples, Split, Target, few_shot, split
from layerwise.features import Column, Store
from layerwise.measures import bootstrap_mean, bootstrap_r2
from layerwise.search import Mahalanobis

_DIRECTIONS = 128
"""Most directions along which strangeness is measured: more would weigh more than many networks."""


@final
@dataclass(frozen=True)
class Fitted:
    """A head and what belongs to it.

    Args:
        columns: of the store that stand side by side.
        combine: what is done to them.
        head: from features to scores.
        setting: penalty or number of neighbours that was chosen.
        familiar: distance to the training rows.
        bounds: temperature, half width of an interval, greatest familiar distance.
        quality: on test samples.
        classes: names of those that training samples have; empty for a quantity.
        samples: that fitted, chose and reported.
    """

    columns: tuple[Column, ...]
    combine: nn.Module
    head: nn.Module
    setting: float | None
    familiar: Mahalanobis
    bounds: Float[Tensor, " 3"]
    quality: Quality
    classes: tuple[str, ...]
    samples: tuple[int, int, int]


def fit_stored(
    store: Store,
    known: Samples,
    target: Target,
    *,
    columns: Sequence[Column],
    make: Maker,
    fusion: Fusion | None,
    shots: int | None,
    level: float,
    seed: int,
) -> Fitted:
    """Fit a head to stored features, and measure it.

    Args:
        store: with a row for each sample.
        known: the samples.
        target: what to read.
        columns: the features.
        make: makes the head.
        fusion: how columns are combined.
        shots: samples of each class that fit, and at most that choose.
        level: share of new samples that intervals, and the bound of the familiar, are to hold.
        seed: of the split.

    Raises:
        LayerwiseError: nothing to combine, or what `split` and `few_shot` refuse.
    """
    whole = split(known, target, seed=seed)
    chosen = whole if shots is None else few_shot(whole, target, shots=shots, seed=seed)
    answers = _Answers.of(target, chosen)
    combine: nn.Module = nn.Identity()
    if fusion is not None:
        columns, combine = _fused(fusion, store, known, columns, answers)
    sides = _Sides.of(store, known, columns, combine, answers)
    head, setting = make(sides.train, sides.held)
    head = head.float()
    keep = min(_DIRECTIONS, width_of(sides.train))
    familiar = Mahalanobis.fit_stream(lambda: _clouds(sides.train), keep=keep)
    bounds, quality = _measured(head, familiar, sides, answers.classes, level)
    if sides.tested_by is not None:
        quality = replace(quality, groups=len(set(sides.tested_by)))
    if shots is not None:
        others = [few_shot(whole, target, shots=shots, seed=seed + i) for i in range(1, 1 + DRAWS)]
        drawn = [_Answers.of(target, other) for other in others]
        quality = replace(quality, draws=_drawn(make, sides, known, drawn))
    return Fitted(
        tuple(columns),
        combine,
        head,
        setting,
        familiar,
        bounds,
        quality,
        answers.classes,
        (len(answers.train), len(answers.held), len(answers.test)),
    )


@final
@dataclass(frozen=True)
class _Answers:
    """True answers of all samples, and who fits, chooses and reports.

    Classes are numbered by those that training samples have; -1 stands for any other.
    """

    values: Tensor
    classes: tuple[str, ...]
    groups: tuple[str, ...] | None
    train: Tensor
    held: Tensor
    test: Tensor

    @classmethod
    def of(cls, target: Target, divided: Split) -> _Answers:
        sides = divided.train, divided.validation, divided.test
        if target.kind == "number":
            return cls(target.values, (), target.groups, *sides)
        present = target.values[divided.train].unique()
        index = torch.full((len(target.classes) + 1,), -1)
        index[present] = torch.arange(len(present))
        values = index[target.values]
        train, held, test = sides
        names = tuple(target.classes[i] for i in present.tolist())
        return cls(values, names, target.groups, train, held[values[held] >= 0], test)


@final
@dataclass(frozen=True)
class _Sides:
    """The three sides in the order of the store, and the groups of the test samples."""

    train: Stored
    held: Stored
    test: Stored
    tested_by: list[str] | None

    @classmethod
    def of(
        cls,
        store: Store,
        known: Samples,
        columns: Sequence[Column],
        combine: nn.Module,
        answers: _Answers,
    ) -> _Sides:
        places = _places(store, known)
        names = tuple(column.name for column in columns)
        train, held, test = (
            Stored.of(store, names, combine, places[rows], answers.values[rows])
            for rows in (answers.train, answers.held, answers.test)
        )
        groups = None
        if answers.groups is not None:
            order = answers.test[places[answers.test].argsort()]
            groups = [answers.groups[i] for i in order.tolist()]
        return cls(train, held, test, groups)


def _places(store: Store, known: Samples) -> Tensor:
    """Row of the store for each sample."""
    rows = {key: row for row, key in enumerate(store.keys())}
    return torch.tensor([rows[key] for key in known.keys])


def _fused(
    fusion: Fusion, store: Store, known: Samples, columns: Sequence[Column], answers: _Answers
) -> tuple[list[Column], nn.Module]:
    require_several([column.layer for column in columns])
    keys = [known.keys[i] for i in answers.train.tolist()]
    train = {column.name: store.load(column, keys=keys).float() for column in columns}
    numbers = answers.values[answers.train]
    shaped = numbers[:, None].float()
    if answers.classes:
        shaped = nn.functional.one_hot(numbers, len(answers.classes)).float()
    names, combine = combined(fusion, train, shaped)
    by_name = {column.name: column for column in columns}
    return [by_name[name] for name in names], combine


def _clouds(train: Side) -> Iterator[tuple[Tensor, Tensor]]:
    """Training rows with their classes; without classes, or with one sample each, as one cloud."""
    apart = not train.answers.is_floating_point() and int(train.answers.bincount().max()) > 1
    for part in train.parts():
        one = torch.zeros(len(part.answers), dtype=torch.int64)
        yield part.features, part.answers if apart else one


def _measured(
    head: nn.Module, familiar: Mahalanobis, sides: _Sides, classes: tuple[str, ...], level: float
) -> tuple[Float[Tensor, " 3"], Quality]:
    """Temperature, margin and bound from validation samples; what they are worth on test."""
    ahead, ahead_far = scores_of((head, familiar), sides.held)
    last, last_far = scores_of((head, familiar), sides.test)
    far = conformal(ahead_far.amin(1), level)
    alarms = float((last_far.amin(1) > far).double().mean())
    held, test = sides.held.answers, sides.test.answers
    if classes:
        temperature = temperature_of(ahead, held)
        errors = [calibration_error((last / each).softmax(1), test) for each in (1.0, temperature)]
        interval = bootstrap_mean((last.argmax(1) == test).double(), groups=sides.tested_by)
        most = int(sides.train.answers.bincount().argmax())
        quality = Quality(
            "accuracy",
            float(interval.value),
            float(interval.low),
            float(interval.high),
            chance=float((test == most).double().mean()),
            calibration=(errors[0], errors[1]),
            covered=None,
            alarms=alarms,
        )
        return torch.tensor([temperature, 0.0, far]), quality
    margin = conformal((ahead[:, 0].double() - held).abs(), level)
    missed = (last[:, 0].double() - test).abs()
    interval = bootstrap_r2(last[:, 0].double(), test, groups=sides.tested_by)
    quality = Quality(
        "R2",
        float(interval.value),
        float(interval.low),
        float(interval.high),
        chance=0.0,
        calibration=None,
        covered=float((missed <= margin).double().mean()),
        alarms=alarms,
    )
    return torch.tensor([1.0, margin, far]), quality


def _drawn(
    make: Maker, sides: _Sides, known: Samples, drawn: Sequence[_Answers]
) -> tuple[float, float]:
    """Lowest and highest test score where other samples fit and choose."""
    places = _places(sides.train.store, known)
    wanted = torch.cat([rows for each in drawn for rows in (each.train, each.held)]).unique()
    pool = sides.train.other(places[wanted], wanted).whole()  # which sample is its own answer here
    row = {int(sample): i for i, sample in enumerate(pool.answers)}

    def side(answers: _Answers, samples: Tensor) -> Rows:
        held = [row[i] for i in samples.tolist()]
        return Rows(pool.features[held], answers.values[samples])

    heads = [make(side(each, each.train), side(each, each.held))[0].float() for each in drawn]
    scores = []
    for each, values in zip(drawn, scores_of(heads, sides.test), strict=True):
        test = each.values[each.test[places[each.test].argsort()]]
        scores.append(1 - wrong(values, test))
    return min(scores), max(scores)

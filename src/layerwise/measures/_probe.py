"""Probing: how well can something be read off each layer?

Every readout is fitted on the training samples of every layer, chooses its setting on validation,
and answers for validation and test, sample by sample: validation is there to choose among layers,
test to report the one that was chosen. All layers answer for the same samples, so that two of them
can be compared in pairs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from layerwise.data import Target
from layerwise.errors import LayerwiseError
from layerwise.measures._checked import checked
from layerwise.measures._readings import Key, Marks, ProbeTable, Reading
from layerwise.measures._readouts import (
    Answers,
    LinearReadout,
    NearestMeanReadout,
    NeighboursReadout,
    Readout,
    Task,
)

_READOUTS = (LinearReadout(), NearestMeanReadout(), NeighboursReadout())


@runtime_checkable
class Sides(Protocol):
    """Which samples fit, which choose, and which report, as `data.split` gives them."""

    @property
    def train(self) -> Int[Tensor, " a"]:
        """Indices of the samples to fit on."""
        ...

    @property
    def validation(self) -> Int[Tensor, " b"]:
        """Indices of the samples to choose on."""
        ...

    @property
    def test(self) -> Int[Tensor, " c"]:
        """Indices of the samples to report on."""
        ...


def probe(
    features: Mapping[Key, Float[Tensor, "n _"]],
    target: Target,
    split: Sides,
    *,
    readouts: Sequence[Readout] = _READOUTS,
    permutations: int = 5,
    seed: int = 0,
) -> ProbeTable[Key]:
    """Read a target off every layer with every readout that can read it.

    Args:
        features: of the same samples in every layer.
        target: what to read.
        split: which samples fit, choose and report; all of them have a value.
        readouts: what to try on each layer.
        permutations: how often the answers are permuted for the control.
        seed: of the permutations.

    Raises:
        LayerwiseError: a side without samples or with missing values, one class only, features of
            other samples, NaN; with the name of the layer.

    Example:
        >>> from layerwise.data import Split
        >>> labels = torch.arange(60) % 3
        >>> noise = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
        >>> layers = {"first": noise, "second": noise + 3 * labels[:, None]}
        >>> target = Target("class", "class", labels, ("a", "b", "c"))
        >>> rows = torch.arange(60)
        >>> table = probe(layers, target, Split(rows[:30], rows[30:45], rows[45:]))
        >>> table.readings[table.best].layer
        'second'
    """
    task = _task(target, split, permutations, seed)
    found: list[tuple[Reading[Key], Answers]] = []
    for layer, values in features.items():
        try:
            rows = _rows(values, len(target.values))
            sides = [rows[side] for side in (split.train, split.validation, split.test)]
            tried = [(r.name, r(task, *sides)) for r in readouts if r.reads(task)]
        except LayerwiseError as error:
            raise LayerwiseError(f"layer {layer!r}, target {target.name!r}: {error}") from error
        found += [(Reading(layer, name, answers.setting), answers) for name, answers in tried]
    if not found:
        raise LayerwiseError(
            f"there is nothing to probe for target {target.name!r}; give at least one layer and a "
            f"readout for a target of kind {target.kind!r}"
        )
    answers = [answer for _, answer in found]
    controls = [
        _marks(target, split.test, [a.permuted[i] for a in answers]) for i in range(permutations)
    ]
    return ProbeTable(
        target=target.name,
        metric="accuracy" if task.classes else "R2",
        readings=tuple(reading for reading, _ in found),
        validation=_marks(target, split.validation, [answer.validation for answer in answers]),
        test=_marks(target, split.test, [answer.test for answer in answers]),
        permuted=torch.stack([marks.scores for marks in controls]),
    )


def _task(target: Target, split: Sides, permutations: int, seed: int) -> Task:
    for name, side in (
        ("train", split.train),
        ("validation", split.validation),
        ("test", split.test),
    ):
        missing = int((~target.known[side]).sum())
        if len(side) == 0 or missing:
            raise LayerwiseError(
                f"the {name} side of target {target.name!r} has {len(side)} samples, {missing} of "
                "them without a value; give samples with a value"
            )
    train = target.values[split.train]
    if target.kind == "class" and len(train.unique()) < 2:
        raise LayerwiseError(
            f"all training samples of target {target.name!r} are of one class; give at least two"
        )
    generator = torch.Generator().manual_seed(seed)
    orders = [torch.randperm(len(train), generator=generator) for _ in range(permutations)]
    return Task(
        classes=len(target.classes) if target.kind == "class" else 0,
        train=train,
        permuted=train[torch.stack(orders)],
        validation=target.values[split.validation],
    )


def _rows(values: Tensor, samples: int) -> Tensor:
    if len(values) != samples:
        raise LayerwiseError(
            f"features of {len(values)} samples for a target of {samples}; give the same samples"
        )
    return checked(values)


def _marks(target: Target, rows: Tensor, answers: Sequence[Tensor]) -> Marks:
    return Marks(rows, target.values[rows], torch.stack(list(answers), dim=1))

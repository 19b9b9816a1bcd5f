"""The rows that fit, choose or report, as they flow out of a store: never all of them at once.

A side goes by in parts, in the order of the store, as often as anybody asks. What needs its rows
together asks for the whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, final, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from layerwise.features import Store


@final
@dataclass(frozen=True)
class Rows:
    """Samples to fit or to choose on, in memory.

    Args:
        features: one row per sample.
        answers: their classes, counted from 0 without gaps, or their quantities in float64.
    """

    features: Tensor
    answers: Tensor

    def parts(self) -> Iterator[Rows]:
        """These rows."""
        yield self

    def whole(self) -> Rows:
        """These rows."""
        return self


@runtime_checkable
class Side(Protocol):
    """Samples to fit or to choose on, wherever they are."""

    @property
    def answers(self) -> Tensor:
        """Of all samples, in the order in which they go by."""
        ...

    def parts(self) -> Iterator[Rows]:
        """All samples, some at a time."""
        ...

    def whole(self) -> Rows:
        """All samples at once."""
        ...


@final
@dataclass(frozen=True)
class Stored:
    """Rows of a store, read anew whenever they are asked for.

    Args:
        store: where they are.
        columns: names of its columns that stand side by side.
        combine: what is done to those.
        places: of the rows, ascending.
        answers: of each of them.
    """

    store: Store
    columns: tuple[str, ...]
    combine: nn.Module
    places: Int[Tensor, " n"]
    answers: Tensor

    @classmethod
    def of(
        cls,
        store: Store,
        columns: tuple[str, ...],
        combine: nn.Module,
        places: Int[Tensor, " n"],
        answers: Tensor,
    ) -> Stored:
        """Rows in any order, brought into that of the store."""
        order = places.argsort()
        return cls(store, columns, combine, places[order], answers[order])

    def __len__(self) -> int:
        return len(self.places)

    def parts(self) -> Iterator[Rows]:
        """The rows, as many at a time as the store reads at once."""
        start = 0
        for part in self.store.stream(*self.columns):
            ends = torch.tensor([start, start + len(part)])
            low, high = torch.searchsorted(self.places, ends).tolist()
            if low < high:
                rows = part[self.places[low:high] - start].float()
                with torch.no_grad():
                    yield Rows(self.combine(rows), self.answers[low:high])
            start += len(part)

    def whole(self) -> Rows:
        """The rows in memory."""
        out, start = torch.empty(0), 0
        for part in self.parts():
            if start == 0:
                out = torch.empty(len(self), part.features.shape[1])
            out[start : start + len(part.features)] = part.features
            start += len(part.features)
        return Rows(out, self.answers)

    def other(self, places: Int[Tensor, " n"], answers: Tensor) -> Stored:
        """Other rows of the same columns, in any order."""
        return Stored.of(self.store, self.columns, self.combine, places, answers)


def classes_of(answers: Tensor) -> int:
    """Number of classes, or 0 for quantities."""
    return 0 if answers.is_floating_point() else int(answers.max()) + 1


def width_of(side: Side) -> int:
    """Number of features."""
    return next(iter(side.parts())).features.shape[1]


def wrong(scores: Float[Tensor, "n k"], answers: Tensor) -> float:
    """Share of wrong answers, or mean squared error of quantities."""
    if answers.is_floating_point():
        return float((scores[:, 0].double() - answers).square().mean())
    return float((scores.argmax(1) != answers).double().mean())


def scores_of(heads: Sequence[nn.Module], side: Side) -> list[Float[Tensor, "n k"]]:
    """What some heads make of a side, in one pass."""
    told, start = [torch.empty(0)] * len(heads), 0
    with torch.no_grad():
        for part in side.parts():
            scores = [head(part.features) for head in heads]
            if start == 0:  # small tensors kept between large ones that die would hold their memory
                told = [each.new_empty(len(side.answers), each.shape[1]) for each in scores]
            for out, each in zip(told, scores, strict=True):
                out[start : start + len(each)] = each
            start += len(part.answers)
    return told

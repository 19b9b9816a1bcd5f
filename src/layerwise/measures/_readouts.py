"""What `probe` tries on a layer: one readout each, with whatever it has to choose.

A readout is fitted on the training samples only. What it has to choose, a penalty or a number of
neighbours, is chosen on the validation samples, or by exact leave-one-out errors where there are
such. Beside the true answers each one reads permuted ones: what it then still scores is chance.
Where samples lie in a few clumps, one permutation may score far from chance by luck, so there are
several.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, final, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from layerwise.features import Ridge
from layerwise.search import Found, Logistic, NearestMean, Neighbours
from layerwise.search._rotate import Rotated

_TOGETHER = 3

_TOLERANCE = 1e-3
"""The score decides, not the last digits of the weights: one answer in some thousands differs."""


@final
@dataclass(frozen=True)
class Task:
    """What is to be read, and how answers are judged.

    Args:
        classes: number of classes, or 0 where a quantity is read.
        train: `[a]` true answers of the training samples: int64 classes or float64 quantities.
        permuted: `[p a]` the same in random orders.
        validation: `[b]` true answers of the validation samples, for choosing.
    """

    classes: int
    train: Tensor
    permuted: Tensor
    validation: Tensor

    def errors(self, answers: Tensor) -> Float[Tensor, " k"]:
        """How often rows of answers `[k b]` are wrong on validation, or how far off."""
        if self.classes:
            return (answers != self.validation).double().mean(dim=1)
        return (answers - self.validation).square().mean(dim=1)

    def best(self, answers: Tensor) -> int:
        """Which of several rows of answers `[k b]` is right most often, or least far off."""
        return int(self.errors(answers).argmin())

    def named(self, outputs: Float[Tensor, "b k"]) -> Tensor:
        """Outputs, one column for each class or a single one, as answers."""
        return outputs.argmax(dim=1) if self.classes else outputs[:, 0].double()

    def columns(self) -> Float[Tensor, "a k"]:
        """Training answers as numbers to be fitted, the true ones before the permuted ones."""
        every = torch.cat([self.train[None], self.permuted]).T
        if not self.classes:
            return every
        return torch.nn.functional.one_hot(every, self.classes).flatten(1).double()


@final
@dataclass(frozen=True)
class Answers:
    """What one readout of one layer says.

    Args:
        setting: the penalty or number of neighbours that was chosen, if there is one.
        validation: `[b]` answers for the validation samples.
        test: `[c]` answers for the test samples.
        permuted: `[p c]` answers for the test samples after fitting to permuted answers.
    """

    setting: float | None
    validation: Tensor
    test: Tensor
    permuted: Tensor


@runtime_checkable
class Readout(Protocol):
    """Reads answers off a layer."""

    @property
    def name(self) -> str:
        """Short name for tables."""
        ...

    def reads(self, task: Task) -> bool:
        """Whether it can read answers of this kind."""
        ...

    def __call__(
        self,
        task: Task,
        train: Float[Tensor, "a d"],
        validation: Float[Tensor, "b d"],
        test: Float[Tensor, "c d"],
    ) -> Answers:
        """Fit on the training samples, choose on validation, answer for both held-out sides."""
        ...


@final
@dataclass(frozen=True)
class LinearReadout:
    """Logistic regression for classes, ridge regression for quantities.

    Logistic regression chooses its penalty on validation, ridge by leave-one-out. The first three
    penalties are solved for together; weaker ones, which take the longest, only where none was
    right more often than the weakest so far. The control is ridge on permuted answers, with the
    same decomposition of the features; for classes its penalty is the number of rows.

    Args:
        penalties: of logistic regression, the strongest first: it wins where scores are equal.
        ridge_penalties: those of `features.Ridge` by default.

    Example:
        >>> LinearReadout(penalties=(10.0, 1.0)).name
        'linear'
    """

    penalties: tuple[float, ...] = (1000.0, 100.0, 10.0, 1.0, 0.1)
    ridge_penalties: tuple[float, ...] | None = None
    name: str = "linear"

    def reads(self, task: Task) -> bool:
        """Classes and quantities."""
        return len(task.train) > 1

    def __call__(
        self,
        task: Task,
        train: Float[Tensor, "a d"],
        validation: Float[Tensor, "b d"],
        test: Float[Tensor, "c d"],
    ) -> Answers:
        """Fit, with penalties that are chosen as far as they are needed."""
        read = self._class if task.classes else self._quantity
        return read(task, train, validation, test)

    def _class(self, task: Task, train: Tensor, validation: Tensor, test: Tensor) -> Answers:
        rotated = Rotated.of(train)
        tried: list[Logistic] = []
        ahead = task.validation.new_empty(0, len(validation))
        for few in _batched(self.penalties, _TOGETHER):
            start = tried[-1] if tried else None
            tried.append(
                Logistic.solve(
                    rotated, task.train, penalties=few, start=start, tolerance=_TOLERANCE
                )
            )
            ahead = torch.cat([ahead, tried[-1].predict(validation)])
            errors = task.errors(ahead)
            if errors[-1] > errors.min():
                break
        best = task.best(ahead)
        which, place = divmod(best, _TOGETHER)
        answers = tried[which].predict(test)[place]
        wanted = task.columns()[:, task.classes :]
        weight = rotated.ridge(wanted - wanted.mean(0), float(len(train)))
        outputs = rotated.standardise(test.double()) @ weight + wanted.mean(0)
        permuted = [task.named(part) for part in outputs.split(task.classes, dim=1)]
        return Answers(self.penalties[best], ahead[best], answers, torch.stack(permuted))

    def _quantity(self, task: Task, train: Tensor, validation: Tensor, test: Tensor) -> Answers:
        ridge = Ridge.fit(train, task.columns(), penalties=self.ridge_penalties)
        best = ridge.best([0])
        ahead, answers = (task.named(ridge(side)[best, :, :1]) for side in (validation, test))
        outputs = ridge(test)
        permuted = [
            task.named(outputs[ridge.best([i]), :, [i]]) for i in range(1, outputs.shape[2])
        ]
        return Answers(float(ridge.penalties[best]), ahead, answers, torch.stack(permuted))


@final
@dataclass(frozen=True)
class NearestMeanReadout:
    """The class with the nearest mean; nothing to choose.

    Example:
        >>> NearestMeanReadout().name
        'nearest-mean'
    """

    name: str = "nearest-mean"

    def reads(self, task: Task) -> bool:
        """Classes only."""
        return task.classes > 0

    def __call__(
        self,
        task: Task,
        train: Float[Tensor, "a d"],
        validation: Float[Tensor, "b d"],
        test: Float[Tensor, "c d"],
    ) -> Answers:
        """Average the classes, true and permuted."""
        true = NearestMean.fit(train, task.train)
        # Permuted answers have the counts of the true ones, so that one product gives all sums.
        wanted = task.columns()[:, task.classes :]
        centre = train.double().mean(0)
        sums = wanted.T @ (train.double() - centre)
        means = (sums / wanted.sum(0)[:, None].clamp(min=1)).to(test.dtype)
        near = torch.cdist((test - centre).to(test.dtype), means)
        missing = wanted.sum(0) == 0
        near[:, missing] = torch.inf
        permuted = [part.argmin(1) for part in near.split(task.classes, dim=1)]
        return Answers(None, true.predict(validation), true.predict(test), torch.stack(permuted))


@final
@dataclass(frozen=True)
class NeighboursReadout:
    """The most frequent class, or the mean quantity, of the nearest training samples.

    Args:
        counts: numbers of neighbours to choose from on validation, the smallest first.
        cosine: compare directions; without it, places.

    Example:
        >>> NeighboursReadout(counts=(5,)).name
        'knn'
    """

    counts: tuple[int, ...] = (1, 5, 20)
    cosine: bool = True
    name: str = "knn"

    def reads(self, task: Task) -> bool:
        """Classes and quantities, where there are samples enough for the fewest neighbours."""
        return len(task.train) >= min(self.counts)

    def __call__(
        self,
        task: Task,
        train: Float[Tensor, "a d"],
        validation: Float[Tensor, "b d"],
        test: Float[Tensor, "c d"],
    ) -> Answers:
        """Search once for all numbers of neighbours, and for true and permuted answers."""
        counts = [count for count in self.counts if count <= len(train)]
        index = Neighbours.fit(train, cosine=self.cosine)
        near, final_ = (index(side, count=max(counts)) for side in (validation, test))
        ahead = _vote(near, task, task.train, counts)
        best = task.best(ahead)
        chosen = counts[best : best + 1]
        answers = [_vote(final_, task, y, chosen)[0] for y in (task.train, *task.permuted)]
        return Answers(float(chosen[0]), ahead[best], answers[0], torch.stack(answers[1:]))


def _batched(values: Sequence[float], size: int) -> list[Sequence[float]]:
    return [values[i : i + size] for i in range(0, len(values), size)]


def _vote(found: Found, task: Task, answers: Tensor, counts: Sequence[int]) -> Tensor:
    if task.classes:
        return found.classify(answers, counts=counts)
    return found.regress(answers[:, None], counts=counts)[..., 0]

"""What a reader ends in: from a row of features to one score for each class, or to one number.

Each maker fits on training rows and chooses its setting on validation rows, just as the readout of
its name does in a survey. What it makes is a plain module that can be rebuilt from its tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, final, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from layerwise.errors import LayerwiseError, unknown
from layerwise.features import Ridge
from layerwise.search import Logistic, NearestMean, Neighbours


@final
@dataclass(frozen=True)
class Rows:
    """Samples to fit or to choose on.

    Args:
        features: one row per sample.
        answers: their classes, counted from 0 without gaps, or their quantities in float64.
    """

    features: Tensor
    answers: Tensor

    @property
    def classes(self) -> int:
        """Number of classes, or 0 for quantities."""
        return 0 if self.answers.is_floating_point() else int(self.answers.max()) + 1

    def wrong(self, scores: Float[Tensor, "n k"]) -> float:
        """Share of wrong answers, or mean squared error."""
        if self.answers.is_floating_point():
            return float((scores[:, 0].double() - self.answers).square().mean())
        return float((scores.argmax(1) != self.answers).double().mean())


@runtime_checkable
class Maker(Protocol):
    """Makes a head."""

    @property
    def name(self) -> str:
        """As readouts are called in a survey."""
        ...

    def __call__(self, train: Rows, held: Rows, /) -> tuple[nn.Module, float | None]:
        """Fit on the first, choose on the second; gives the head and its setting."""
        ...

    def restored(self, state: Mapping[str, Tensor], setting: float | None, /) -> nn.Module:
        """The head with these tensors and this setting."""
        ...


@final
@dataclass(frozen=True)
class Linear:
    """Logistic regression for classes, ridge regression for quantities, as one linear layer.

    Args:
        penalties: of logistic regression, the strongest first: it wins where scores are equal.
    """

    penalties: tuple[float, ...] = (1000.0, 100.0, 10.0, 1.0, 0.1)
    name: str = "linear"

    def __call__(self, train: Rows, held: Rows) -> tuple[nn.Module, float | None]:
        """Fit for all penalties at once."""
        if not train.classes:
            ridge = Ridge.fit(train.features, train.answers)
            best = ridge.best()
            return ridge.linear(best).requires_grad_(False), float(ridge.penalties[best])
        fitted = Logistic.fit(train.features, train.answers, penalties=self.penalties)
        wrong = [held.wrong(logits) for logits in fitted(held.features)]
        best = wrong.index(min(wrong))
        return fitted.linear(best).requires_grad_(False), self.penalties[best]

    def restored(self, state: Mapping[str, Tensor], _: float | None) -> nn.Module:
        """A linear layer."""
        weight = state["weight"]
        return nn.utils.skip_init(nn.Linear, weight.shape[1], weight.shape[0]).requires_grad_(False)


@final
@dataclass(frozen=True)
class Means:
    """The class with the nearest mean; for classes only."""

    name: str = "nearest-mean"

    def __call__(self, train: Rows, _: Rows) -> tuple[nn.Module, float | None]:
        """Average the classes."""
        if not train.classes:
            raise LayerwiseError(
                "the readout 'nearest-mean' reads classes, and this target is a quantity; take "
                "'linear' or 'knn'"
            )
        means = NearestMean.fit(train.features, train.answers).means
        return Distances(means.to(train.features.dtype)), None

    def restored(self, state: Mapping[str, Tensor], _: float | None) -> nn.Module:
        """The means."""
        return Distances(state["means"])


@final
@dataclass(frozen=True)
class Nearest:
    """Votes, or the mean, of the nearest training samples.

    Args:
        counts: numbers of neighbours to choose from, the smallest first.
    """

    counts: tuple[int, ...] = (1, 5, 20)
    name: str = "knn"

    def __call__(self, train: Rows, held: Rows) -> tuple[nn.Module, float | None]:
        """Store the training rows."""
        index = Neighbours.fit(train.features)
        tried = [Voting(index, train.answers, c) for c in self.counts if c <= len(train.features)]
        wrong = [held.wrong(head(held.features)) for head in tried]
        best = tried[wrong.index(min(wrong))]
        return best, float(best.count)

    def restored(self, state: Mapping[str, Tensor], setting: float | None) -> nn.Module:
        """The stored rows."""
        index = Neighbours(state["index.gallery"], state["index.centre"])
        assert setting is not None
        return Voting(index, state["answers"], int(setting))


@final
class Distances(nn.Module):
    """Scores a row by how near it is to each of some means, in plain operations.

    Args:
        means: of each class.
    """

    means: Tensor

    def __init__(self, means: Float[Tensor, "c d"]) -> None:
        super().__init__()
        self.register_buffer("means", means)

    def forward(self, features: Float[Tensor, "m d"]) -> Float[Tensor, "m c"]:
        """Negative Euclidean distance to each mean."""
        centre = self.means.mean(0)  # around it little cancels in the expanded square
        rows, means = features - centre, self.means - centre
        squares = rows.square().sum(1, keepdim=True) + means.square().sum(1) - 2 * rows @ means.T
        return -squares.clamp(min=0).sqrt()


@final
class Voting(nn.Module):
    """Lets the nearest stored rows vote, or takes the mean of their quantities.

    Args:
        index: the stored rows.
        answers: of each of them.
        count: how many are asked.
    """

    answers: Tensor

    def __init__(self, index: Neighbours, answers: Tensor, count: int) -> None:
        super().__init__()
        self.index = index
        self.register_buffer("answers", answers)
        self.count = count
        self.classes = Rows(index.gallery, answers).classes

    def forward(self, features: Float[Tensor, "m d"]) -> Float[Tensor, "m k"]:
        """Logarithm of each class's share of the votes, none quite without; or the mean."""
        near = self.answers[self.index(features, count=self.count).rows]
        if self.answers.is_floating_point():
            return near.mean(1, keepdim=True).to(features.dtype)
        classes = self.classes
        votes = nn.functional.one_hot(near, classes).to(features.dtype)
        # Of equally many votes the nearer ones count, by less than a vote together.
        nearer = 0.5 ** torch.arange(2.0, 2.0 + self.count, device=votes.device)
        tally = (votes * (1 + nearer)[:, None]).sum(1) + 1 / classes
        return (tally / tally.sum(1, keepdim=True)).log()


MAKERS: tuple[Maker, ...] = (Linear(), Means(), Nearest())


def maker(name: str) -> Maker:
    """The maker of this name.

    Raises:
        LayerwiseError: there is none.
    """
    for each in MAKERS:
        if each.name == name:
            return each
    raise unknown("readout", name, [each.name for each in MAKERS])

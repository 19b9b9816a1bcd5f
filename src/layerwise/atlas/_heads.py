"""What a reader ends in: from a row of features to one score for each class, or to one number.

Each maker fits on training rows and chooses its setting on validation rows, just as the readout of
its name does in a survey. Ridge regression and class means need sums only: rows flow by, however
many there are. What it makes is a plain module that can be rebuilt from its tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Protocol, final, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from layerwise.atlas._sides import Side, classes_of, scores_of, width_of, wrong
from layerwise.errors import LayerwiseError, unknown
from layerwise.features import LinearMap, Moments, Ridge
from layerwise.search import Logistic, NearestMean, Neighbours

_ENOUGH = 1e-4  # of its value may be missing where rows flow by: the score decides, not the weights


@runtime_checkable
class Maker(Protocol):
    """Makes a head."""

    @property
    def name(self) -> str:
        """As readouts are called in a survey."""
        ...

    def __call__(self, train: Side, held: Side, /) -> tuple[nn.Module, float | None]:
        """Fit on the first, choose on the second; gives the head and its setting."""
        ...

    def restored(self, state: Mapping[str, Tensor], setting: float | None, /) -> nn.Module:
        """The head with these tensors and this setting."""
        ...


@final
@dataclass(frozen=True)
class Linear:
    """Logistic regression for classes, ridge regression for quantities, as one linear layer.

    Few training rows are held in memory, several times over. Of many none is: logistic regression
    passes over them dozens of times, until the score is certain, and ridge regression adds them up,
    which leaves generalised cross-validation to choose its penalty instead of leave-one-out.

    Args:
        penalties: of logistic regression, the strongest first: it wins where scores are equal.
        held: most numbers of training features in memory.
    """

    penalties: tuple[float, ...] = (1000.0, 100.0, 10.0, 1.0, 0.1)
    held: int = 2**24
    name: str = "linear"

    def __call__(self, train: Side, held: Side) -> tuple[nn.Module, float | None]:
        """Fit for all penalties at once."""
        if len(train.answers) * width_of(train) > self.held:
            return self._streamed(train, held)
        rows, others = train.whole(), held.whole()
        if not classes_of(rows.answers):
            ridge = Ridge.fit(rows.features, rows.answers)
            best = ridge.best()
            return ridge.linear(best).requires_grad_(False), float(ridge.penalties[best])
        fitted = Logistic.fit(rows.features, rows.answers, penalties=self.penalties)
        errors = [wrong(logits, others.answers) for logits in fitted(others.features)]
        best = errors.index(min(errors))
        return fitted.linear(best).requires_grad_(False), self.penalties[best]

    def _streamed(self, train: Side, held: Side) -> tuple[nn.Module, float | None]:
        if not classes_of(train.answers):
            return LeastSquares()(train, held)
        fitted = Logistic.fit_stream(
            lambda: ((part.features, part.answers) for part in train.parts()),
            penalties=self.penalties,
            tolerance=_ENOUGH,
        )
        heads = [fitted.linear(i).requires_grad_(False) for i in range(len(self.penalties))]
        errors = [wrong(scores, held.answers) for scores in scores_of(heads, held)]
        best = errors.index(min(errors))
        return heads[best], self.penalties[best]

    def restored(self, state: Mapping[str, Tensor], _: float | None) -> nn.Module:
        """A linear layer."""
        return _blank(state)


@final
@dataclass(frozen=True)
class LeastSquares:
    """Ridge regression from sums, for classes with one column each that is 1 or 0.

    The penalty is chosen by generalised cross-validation, for which the sums are enough, too.
    """

    name: str = "ridge"

    def __call__(self, train: Side, _: Side) -> tuple[nn.Module, float | None]:
        """Add up the rows as they flow by."""
        classes, moments = classes_of(train.answers), Moments()
        for part in train.parts():
            answers = part.answers[:, None].double()
            if classes:
                answers = nn.functional.one_hot(part.answers, classes).double()
            moments.update(part.features, answers)
        fitted = LinearMap.of(moments)
        head = _blank({"weight": fitted.weight.T})
        head.load_state_dict({"weight": fitted.weight.T, "bias": fitted.bias})
        return head, float(fitted.penalty)

    def restored(self, state: Mapping[str, Tensor], _: float | None) -> nn.Module:
        """A linear layer."""
        return _blank(state)


@final
@dataclass(frozen=True)
class Means:
    """The class with the nearest mean; for classes only."""

    name: str = "nearest-mean"

    def __call__(self, train: Side, _: Side) -> tuple[nn.Module, float | None]:
        """Average the classes as their rows flow by."""
        if not classes_of(train.answers):
            raise LayerwiseError(
                "the readout 'nearest-mean' reads classes, and this target is a quantity; take "
                "'linear', 'ridge' or 'knn'"
            )
        fitted = (NearestMean.fit(part.features, part.answers) for part in train.parts())
        return Distances(reduce(NearestMean.merge, fitted).means.float()), None

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

    def __call__(self, train: Side, held: Side) -> tuple[nn.Module, float | None]:
        """Store the training rows."""
        features = (part.features for part in train.parts())
        index = Neighbours.fit_stream(features, rows=len(train.answers))
        tried = [Voting(index, train.answers, c) for c in self.counts if c <= len(train.answers)]
        # One search serves all of them, and whatever is held is searched part by part.
        near, start = torch.empty(len(held.answers), tried[-1].count, dtype=torch.int64), 0
        for part in held.parts():
            found = index(part.features, count=tried[-1].count).rows
            near[start : start + len(found)] = found
            start += len(found)
        errors = [wrong(head.vote(near), held.answers) for head in tried]
        best = tried[errors.index(min(errors))]
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
        self.classes = classes_of(answers)

    def forward(self, features: Float[Tensor, "m d"]) -> Float[Tensor, "m k"]:
        """Logarithm of each class's share of the votes, none quite without; or the mean."""
        return self.vote(self.index(features, count=self.count).rows)

    def vote(self, rows: Int[Tensor, "m c"]) -> Float[Tensor, "m k"]:
        """The same from the nearest rows, of which the first ones count."""
        near = self.answers[rows[:, : self.count]]
        dtype = self.index.gallery.dtype
        if self.answers.is_floating_point():
            return near.mean(1, keepdim=True).to(dtype)
        classes = self.classes
        votes = nn.functional.one_hot(near, classes).to(dtype)
        # Of equally many votes the nearer ones count, by less than a vote together.
        nearer = 0.5 ** torch.arange(2.0, 2.0 + self.count, device=votes.device)
        tally = (votes * (1 + nearer)[:, None]).sum(1) + 1 / classes
        return (tally / tally.sum(1, keepdim=True)).log()


MAKERS: tuple[Maker, ...] = (Linear(), LeastSquares(), Means(), Nearest())


def maker(name: str) -> Maker:
    """The maker of this name.

    Raises:
        LayerwiseError: there is none.
    """
    for each in MAKERS:
        if each.name == name:
            return each
    raise unknown("readout", name, [each.name for each in MAKERS])


def _blank(state: Mapping[str, Tensor]) -> nn.Module:
    """A linear layer to be filled with these tensors."""
    weight = state["weight"]
    return nn.utils.skip_init(nn.Linear, weight.shape[1], weight.shape[0]).requires_grad_(False)

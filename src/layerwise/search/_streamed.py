"""The objective of multinomial logistic regression over rows that flow by and are never held.

Every value, gradient and product with the Hessian is a sum over the rows, so that one pass adds it
up. The weights are turned to the features' own directions for the pass, and what comes of it is
turned back: that is less work than to rotate the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from layerwise.errors import LayerwiseError
from layerwise.features import Moments
from layerwise.features._standardise import Standardise
from layerwise.search._labelled import require_labelled
from layerwise.search._newton import Point, Weight, backward, dot, forward

Batches = Callable[[], Iterable[tuple[Float[Tensor, "_ d"], Int[Tensor, " _"]]]]
"""Gives the same rows with their classes each time."""


@final
@dataclass(frozen=True)
class Streamed:
    """Standardised rows and their principal axes, measured in one pass. Build it with `of`.

    Args:
        batches: the rows.
        standardise: their mean and deviation.
        axes: principal axes of standardised rows, as columns.
        spectrum: squared length of the rows along each axis, and of a column of ones.
        classes: labels that occur, in rising order.
        dtype: that the rows come in.
    """

    batches: Batches
    standardise: Standardise
    axes: Float[Tensor, "d r"]
    spectrum: Float[Tensor, " r+1"]
    classes: Int[Tensor, " c"]
    dtype: torch.dtype

    @classmethod
    def of(cls, batches: Batches) -> Streamed:
        """Measure the rows.

        Raises:
            LayerwiseError: no rows, rows that do not match or are not finite, missing labels, or
                fewer than two classes.
        """
        moments, classes = Moments(), torch.empty(0, dtype=torch.int64)
        for features, labels in batches():
            require_labelled(features, labels)
            moments.update(features, features[:, :0])
            classes = torch.cat([classes, labels]).unique()
        if len(classes) < 2:
            found = f"all labels are {int(classes[0])}" if len(classes) else "there are no rows"
            raise LayerwiseError(f"{found}; give at least two classes")
        standardise = Standardise.of(moments)
        between = moments.products / standardise.scale.outer(standardise.scale)
        spectrum, axes = torch.linalg.eigh(between)
        some = spectrum > len(spectrum) * torch.finfo(spectrum.dtype).eps * spectrum[-1]
        ones = spectrum.new_full((1,), moments.samples)
        spectrum, axes = torch.cat([spectrum[some], ones]), axes[:, some]
        return cls(batches, standardise, axes, spectrum, classes, moments.dtype)

    def rows(self) -> Iterator[tuple[Float[Tensor, "b d+1"], Float[Tensor, "c b"]]]:
        """Standardised rows with a last column of ones, and 1 for the class of each, in parts."""
        for features, labels in self.batches():
            x = nn.functional.pad(self.standardise(features), (0, 1), value=1.0)
            yield x, (self.classes[:, None] == labels).double()

    def spread(self, weight: Weight) -> Float[Tensor, "p c d"]:
        """From the axes to standardised features; the intercept comes last."""
        return torch.cat([weight[..., :-1] @ self.axes.T, weight[..., -1:]], -1)

    def gathered(self, weight: Float[Tensor, "p c d"]) -> Weight:
        """From standardised features to the axes."""
        return torch.cat([weight[..., :-1] @ self.axes, weight[..., -1:]], -1)


@final
@dataclass(frozen=True)
class StreamedCrossEntropy:
    """As `CrossEntropy`, with one pass over the rows for each call.

    Args:
        over: the rows.
        penalties: of each problem and weight; 0 for the intercept.
    """

    over: Streamed
    penalties: Float[Tensor, "p r"]

    def start(self) -> Weight:
        """Zero."""
        problems, width = self.penalties.shape
        return self.penalties.new_zeros(problems, len(self.over.classes), width)

    def take(self, rows: Bool[Tensor, " p"]) -> StreamedCrossEntropy:
        """Some of the problems."""
        return replace(self, penalties=self.penalties[rows])

    def evaluate(self, weight: Weight) -> Point:
        """Values, gradients, and the weights, from which probabilities are made again."""
        spread, pull = self.over.spread(weight), self.penalties.unsqueeze(1) * weight
        value, slopes = 0.5 * dot(weight, pull), torch.zeros_like(spread)
        for x, onehot in self.over.rows():
            log_probabilities = forward(x, spread).double().log_softmax(1)
            value = value - (log_probabilities * onehot).sum((1, 2))
            slopes += backward(x, log_probabilities.exp() - onehot)
        return value, self.over.gathered(slopes) + pull, weight

    def curve(self, state: Weight, direction: Weight) -> Weight:
        """Hessian times a direction."""
        spread, along = self.over.spread(state), self.over.spread(direction)
        curved = torch.zeros_like(spread)
        for x, _ in self.over.rows():
            probabilities = forward(x, spread).double().softmax(1)
            change = forward(x, along)
            mean = (probabilities * change).sum(1, keepdim=True)
            curved += backward(x, probabilities * (change - mean))
        return self.over.gathered(curved) + self.penalties.unsqueeze(1) * direction

    def precondition(self, state: Weight) -> Float[Tensor, "p 1 r"]:
        """As if every row had the mean curvature."""
        spread, curvature = self.over.spread(state), torch.zeros_like(self.penalties[:, 0])
        for x, _ in self.over.rows():
            probabilities = forward(x, spread).double().softmax(1)
            curvature = curvature + (probabilities * (1 - probabilities)).sum((1, 2))
        curvature = curvature / (self.over.spectrum[-1] * len(self.over.classes))
        guess = curvature[:, None] * self.over.spectrum + self.penalties
        return 1 / guess.clamp(min=torch.finfo(guess.dtype).tiny).unsqueeze(1)

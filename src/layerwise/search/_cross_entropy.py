"""The objective of multinomial logistic regression."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from layerwise.search._newton import Point, Weight, backward, dot, forward


@final
@dataclass(frozen=True)
class CrossEntropy:
    """Sum of the cross-entropies plus half the squared weights times the penalty.

    Args:
        scores: rotated features with a last column of ones for the intercept.
        spectrum: squared length of each column of `scores`.
        labels: number of the class of each row.
        classes: how many there are.
        penalties: of each problem and weight; 0 for the intercept.
    """

    scores: Float[Tensor, "n r"]
    spectrum: Float[Tensor, " r"]
    labels: Int[Tensor, " n"]
    classes: int
    penalties: Float[Tensor, "p r"]

    def start(self) -> Weight:
        """Zero."""
        problems, width = self.penalties.shape
        return self.penalties.new_zeros(problems, self.classes, width)

    def take(self, rows: Bool[Tensor, " p"]) -> CrossEntropy:
        """Some of the problems."""
        return replace(self, penalties=self.penalties[rows])

    def evaluate(self, weight: Weight) -> Point:
        """Values, gradients and predicted probabilities."""
        log_probabilities = forward(self.scores, weight).double().log_softmax(1)
        own = self.labels.expand(len(weight), 1, -1)
        pull = self.penalties.unsqueeze(1) * weight
        value = 0.5 * dot(weight, pull) - log_probabilities.gather(1, own).sum((1, 2))
        probabilities = log_probabilities.exp()
        state = probabilities.to(self.scores.dtype)
        slopes = probabilities.scatter_add(1, own, probabilities.new_tensor(-1.0).expand(own.shape))
        return value, backward(self.scores, slopes) + pull, state

    def curve(self, state: Float[Tensor, "p c n"], direction: Weight) -> Weight:
        """Hessian times a direction, in the scores' own precision."""
        change = forward(self.scores, direction)
        # Against the own class: nothing cancels where that is told with certainty.
        change -= change.gather(1, self.labels.expand(len(change), 1, -1))
        weighted = state * change
        weighted.addcmul_(state, weighted.sum(1, keepdim=True), value=-1)
        return backward(self.scores, weighted) + self.penalties.unsqueeze(1) * direction

    def precondition(self, state: Float[Tensor, "p c n"]) -> Float[Tensor, "p 1 r"]:
        """As if every row had the mean curvature."""
        curvature = (state * (1 - state)).mean((1, 2))
        guess = curvature[:, None] * self.spectrum + self.penalties
        return 1 / guess.clamp(min=torch.finfo(guess.dtype).tiny).unsqueeze(1)

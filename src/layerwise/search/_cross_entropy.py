"""The objective of multinomial logistic regression."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from layerwise.search._newton import Point, Weight, backward, dot, forward


@final
@dataclass(frozen=True)
class CrossEntropy:
    """Sum of the cross-entropies plus half the squared weights times the penalty.

    Args:
        scores: rotated features with a last column of ones for the intercept.
        spectrum: squared length of each column of `scores`.
        onehot: 1 for the class of each row, classes first.
        penalties: of each problem and weight; 0 for the intercept.
    """

    scores: Float[Tensor, "n r"]
    spectrum: Float[Tensor, " r"]
    onehot: Float[Tensor, "c n"]
    penalties: Float[Tensor, "p r"]

    def start(self) -> Weight:
        """Zero."""
        problems, width = self.penalties.shape
        return self.penalties.new_zeros(problems, len(self.onehot), width)

    def take(self, rows: Bool[Tensor, " p"]) -> CrossEntropy:
        """Some of the problems."""
        return replace(self, penalties=self.penalties[rows])

    def evaluate(self, weight: Weight) -> Point:
        """Values, gradients and predicted probabilities."""
        log_probabilities = forward(self.scores, weight).log_softmax(1)
        probabilities = log_probabilities.exp()
        pull = self.penalties.unsqueeze(1) * weight
        value = 0.5 * dot(weight, pull) - (log_probabilities * self.onehot).sum((1, 2))
        slopes = probabilities - self.onehot
        return value, backward(self.scores, slopes) + pull, probabilities

    def curve(self, state: Float[Tensor, "p c n"], direction: Weight) -> Weight:
        """Hessian times a direction."""
        change = forward(self.scores, direction)
        mean = (state * change).sum(1, keepdim=True)
        curved = backward(self.scores, state * (change - mean))
        return curved + self.penalties.unsqueeze(1) * direction

    def precondition(self, state: Float[Tensor, "p c n"]) -> Float[Tensor, "p 1 r"]:
        """As if every row had the mean curvature."""
        curvature = (state * (1 - state)).mean((1, 2))
        guess = curvature[:, None] * self.spectrum + self.penalties
        return 1 / guess.clamp(min=torch.finfo(guess.dtype).tiny).unsqueeze(1)

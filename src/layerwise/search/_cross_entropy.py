"""The objective of multinomial logistic regression."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from layerwise.search._newton import Each, Weight, backward, dot, forward


@final
@dataclass(frozen=True)
class CrossEntropy:
    """Sum of the cross-entropies plus half the squared weights times the penalty.

    Args:
        scores: rotated features with a last column of ones for the intercept.
        spectrum: squared length of each column of `scores`.
        onehot: 1 for the class of each row.
        penalties: of each problem and weight; 0 for the intercept.
    """

    scores: Float[Tensor, "n r"]
    spectrum: Float[Tensor, " r"]
    onehot: Float[Tensor, "n c"]
    penalties: Float[Tensor, "p r"]

    def start(self) -> Weight:
        """Zero."""
        return self.penalties.new_zeros(*self.penalties.shape, self.onehot.shape[1])

    def take(self, rows: Bool[Tensor, " p"]) -> CrossEntropy:
        """Some of the problems."""
        return replace(self, penalties=self.penalties[rows])

    def evaluate(self, weight: Weight) -> tuple[Each, Weight, Tensor]:
        """Values, gradients and predicted probabilities."""
        log_probabilities = forward(self.scores, weight).log_softmax(2)
        probabilities = log_probabilities.exp()
        pull = self.penalties.unsqueeze(2) * weight
        value = 0.5 * dot(weight, pull) - (log_probabilities * self.onehot[:, None]).sum((0, 2))
        slopes = probabilities - self.onehot[:, None]
        return value, backward(self.scores, slopes) + pull, probabilities

    def curve(self, state: Float[Tensor, "n p c"], direction: Weight) -> Weight:
        """Hessian times a direction."""
        change = forward(self.scores, direction)
        mean = (state * change).sum(2, keepdim=True)
        curved = backward(self.scores, state * (change - mean))
        return curved + self.penalties.unsqueeze(2) * direction

    def precondition(self, state: Float[Tensor, "n p c"]) -> Float[Tensor, "p r 1"]:
        """As if every row had the mean curvature."""
        curvature = (state * (1 - state)).mean((0, 2))
        guess = curvature[:, None] * self.spectrum + self.penalties
        return 1 / guess.clamp(min=torch.finfo(guess.dtype).tiny).unsqueeze(2)

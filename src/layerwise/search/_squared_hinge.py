"""The objective of linear support vector machines with squared hinges."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

from jaxtyping import Bool, Float
from torch import Tensor

from layerwise.search._newton import Point, Weight, backward, dot, forward


@final
@dataclass(frozen=True)
class SquaredHinge:
    """Half the squared weights plus the cost times the squared shortfalls of the margins.

    Each problem is one machine, so that each has its own steps and leaves when it is solved.

    Args:
        scores: rotated features.
        spectrum: squared length of each column of `scores`.
        signs: 1 where a machine is to say yes to a row, -1 where no; machines first.
        costs: of each machine; scikit-learn's `C`.
    """

    scores: Float[Tensor, "n r"]
    spectrum: Float[Tensor, " r"]
    signs: Float[Tensor, "p n"]
    costs: Float[Tensor, " p"]

    def start(self) -> Weight:
        """Zero."""
        return self.costs.new_zeros(len(self.costs), 1, len(self.spectrum))

    def take(self, rows: Bool[Tensor, " p"]) -> SquaredHinge:
        """Some of the problems."""
        return replace(self, signs=self.signs[rows], costs=self.costs[rows])

    def evaluate(self, weight: Weight) -> Point:
        """Values, gradients and whether each margin falls short."""
        signs = self.signs.unsqueeze(1)
        short = (1 - signs * forward(self.scores, weight)).clamp(min=0)
        value = 0.5 * dot(weight, weight) + self.costs * short.square().sum((1, 2))
        slopes = -2 * self.costs[:, None, None] * signs * short
        return value, weight + backward(self.scores, slopes), (short > 0).to(short.dtype)

    def curve(self, state: Float[Tensor, "p c n"], direction: Weight) -> Weight:
        """Generalised Hessian times a direction."""
        change = 2 * self.costs[:, None, None] * state * forward(self.scores, direction)
        return direction + backward(self.scores, change)

    def precondition(self, state: Float[Tensor, "p c n"]) -> Float[Tensor, "p 1 r"]:
        """As if every row fell short as often as the mean row."""
        curvature = 2 * self.costs * state.mean((1, 2))
        return 1 / (1 + curvature[:, None] * self.spectrum).unsqueeze(1)

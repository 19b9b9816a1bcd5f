"""Newton's method for multinomial logistic regression, for many penalties at once.

The scores are rotated so that `Z'Z` is diagonal: then `curvature * spectrum + penalty` is a good
guess of the Hessian, and few steps of preconditioned conjugate gradients solve each Newton system
(a truncated Newton method, after Lin, Weng and Keerthi 2008). All penalties share every matrix
product, and those that have converged leave the batch. Only the products with the scores run in
the scores' own precision: where classes are told apart with certainty, `1 - probability` would be
lost in float32.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

_Weight = Float[Tensor, "p r c"]
_Each = Float[Tensor, " p"]


@final
@dataclass(frozen=True)
class Objective:
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

    def take(self, rows: Bool[Tensor, " p"]) -> Objective:
        """Some of the problems."""
        return replace(self, penalties=self.penalties[rows])

    def evaluate(self, weight: _Weight) -> tuple[_Each, _Weight, Float[Tensor, "n p c"]]:
        """Values, gradients and predicted probabilities."""
        log_probabilities = self._forward(weight).log_softmax(2)
        probabilities = log_probabilities.exp()
        pull = self.penalties.unsqueeze(2) * weight
        value = 0.5 * _dot(weight, pull) - (log_probabilities * self.onehot[:, None]).sum((0, 2))
        return value, self._backward(probabilities - self.onehot[:, None]) + pull, probabilities

    def curve(self, probabilities: Float[Tensor, "n p c"], direction: _Weight) -> _Weight:
        """Hessian times a direction."""
        change = self._forward(direction)
        mean = (probabilities * change).sum(2, keepdim=True)
        return (
            self._backward(probabilities * (change - mean))
            + self.penalties.unsqueeze(2) * direction
        )

    def precondition(self, probabilities: Float[Tensor, "n p c"]) -> Float[Tensor, "p r 1"]:
        """Inverse of a diagonal guess of the Hessian."""
        curvature = (probabilities * (1 - probabilities)).mean((0, 2))
        guess = curvature[:, None] * self.spectrum + self.penalties
        return 1 / guess.clamp(min=torch.finfo(guess.dtype).tiny).unsqueeze(2)

    def _forward(self, weight: _Weight) -> Float[Tensor, "n p c"]:
        flat = self.scores @ weight.transpose(0, 1).flatten(1).to(self.scores.dtype)
        return flat.unflatten(1, weight.shape[::2]).double()

    def _backward(self, slopes: Float[Tensor, "n p c"]) -> _Weight:
        flat = self.scores.T @ slopes.flatten(1).to(self.scores.dtype)
        return flat.unflatten(1, slopes.shape[1:]).transpose(0, 1).double()


def minimise(
    objective: Objective, *, tolerance: float, limit: int
) -> tuple[_Weight, Bool[Tensor, " p"]]:
    """Solve every problem, from zero.

    Args:
        objective: the problems.
        tolerance: a problem is solved when a step promises less than this part of its value.
        limit: most Newton steps.

    Returns:
        Weights, and which of the problems were solved.
    """
    p, r = objective.penalties.shape
    weight = objective.spectrum.new_zeros(p, r, objective.onehot.shape[1])
    open_ = torch.ones(p, dtype=torch.bool, device=weight.device)
    for _ in range(limit):
        problems = objective.take(open_)
        now = weight[open_]
        value, gradient, probabilities = problems.evaluate(now)
        direction = _solve(problems, gradient, probabilities)
        promised = -_dot(gradient, direction)
        weight[open_] = now + _step(problems, now, direction, value, promised)
        # The step has been taken: what is left is second order in what was promised.
        open_[open_.clone()] = promised > tolerance * value
        if not bool(open_.any()):
            break
    return weight, ~open_


def _solve(
    problems: Objective, gradient: _Weight, probabilities: Float[Tensor, "n p c"]
) -> _Weight:
    """Newton direction by conjugate gradients, to a tenth of the gradient's length."""
    scale = problems.precondition(probabilities)
    direction = torch.zeros_like(gradient)
    residual = -gradient
    search = scale * residual
    length = _dot(residual, search)
    enough = 0.01 * length
    for _ in range(100):
        working = length > enough
        if not bool(working.any()):
            break
        curved = problems.curve(probabilities, search)
        pace = torch.where(working, length / _dot(search, curved), 0.0)
        direction = direction + pace[:, None, None] * search
        residual = residual - pace[:, None, None] * curved
        fresh = scale * residual
        longer = _dot(residual, fresh)
        turn = torch.where(working, longer / length, 0.0)
        search = fresh + turn[:, None, None] * search
        length = torch.where(working, longer, length)
    return direction


def _step(
    problems: Objective, now: _Weight, direction: _Weight, value: _Each, promised: _Each
) -> _Weight:
    """Halve the step of each problem until its value falls as promised."""
    pace = torch.ones_like(value)
    slack = 10 * torch.finfo(value.dtype).eps * value.abs()
    for _ in range(30):
        step = pace[:, None, None] * direction
        short = problems.evaluate(now + step)[0] > value - 1e-4 * pace * promised + slack
        if not bool(short.any()):
            break
        pace = torch.where(short, pace / 2, pace)
    return step


def _dot(one: _Weight, other: _Weight) -> _Each:
    return (one * other).sum((1, 2))

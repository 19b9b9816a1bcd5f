"""Newton's method for linear readouts, for many strengths of regularisation at once.

Scores are rotated so that `Z'Z` is diagonal: then a diagonal guess of the Hessian is a good one,
and few steps of preconditioned conjugate gradients solve each Newton system (a truncated Newton
method, after Lin, Weng and Keerthi 2008). All problems share every matrix product, and those that
are solved leave the batch. Classes come before rows and features, as a product with few rows is up
to four times faster than one with few columns.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Weight = Float[Tensor, "p c r"]
"""One matrix for each problem: from rotated features to classes."""

Each = Float[Tensor, " p"]

Point = tuple[Each, Weight, Tensor]
"""Values, gradients, and what else the objective wants to know of a point; problems come first."""


@runtime_checkable
class Objective(Protocol):
    """Convex problems that differ in nothing but the strength of regularisation."""

    def start(self) -> Weight:
        """Where to begin: zero."""
        ...

    def take(self, rows: Bool[Tensor, " p"]) -> Objective:
        """Some of the problems."""
        ...

    def evaluate(self, weight: Weight) -> Point:
        """Values, gradients, and what the two methods below want to know."""
        ...

    def curve(self, state: Tensor, direction: Weight) -> Weight:
        """Hessian times a direction."""
        ...

    def precondition(self, state: Tensor) -> Float[Tensor, "p 1 r"]:
        """Inverse of a diagonal guess of the Hessian."""
        ...


def forward(scores: Float[Tensor, "n r"], weight: Weight) -> Float[Tensor, "p c n"]:
    """Scores times every matrix, in the scores' own precision.

    What becomes a value or a gradient goes on in float64: where classes are told apart with
    certainty, `1 - probability` would be lost in float32.
    """
    flat = weight.flatten(0, 1).to(scores.dtype) @ scores.T
    return flat.unflatten(0, weight.shape[:2])


def backward(scores: Float[Tensor, "n r"], slopes: Float[Tensor, "p c n"]) -> Weight:
    """The transpose of `forward`."""
    flat = slopes.flatten(0, 1).to(scores.dtype) @ scores
    return flat.unflatten(0, slopes.shape[:2]).double()


def minimise(
    objective: Objective,
    *,
    start: Weight | None = None,
    tolerance: float = 1e-6,
    limit: int = 100,
) -> tuple[Weight, Bool[Tensor, " p"]]:
    """Solve every problem.

    Args:
        objective: the problems.
        start: where to begin; zero without it.
        tolerance: a problem is solved when a step promises less than this part of its value.
        limit: most Newton steps.

    Returns:
        Weights, and which of the problems were solved.
    """
    weight = objective.start() if start is None else start.clone()
    unsolved = torch.ones(len(weight), dtype=torch.bool, device=weight.device)
    problems, now = objective, weight
    here = problems.evaluate(now)
    for _ in range(limit):
        value, gradient, state = here
        direction = _solve(problems, gradient, state)
        promised = -dot(gradient, direction)
        now, here = _step(problems, now, direction, value, promised)
        weight[unsolved] = now
        # The step has been taken: what is left is second order in what was promised.
        going = promised > tolerance * value
        unsolved[unsolved.clone()] = going
        if not bool(going.any()):
            break
        if not bool(going.all()):
            problems, now = problems.take(going), now[going]
            here = here[0][going], here[1][going], here[2][going]
    return weight, ~unsolved


def dot(one: Weight, other: Weight) -> Each:
    """Inner product within each problem."""
    return (one * other).sum((1, 2))


def _solve(problems: Objective, gradient: Weight, state: Tensor) -> Weight:
    """Newton direction by conjugate gradients, to a tenth of the gradient's length."""
    scale = problems.precondition(state)
    direction = torch.zeros_like(gradient)
    residual = -gradient
    search = scale * residual
    length = dot(residual, search)
    enough = 0.01 * length
    for _ in range(100):
        working = length > enough
        if not bool(working.any()):
            break
        curved = problems.curve(state, search)
        pace = torch.where(working, length / dot(search, curved), 0.0)
        direction = direction + pace[:, None, None] * search
        residual = residual - pace[:, None, None] * curved
        fresh = scale * residual
        longer = dot(residual, fresh)
        turn = torch.where(working, longer / length, 0.0)
        search = fresh + turn[:, None, None] * search
        length = torch.where(working, longer, length)
    return direction


def _step(
    problems: Objective, now: Weight, direction: Weight, value: Each, promised: Each
) -> tuple[Weight, Point]:
    """Halve the step of each problem until its value falls as promised; what is there."""
    pace = torch.ones_like(value)
    slack = 10 * torch.finfo(value.dtype).eps * value.abs()
    for _ in range(30):
        there = now + pace[:, None, None] * direction
        point = problems.evaluate(there)
        short = point[0] > value - 1e-4 * pace * promised + slack
        if not bool(short.any()):
            break
        pace = torch.where(short, pace / 2, pace)
    return there, point

"""Many layers compared at once: how sure are all the differences together?

Among twenty layers one beats another by luck. `max_t` draws the samples again as `bootstrap_mean`
does, divides every layer's paired difference by its own standard error, and keeps the largest of
each draw: intervals widened to the quantile of that hold all true differences together, and layers
that rise and fall together cost little (Westfall and Young 1993; Romano and Wolf 2005, whose steps
down are taken for the p-values). `holm` needs no more than p-values, whatever they come from.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from layerwise.errors import LayerwiseError
from layerwise.measures._bootstrap import Interval, columns_of, draw_sums, heavier


@final
@dataclass(frozen=True)
class Differences:
    """How each column differs from one of them in the mean.

    Args:
        interval: of each difference; all of them hold together as often as `level` says.
        p: probability of so large a difference somewhere, were there none, after stepping down.
        level: as it was asked for.
    """

    interval: Interval
    p: Float[Tensor, " m"]
    level: float

    @property
    def sure(self) -> Bool[Tensor, " m"]:
        """Which columns differ from the reference for sure."""
        return self.p < 1 - self.level


def max_t(
    scores: Float[Tensor, "n m"],
    *,
    reference: int,
    groups: Sequence[Hashable] | Int[Tensor, " n"] | None = None,
    level: float = 0.95,
    repeats: int = 2000,
    generator: torch.Generator | None = None,
) -> Differences:
    """Compare all columns with one of them, over the same samples.

    Args:
        scores: one number for each sample and layer, such as 1.0 or 0.0 for right or wrong.
        reference: the column that the others are compared with: chosen before, or on other data.
        groups: names; samples of one group are drawn together.
        level: how often all intervals hold together.
        repeats: number of draws.
        generator: for the draws; without it, one of seed 0.

    Raises:
        LayerwiseError: fewer than 2 samples or groups, NaN, no such column, a level not between 0
            and 1.

    Example:
        >>> noise = torch.randn(100, 8, generator=torch.Generator().manual_seed(1))
        >>> noise[:, 5] += 1
        >>> max_t(noise, reference=0).sure.nonzero().flatten().tolist()
        [5]
    """
    if not 0 < level < 1:
        raise LayerwiseError(f"level={level}, expected a share between 0 and 1")
    if not 0 <= reference < scores.shape[1]:
        raise LayerwiseError(f"reference={reference} of {scores.shape[1]} columns")
    columns = columns_of(scores)
    sums, units = draw_sums(columns - columns[:, [reference]], groups, repeats, generator)
    means = sums[:, 1:] / sums[:, :1]
    value, drawn = means[0], means[1:]
    # Few units scatter less in a draw than in truth.
    error = drawn.std(0) * (units / (units - 1)) ** 0.5
    away = heavier((drawn - value).abs() / error.where(error > 0, torch.inf), units - 1)
    width = away.amax(1).quantile(level) * error
    size = value.abs() / error.where(error > 0, 1.0)
    size = size.where((error > 0) | (value == 0), torch.inf)
    return Differences(
        Interval(value, value - width, value + width), _stepped_down(size, away), level
    )


def holm(p: Float[Tensor, " m"]) -> Float[Tensor, " m"]:
    """P-values that hold for all tests together, whatever they share (Holm 1979).

    Args:
        p: one for each test.

    Raises:
        LayerwiseError: a value that is no probability.

    Example:
        >>> holm(torch.tensor([0.25, 0.5, 0.125])).tolist()
        [0.5, 0.5, 0.375]
    """
    if not bool(((p >= 0) & (p <= 1)).all()):
        raise LayerwiseError(f"p-values {p.tolist()}; give probabilities from 0 to 1")
    order = p.argsort()
    left = torch.arange(len(p), 0, -1).to(p)
    raised = (left * p[order]).cummax(0).values.clamp(max=1) if len(p) else p
    return raised[order.argsort()]


def _stepped_down(size: Tensor, away: Tensor) -> Float[Tensor, " m"]:
    """Each difference against the largest chance among itself and all smaller ones."""
    order = size.argsort(descending=True)
    largest = away[:, order].flip(1).cummax(1).values.flip(1)
    beyond = (largest >= size[order]).double().sum(0)
    raised = ((1 + beyond) / (1 + len(away))).cummax(0).values
    return raised[order.argsort()]

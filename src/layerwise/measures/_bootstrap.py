"""Bootstrap intervals: how far could the score be off, had other samples been drawn?

Samples, or whole groups of samples that belong together, are drawn again with replacement, and the
score is taken of each draw (Efron 1979). A mean and R2 are functions of sums over the samples, so
that all draws of all scores are one matrix product. Plain percentiles are too narrow for few
samples: they are widened by Student's quantile and sqrt(n / (n - 1)), as Hesterberg (2015, section
5.3) proposes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TypeVar, final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from layerwise.errors import LayerwiseError

_COUNTS = 2**22  # numbers in a block of draws, which is one product: its size is felt in last bits
_DRAWN = 2**17  # of them drawn at a time: places need as much memory as the counts made of them

Number = TypeVar("Number", float, Tensor)


@final
@dataclass(frozen=True)
class Interval:
    """A score and where it may lie, for each column that was given.

    Args:
        value: the score over all samples.
        low: lower end.
        high: upper end.
    """

    value: Float[Tensor, "*m"]
    low: Float[Tensor, "*m"]
    high: Float[Tensor, "*m"]


def bootstrap_mean(
    scores: Float[Tensor, " n *m"],
    *,
    other: Float[Tensor, " n *m"] | None = None,
    groups: Sequence[Hashable] | Int[Tensor, " n"] | None = None,
    level: float = 0.95,
    repeats: int = 2000,
    generator: torch.Generator | None = None,
) -> Interval:
    """Interval of a mean over samples, such as an accuracy, for one score or many columns of them.

    Where all samples score the same the interval has no width; that is not certainty.

    Args:
        scores: one number for each sample, 1.0 or 0.0 for right or wrong.
        other: scores of the same samples elsewhere; the interval is of the mean paired difference.
        groups: names; samples of one group are drawn together.
        level: share of such intervals that hold the true mean.
        repeats: number of draws.
        generator: for the draws; without it, one of seed 0.

    Raises:
        LayerwiseError: fewer than 2 samples or groups, NaN, a level not between 0 and 1.

    Example:
        >>> right = torch.tensor([1.0, 1.0, 0.0, 1.0]).repeat(50)
        >>> interval = bootstrap_mean(right)
        >>> interval.value.item(), bool(interval.low > 0.65), bool(interval.high < 0.85)
        (0.75, True, True)
    """
    _require_same(scores, other)
    columns = columns_of(scores) if other is None else columns_of(scores) - columns_of(other)
    sums, units = draw_sums(columns, groups, repeats, generator)
    return _interval(sums[:, 1:] / sums[:, :1], units, level, scores.shape[1:])


def bootstrap_sums(
    columns: Float[Tensor, "n k"],
    score: Callable[[Float[Tensor, "r k"]], Float[Tensor, r * m]],
    *,
    groups: Sequence[Hashable] | Int[Tensor, " n"] | None = None,
    level: float = 0.95,
    repeats: int = 2000,
    generator: torch.Generator | None = None,
) -> Interval:
    """Interval of any score that is a function of sums over the samples, such as a ratio of two.

    Args:
        columns: what is summed up, for each sample.
        score: of several draws at once, from the sums of each.
        groups: names; samples of one group are drawn together.
        level: share of such intervals that hold the true score.
        repeats: number of draws.
        generator: for the draws; without it, one of seed 0.

    Raises:
        LayerwiseError: fewer than 2 samples or groups, NaN, a level not between 0 and 1.

    Example:
        >>> columns = torch.tensor([[1.0, 2.0], [3.0, 6.0]]).repeat(20, 1)
        >>> bootstrap_sums(columns, lambda sums: sums[:, 0] / sums[:, 1]).high.item()
        0.5
    """
    sums, units = draw_sums(columns_of(columns), groups, repeats, generator)
    scores = score(sums[:, 1:])
    return _interval(scores, units, level, scores.shape[1:])


def bootstrap_r2(
    predictions: Float[Tensor, " n *m"],
    targets: Float[Tensor, " n"],
    *,
    other: Float[Tensor, " n *m"] | None = None,
    groups: Sequence[Hashable] | Int[Tensor, " n"] | None = None,
    level: float = 0.95,
    repeats: int = 2000,
    generator: torch.Generator | None = None,
) -> Interval:
    """Interval of R2, the share of a variance that is predicted, for one or many columns.

    Draws in which the target does not vary have no R2 and are left out.

    Args:
        predictions: of each sample.
        targets: the true quantities.
        other: predictions for the same samples elsewhere; the interval is of the difference in R2.
        groups: names; samples of one group are drawn together.
        level: share of such intervals that hold the true R2.
        repeats: number of draws.
        generator: for the draws; without it, one of seed 0.

    Raises:
        LayerwiseError: fewer than 2 samples or groups, NaN, a level not between 0 and 1.

    Example:
        >>> targets = torch.arange(100.0)
        >>> interval = bootstrap_r2(targets + torch.tensor([10.0, -10.0]).repeat(50), targets)
        >>> bool(interval.low < 0.88), bool(interval.high > 0.88)
        (True, True)
    """
    _require_same(predictions, other)
    _require_same(targets, predictions[:, 0] if predictions.ndim > 1 else predictions)
    truth = columns_of(targets)
    truth = truth - truth.mean()
    errors = [
        (columns_of(given) - columns_of(targets)).square()
        for given in (predictions, other)
        if given is not None
    ]
    sums, units = draw_sums(
        torch.cat([truth, truth.square(), *errors], 1), groups, repeats, generator
    )
    count, total, squares, wrong = sums.split([1, 1, 1, sums.shape[1] - 3], dim=1)
    variance = squares - total.square() / count
    unexplained = wrong / variance.where(variance > 1e-12 * squares, torch.nan)
    r2 = 1 - unexplained
    if other is not None:
        r2 = r2[:, : len(r2[0]) // 2] - r2[:, len(r2[0]) // 2 :]
    return _interval(r2, units, level, predictions.shape[1:])


def _require_same(scores: Tensor, other: Tensor | None) -> None:
    if other is not None and other.shape != scores.shape:
        raise LayerwiseError(
            f"scores of shape {tuple(scores.shape)} beside {tuple(other.shape)}; give both of the "
            "same samples"
        )


def columns_of(scores: Tensor) -> Float[Tensor, "n k"]:
    """Scores in float64, one column each, or an error where one of them is missing."""
    if not scores.isfinite().all():
        raise LayerwiseError("scores hold NaN or infinity; leave those samples out of all scores")
    return scores.detach().double().reshape(len(scores), -1)


def draw_sums(
    columns: Tensor,
    groups: Sequence[Hashable] | Tensor | None,
    repeats: int,
    generator: torch.Generator | None,
) -> tuple[Float[Tensor, "r k"], int]:
    """Sums of a column of ones and the columns given: of all samples first, then of each draw."""
    units = torch.cat([torch.ones_like(columns[:, :1]), columns], dim=1)
    if groups is not None:
        units = _by_group(units, groups)
    count = len(units)
    if count < 2:
        what = "samples" if groups is None else "groups"
        raise LayerwiseError(f"an interval from {count} {what}; it needs at least 2")
    generator = generator or torch.Generator().manual_seed(0)
    sums = units.new_empty(1 + repeats, units.shape[1])
    sums[0] = units.sum(0)
    size = max(1, _COUNTS // count)
    # One for all blocks: between small results that stay, freed memory is not found again.
    buffer = units.new_empty(min(size, repeats), count)
    for out in sums[1:].split(size):
        times = buffer[: len(out)].zero_()
        for few in times.split(max(1, _DRAWN // count)):
            drawn = torch.randint(count, few.shape, generator=generator).to(units.device)
            few.scatter_add_(1, drawn, torch.ones_like(few))
        out.copy_(times @ units)
    return sums, count


def _by_group(columns: Tensor, groups: Sequence[Hashable] | Tensor) -> Tensor:
    names = groups.tolist() if isinstance(groups, Tensor) else groups
    if len(names) != len(columns):
        raise LayerwiseError(f"{len(names)} groups for {len(columns)} samples; name one for each")
    numbers: dict[Hashable, int] = {}
    index = torch.tensor([numbers.setdefault(name, len(numbers)) for name in names])
    sums = columns.new_zeros(len(numbers), columns.shape[1])
    return sums.index_add_(0, index.to(columns.device), columns)


def _interval(draws: Tensor, units: int, level: float, shape: torch.Size) -> Interval:
    """Widened percentiles of all rows but the first, which is the score over all samples."""
    if not 0 < level < 1:
        raise LayerwiseError(f"level={level}, expected a share between 0 and 1")
    wide = student((1 + level) / 2, units - 1) * math.sqrt(units / (units - 1))
    tail = NormalDist().cdf(-wide)
    ends = torch.tensor([tail, 1 - tail], dtype=draws.dtype, device=draws.device)
    low, high = draws[1:].nanquantile(ends, dim=0)
    return Interval(draws[0].reshape(shape), low.reshape(shape), high.reshape(shape))


def student(probability: float, freedom: int) -> float:
    """Quantile of Student's distribution (Abramowitz and Stegun 1964, 26.7.5)."""
    return heavier(NormalDist().inv_cdf(probability), freedom)


def heavier(z: Number, freedom: int) -> Number:
    """A quantile of the normal distribution as that of Student's, with its heavier tails."""
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    for power, term in enumerate(terms, start=1):
        z = z + term / freedom**power
    return z

"""Ridge regression that answers for every sample as if that had been left out, in little memory.

No data need be set aside, and all layers answer for the same samples. As in `features.Ridge` the
leave-one-out residual is the residual over 1 - leverage, exactly. Where samples outnumber channels
only products of channels are held: rows pass by in blocks, once to sum them up, once to find the
penalty with the least error, once to answer. The penalty is chosen by those same errors; among a
dozen penalties and hundreds of samples that is far within the interval of any score.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from layerwise.errors import LayerwiseError
from layerwise.features._decomposition import Decomposition
from layerwise.features._finite import require_finite
from layerwise.features._standardise import Standardise
from layerwise.measures._checked import centre

_NUMBERS = 2**22
"""Left-out residuals held at a time, all penalties together."""

Then = Callable[[Tensor, Tensor], Tensor]
"""Makes of the targets and left-out residuals of a block `[b k]` what is kept of each row."""


def left_out(
    features: Float[Tensor, "n d"],
    targets: Float[Tensor, "n k"] | Int[Tensor, " n"],
    then: Then,
    *,
    alike: bool,
    penalties: Sequence[float] | None = None,
    scale: bool = True,
) -> Tensor:
    """Answer for every sample by a regression on all others.

    Args:
        features: one row for each sample.
        targets: quantities, or classes from 0 on, each a column of ones and zeros.
        then: what is kept of the rows of a block.
        alike: one penalty for all targets, or the best for each.
        penalties: all positive; without them 13 from 1e-5 to 1e3 times the number of rows.
        scale: divide each feature by its deviation.

    Raises:
        LayerwiseError: fewer than two rows, rows that do not match or are not finite.

    Example:
        >>> x = torch.arange(6.0)[:, None]
        >>> off = left_out(x, 2 * x, lambda _, residual: residual, alike=True)
        >>> bool(off.abs().max() < 1e-3)
        True
    """
    n = len(features)
    if n < 2 or len(targets) != n:
        raise LayerwiseError(
            f"{n} rows of features and {len(targets)} of targets; give as many, at least 2"
        )
    require_finite(features)
    if penalties is None:
        grid = n * torch.logspace(-5, 3, 13, dtype=torch.float64, device=features.device)
    else:
        grid = torch.as_tensor(penalties, dtype=torch.float64, device=features.device)
    problem = _Rows(features, targets, _standardise(features, scale=scale), len(grid))
    # All rows at once are kept; blocks of rows are made again.
    held = list(problem.dual(grid)) if n < features.shape[1] else []
    errors = sum(residual.square().sum(1) for _, residual in held or problem.primal(grid))
    assert isinstance(errors, Tensor)
    best = errors.sum(1).argmin().expand(errors.shape[1]) if alike else errors.argmin(0)
    parts = []
    for y, residual in held or problem.primal(grid):
        parts.append(then(y, residual.gather(0, best.expand(1, len(y), -1))[0]))
    return torch.cat(parts)


def right_when_left_out(
    features: Float[Tensor, "n d"],
    labels: Int[Tensor, " n"],
    *,
    penalties: Sequence[float] | None = None,
    scale: bool = True,
) -> Float[Tensor, " n"]:
    """1 for each sample whose class is named by ridge regression on all others, else 0.

    Args:
        features: one row for each sample.
        labels: class of each.
        penalties: see `left_out`.
        scale: divide each feature by its deviation.

    Raises:
        LayerwiseError: fewer than two rows, or rows that are not finite.

    Example:
        >>> labels = torch.arange(30) % 3
        >>> right_when_left_out(torch.eye(3)[labels], labels).mean().item()
        1.0
    """
    index = labels.unique(return_inverse=True)[1]

    def named(y: Tensor, residual: Tensor) -> Tensor:
        return ((y - residual).argmax(1) == y.argmax(1)).to(features)

    return left_out(features, index, named, alike=True, penalties=penalties, scale=scale)


def _standardise(features: Tensor, *, scale: bool) -> Standardise:
    """As `Standardise.fit`, in blocks of rows."""
    mean = centre(features)
    squares = torch.zeros_like(mean)
    for block in features.split(1024):
        squares += (block.double() - mean).square().sum(0)
    deviation = (squares / len(features)).sqrt()
    return Standardise(mean, deviation.where((deviation > 0) & scale, 1.0))


@final
@dataclass(frozen=True)
class _Rows:
    features: Tensor
    targets: Tensor
    standardise: Standardise
    penalties: int

    def primal(self, grid: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Targets and residuals `[p b k]` of each block, from products of channels."""
        width, count = self.features.shape[1], self._columns
        gram, shared = (self.features.new_zeros(width, m).double() for m in (width, count))
        mean = self._mean
        for x, y in self._blocks():
            gram.addmm_(x.T, x)
            shared.addmm_(x.T, y - mean)
        spectrum, vectors = torch.linalg.eigh(gram)
        rounding = width * torch.finfo(gram.dtype).eps * spectrum[-1]
        inverse = 1 / (torch.where(spectrum > rounding, spectrum, 0.0)[:, None] + grid)
        weights = (inverse.unsqueeze(2) * (vectors.T @ shared).unsqueeze(1)).flatten(1)
        for x, y in self._blocks():
            scores = x @ vectors
            predicted = (scores @ weights).unflatten(1, (len(grid), count)).transpose(0, 1)
            kept = 1 - 1 / len(self.features) - (scores.square() @ inverse).T
            yield y, (y - mean - predicted) / kept.clamp(min=1e-15).unsqueeze(2)

    def dual(self, grid: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """The same of all rows at once, a block of targets: there are fewer rows than channels."""
        rows = self.standardise(self.features.double())
        whole = self._some(slice(None))
        yield whole, Decomposition.of(rows).solve(whole - self._mean, grid).left_out

    def _blocks(self) -> Iterator[tuple[Tensor, Tensor]]:
        height = max(1, _NUMBERS // max(self.penalties * self._columns, self.features.shape[1]))
        for start in range(0, len(self.features), height):
            block = slice(start, start + height)
            yield self.standardise(self.features[block].double()), self._some(block)

    def _some(self, block: slice) -> Float[Tensor, "b k"]:
        chosen = self.targets[block]
        if chosen.is_floating_point():
            return chosen.double()
        return torch.nn.functional.one_hot(chosen, self._columns).double()

    @property
    def _columns(self) -> int:
        if self.targets.is_floating_point():
            return self.targets.shape[1]
        return int(self.targets.max()) + 1

    @property
    def _mean(self) -> Float[Tensor, " k"]:
        if self.targets.is_floating_point():
            return self.targets.double().mean(0)
        return self.targets.bincount(minlength=self._columns).double() / len(self.targets)

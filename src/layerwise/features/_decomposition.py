"""One eigendecomposition that solves ridge regression for any penalties and any targets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor


@final
@dataclass(frozen=True)
class Solution:
    """Ridge regression of some targets for some penalties.

    Args:
        weight: the coefficients.
        left_out: residual of each row in the fit that leaves it out, the intercept refitted too.
    """

    weight: Float[Tensor, "p d k"]
    left_out: Float[Tensor, "p n k"]


@final
@dataclass(frozen=True)
class Decomposition:
    """Of `xx'` where columns outnumber rows, else of `x'x`. Build it with `of`.

    Args:
        x: centred rows, in float64: in float32 leverages near 1 would be noise.
        spectrum: eigenvalues, rising.
        vectors: eigenvectors, of columns or of rows.

    Example:
        >>> x = torch.tensor([[-1.0], [0.0], [1.0]], dtype=torch.float64)
        >>> solution = Decomposition.of(x).solve(2 * x, torch.tensor([2.0]))
        >>> solution.weight.flatten().tolist()  # x'y / (x'x + 2)
        [1.0]
    """

    x: Float[Tensor, "n d"]
    spectrum: Float[Tensor, " r"]
    vectors: Float[Tensor, "_ r"]

    @classmethod
    def of(cls, x: Float[Tensor, "n d"]) -> Decomposition:
        """Decompose centred rows."""
        n, d = x.shape
        spectrum, vectors = torch.linalg.eigh(x @ x.T if n < d else x.T @ x)
        # The constant direction of centred rows has no variance, and rounding must not give it any.
        rounding = len(spectrum) * torch.finfo(x.dtype).eps * spectrum[-1]
        return cls(x, torch.where(spectrum > rounding, spectrum, 0.0), vectors)

    def solve(self, y: Float[Tensor, "n k"], penalties: Float[Tensor, " p"]) -> Solution:
        """Solve for centred targets and positive penalties."""
        fit, across = (self._dual, self.x.T) if self._wide else (self._primal, self.vectors)
        coefficients, residual, kept = fit(y, penalties)
        return Solution(_each(across, coefficients), _left_out(residual, kept))

    def left_out(
        self, y: Float[Tensor, "n k"], penalties: Float[Tensor, " p"]
    ) -> Float[Tensor, "p n k"]:
        """Only the residuals of `solve`, which are cheaper to have."""
        fit = self._dual if self._wide else self._primal
        _, residual, kept = fit(y, penalties)
        return _left_out(residual, kept)

    @property
    def _wide(self) -> bool:
        return len(self.x) < self.x.shape[1]

    def _primal(self, y: Tensor, penalties: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Coefficients of the eigenvectors, residuals and 1 - leverage."""
        scores = self.x @ self.vectors
        inverse = 1 / (self.spectrum[:, None] + penalties)
        coefficients = _spread(inverse, scores.T @ y)
        residual = y - _each(scores, coefficients)
        kept = 1 - 1 / len(y) - (scores.square() @ inverse).T
        return coefficients, residual, kept

    def _dual(self, y: Tensor, penalties: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Weights of the rows, and the same; the residuals are these weights times the penalty."""
        inverse = 1 / (self.spectrum[:, None] + penalties)
        dual = _each(self.vectors, _spread(inverse, self.vectors.T @ y))
        kept = (self.vectors.square() @ (inverse * penalties)).T - 1 / len(y)
        return dual.transpose(0, 1), penalties[:, None, None] * dual, kept


def _left_out(residual: Float[Tensor, "p n k"], kept: Float[Tensor, "p n"]) -> Tensor:
    # A row that alone decides a direction (nothing kept) has no such answer: stay finite.
    return residual / kept.clamp(min=torch.finfo(kept.dtype).eps).unsqueeze(2)


def _spread(inverse: Float[Tensor, "r p"], projected: Float[Tensor, "r k"]) -> Tensor:
    return inverse.unsqueeze(2) * projected.unsqueeze(1)


def _each(matrix: Float[Tensor, "m r"], coefficients: Float[Tensor, "r p k"]) -> Tensor:
    """`matrix` times the coefficients of every penalty, in one product: `[p m k]`."""
    product = matrix @ coefficients.flatten(1)
    return product.unflatten(1, coefficients.shape[1:]).transpose(0, 1)

"""Ridge regression with exact leave-one-out errors, for all penalties and all targets in one go.

Minimises `|X w - y|^2 + penalty |w|^2` over standardised features, the intercept free, as
scikit-learn's `Ridge` does. One eigendecomposition, of `X'X` or of `XX'` whichever is smaller,
serves every penalty; the leave-one-out residual is the residual over `1 - leverage` (Allen 1974).
All is computed in float64: in float32 leverages near 1 would be noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from layerwise.errors import LayerwiseError
from layerwise.features._decomposition import Decomposition
from layerwise.features._finite import require_finite
from layerwise.features._standardise import Standardise


@final
class Ridge(nn.Module):
    """Reads numbers off features, linearly. Build it with `fit`.

    For classes give one column per class, 1 where the row belongs to it and 0 or -1 elsewhere; the
    largest prediction names the class.

    Args:
        standardise: training mean and deviation of the features.
        weight: for standardised features.
        bias: the targets' training means.
        penalties: in the order of the first axis of everything else.
        loo: leave-one-out predictions for the training rows; not part of the state dict.
        loo_error: their mean squared error.

    Example:
        >>> features = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
        >>> targets = features @ torch.tensor([[1.0], [2.0], [0.0]]) + 5
        >>> ridge = Ridge.fit(features, targets)
        >>> bool((ridge(features)[ridge.best(), :, 0] - targets[:, 0]).abs().max() < 1e-3)
        True
    """

    weight: Float[Tensor, "p d k"]
    bias: Float[Tensor, " k"]
    penalties: Float[Tensor, " p"]
    loo: Float[Tensor, "p n k"]
    loo_error: Float[Tensor, "p k"]

    def __init__(
        self,
        standardise: Standardise,
        weight: Float[Tensor, "p d k"],
        bias: Float[Tensor, " k"],
        *,
        penalties: Float[Tensor, " p"],
        loo: Float[Tensor, "p n k"],
        loo_error: Float[Tensor, "p k"],
    ) -> None:
        super().__init__()
        self.standardise = standardise
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)
        self.register_buffer("penalties", penalties)
        self.register_buffer("loo", loo, persistent=False)
        self.register_buffer("loo_error", loo_error)

    @classmethod
    def fit(
        cls,
        features: Float[Tensor, "n d"],
        targets: Float[Tensor, "n k"] | Float[Tensor, " n"],
        *,
        penalties: Sequence[float] | None = None,
        scale: bool = True,
    ) -> Ridge:
        """Solve for every penalty.

        Args:
            features: one row per sample.
            targets: one column per number to be read, or just one number.
            penalties: all positive; without them 13 from 1e-5 to 1e3 times the number of rows.
            scale: divide each feature by its deviation; without it features are only centred.

        Raises:
            LayerwiseError: fewer than two rows, rows that do not match, a value that is not finite,
                or a penalty that is not positive.
        """
        n = _rows(features, targets)
        grid = _grid(penalties, n)
        standardise = Standardise.fit(features, scale=scale)
        x = standardise(features.double())
        columns = targets.double().reshape(n, -1)
        bias = columns.mean(0)
        y = columns - bias
        solution = Decomposition.of(x).solve(y, grid)
        return cls(
            standardise,
            solution.weight.to(features.dtype),
            bias.to(features.dtype),
            penalties=grid.to(features.dtype),
            loo=(columns - solution.left_out).to(features.dtype),
            loo_error=solution.left_out.square().mean(1).to(features.dtype),
        )

    def forward(self, features: Float[Tensor, "m d"]) -> Float[Tensor, "p m k"]:
        """Predict with every penalty.

        Raises:
            LayerwiseError: a row is not finite.
        """
        require_finite(features)
        return self.standardise(features) @ self.weight + self.bias

    def best(self, columns: Sequence[int] | Int[Tensor, " c"] | None = None) -> int:
        """Index of the penalty with the least leave-one-out error.

        Args:
            columns: which targets count, all by default: such as are of one kind and unit.
        """
        error = self.loo_error if columns is None else self.loo_error[:, torch.as_tensor(columns)]
        return int(error.mean(1).argmin())

    def linear(self, index: int) -> nn.Linear:
        """One penalty's readout as a plain layer, the standardising folded in: to keep or to ship.

        Args:
            index: which penalty, as from `best`.
        """
        return self.standardise.fold(self.weight[index], self.bias)


def _rows(features: Tensor, targets: Tensor) -> int:
    n = len(features)
    if n != len(targets):
        raise LayerwiseError(f"{n} rows of features but {len(targets)} of targets; give as many")
    if n < 2:
        raise LayerwiseError(f"{n} rows are too few to fit a ridge readout; give at least 2")
    require_finite(features)
    require_finite(targets, "targets")
    return n


def _grid(penalties: Sequence[float] | None, n: int) -> Float[Tensor, " p"]:
    if penalties is None:
        return n * torch.logspace(-5, 3, 13, dtype=torch.float64)
    grid = torch.as_tensor(penalties, dtype=torch.float64)
    if grid.numel() == 0 or not bool((grid > 0).all()):
        raise LayerwiseError(f"penalties {list(penalties)} must be positive and at least one")
    return grid

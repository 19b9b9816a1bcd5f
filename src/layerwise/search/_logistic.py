"""Multinomial logistic regression for all penalties at once: the readout that decides.

Minimises the sum of the cross-entropies plus `penalty / 2 * |w|^2` over standardised features, the
intercepts free: scikit-learn's `LogisticRegression` with `C = 1 / penalty`. As there, two classes
have one weight vector between them, so that the penalty counts twice on the symmetric pair that is
fitted here. Features are rotated onto their principal axes first; with fewer rows than features
that keeps every solution and is much smaller.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from layerwise.errors import LayerwiseError
from layerwise.features._finite import require_finite
from layerwise.features._standardise import Standardise
from layerwise.search._cross_entropy import CrossEntropy
from layerwise.search._labelled import require_labelled
from layerwise.search._newton import minimise
from layerwise.search._rotate import Rotated
from layerwise.search._streamed import Batches, Streamed, StreamedCrossEntropy


@final
class Logistic(nn.Module):
    """Classifies features, linearly. Build it with `fit`.

    Args:
        standardise: training mean and deviation of the features.
        weight: for standardised features.
        bias: of each class.
        classes: the labels, in the order of the columns.
        penalties: in the order of the first axis of everything else.
        converged: whether each penalty's problem was solved within the limit of steps.

    Example:
        >>> labels = torch.arange(60) % 3
        >>> noise = torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
        >>> features = torch.eye(3)[labels] + 0.1 * noise
        >>> logistic = Logistic.fit(features, labels, penalties=(0.1, 1.0))
        >>> (logistic.predict(features) == labels).all(1).tolist()
        [True, True]
    """

    weight: Float[Tensor, "p d c"]
    bias: Float[Tensor, "p c"]
    classes: Int[Tensor, " c"]
    penalties: Float[Tensor, " p"]
    converged: Bool[Tensor, " p"]

    def __init__(
        self,
        standardise: Standardise,
        weight: Float[Tensor, "p d c"],
        bias: Float[Tensor, "p c"],
        *,
        classes: Int[Tensor, " c"],
        penalties: Float[Tensor, " p"],
        converged: Bool[Tensor, " p"],
    ) -> None:
        super().__init__()
        self.standardise = standardise
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)
        self.register_buffer("classes", classes)
        self.register_buffer("penalties", penalties)
        self.register_buffer("converged", converged)

    @classmethod
    def fit(
        cls,
        features: Float[Tensor, "n d"],
        labels: Int[Tensor, " n"],
        *,
        penalties: Sequence[float] = (0.01, 0.1, 1.0, 10.0, 100.0),
        tolerance: float = 1e-6,
        limit: int = 100,
    ) -> Logistic:
        """Solve for every penalty.

        Args:
            features: one row per sample.
            labels: class of each row; columns exist only for the classes that occur.
            penalties: all positive.
            tolerance: a problem is solved when a step promises less than this part of its value.
            limit: most Newton steps; `converged` says whether they were enough.

        Raises:
            LayerwiseError: rows that do not match or are not finite, missing labels, fewer than two
                classes, or a penalty that is not positive.
        """
        require_labelled(features, labels)
        return cls.solve(
            Rotated.of(features),
            labels,
            penalties=penalties,
            tolerance=tolerance,
            limit=limit,
            dtype=torch.promote_types(features.dtype, torch.float32),
        )

    @classmethod
    def solve(
        cls,
        rotated: Rotated,
        labels: Int[Tensor, " n"],
        *,
        penalties: Sequence[float],
        start: Logistic | None = None,
        tolerance: float = 1e-6,
        limit: int = 100,
        dtype: torch.dtype = torch.float32,
    ) -> Logistic:
        """Solve for rows that are on their axes already, and, if there is one, go on from a start.

        Args:
            rotated: the rows.
            labels: class of each row.
            penalties: all positive.
            start: solved for other penalties; its last one is nearest.
            tolerance: as in `fit`.
            limit: as in `fit`.
            dtype: of the products and of what comes out.

        Raises:
            LayerwiseError: fewer than two classes, or a penalty that is not positive.
        """
        classes, index = labels.unique(return_inverse=True)
        if len(classes) < 2:
            raise LayerwiseError(f"all labels are {int(classes[0])}; give at least two classes")
        scores, spectrum = rotated.scores, rotated.spectrum
        ones = scores.new_ones(len(scores), 1)
        spectrum = torch.cat([spectrum, ones.sum(0)])
        grid, pull = _grid(penalties, spectrum, len(classes))
        objective = CrossEntropy(
            scores=torch.cat([scores, ones], 1).to(dtype),
            spectrum=spectrum,
            labels=index,
            classes=len(classes),
            penalties=pull,
        )
        first = None
        if start is not None:
            there = rotated.onto(start.weight[-1].double())
            there = torch.cat([there, start.bias[-1:].double()])
            first = there.T.expand(len(grid), -1, -1)
        weight, converged = minimise(objective, start=first, tolerance=tolerance, limit=limit)
        spread = rotated.along(weight[:, :, :-1].flatten(0, 1).T)
        return cls(
            rotated.standardise,
            spread.unflatten(1, weight.shape[:2]).transpose(0, 1).to(dtype).contiguous(),
            weight[:, :, -1].to(dtype),
            classes=classes,
            penalties=grid.to(dtype),
            converged=converged,
        )

    @classmethod
    def fit_stream(
        cls,
        batches: Batches,
        *,
        penalties: Sequence[float] = (0.01, 0.1, 1.0, 10.0, 100.0),
        tolerance: float = 1e-6,
        limit: int = 100,
    ) -> Logistic:
        """Solve for rows that come in batches, over and over: dozens of passes, and none is held.

        Args:
            batches: gives the same rows with their classes each time.
            penalties: as in `fit`.
            tolerance: as in `fit`.
            limit: as in `fit`.

        Raises:
            LayerwiseError: as in `fit`.
        """
        rows = Streamed.of(batches)
        grid, pull = _grid(penalties, rows.spectrum, len(rows.classes))
        objective = StreamedCrossEntropy(rows, pull)
        weight, converged = minimise(objective, tolerance=tolerance, limit=limit)
        dtype = rows.dtype
        spread = rows.spread(weight).to(dtype)
        return cls(
            rows.standardise,
            spread[..., :-1].transpose(1, 2).contiguous(),
            spread[..., -1],
            classes=rows.classes,
            penalties=grid.to(dtype),
            converged=converged,
        )

    def forward(self, features: Float[Tensor, "m d"]) -> Float[Tensor, "p m c"]:
        """Logits with every penalty; `softmax(-1)` makes them probabilities.

        Raises:
            LayerwiseError: a row is not finite.
        """
        require_finite(features)
        return self.standardise(features) @ self.weight + self.bias.unsqueeze(1)

    def predict(self, features: Float[Tensor, "m d"]) -> Int[Tensor, "p m"]:
        """Most probable label with every penalty."""
        return self.classes[self(features).argmax(2)]

    def linear(self, index: int) -> nn.Linear:
        """One penalty's logits as a plain layer, the standardising folded in: to keep or to ship.

        Args:
            index: which penalty.
        """
        return self.standardise.fold(self.weight[index], self.bias[index])


def _grid(
    penalties: Sequence[float], spectrum: Float[Tensor, " r"], classes: int
) -> tuple[Float[Tensor, " p"], Float[Tensor, "p r"]]:
    """Penalties, and what they are for each problem and weight: none for the intercept."""
    grid = torch.as_tensor(penalties, dtype=torch.float64, device=spectrum.device)
    if grid.numel() == 0 or not bool((grid > 0).all()):
        raise LayerwiseError(f"penalties {list(penalties)} must be positive and at least one")
    pull = grid if classes > 2 else 2 * grid
    return grid, nn.functional.pad(pull[:, None].expand(-1, len(spectrum) - 1), (0, 1))

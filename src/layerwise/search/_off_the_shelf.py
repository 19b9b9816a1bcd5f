"""Off-the-shelf features with a linear support vector machine (P086).

Frozen features are raised to a signed power, brought to length 1 and classified by one linear
machine per class with squared hinges, its cost chosen by cross-validation. Augmented samples bring
several rows each (`jitter` makes the pictures): all of them train, and the scores of a new sample's
rows are averaged, or their maximum is taken. A sample's rows stay in one fold. As the length is
taken after the power, taking it before as well would change nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from layerwise._paper import paper
from layerwise.errors import LayerwiseError
from layerwise.features._finite import require_finite
from layerwise.search._labelled import require_labelled
from layerwise.search._newton import minimise
from layerwise.search._rotate import rotate
from layerwise.search._squared_hinge import SquaredHinge


@final
@paper(
    "CNN Features off-the-shelf: an Astounding Baseline for Recognition",
    year=2014,
    arxiv="1403.6382",
    no=(86,),
)
class OffTheShelf(nn.Module):
    """Classifies samples by frozen features of one or several views. Build it with `fit`.

    Args:
        weight: of each class.
        bias: of each class.
        classes: the labels, in the order of the columns.
        cost: the one that cross-validation chose.
        power: features are raised to it, sign kept.
        maximum: take the largest score of a sample's views, not their mean.

    Example:
        >>> labels = torch.arange(30) % 3
        >>> noise = torch.randn(30, 4, 3, generator=torch.Generator().manual_seed(0))
        >>> views = torch.eye(3)[labels].unsqueeze(1) + 0.1 * noise
        >>> bool((OffTheShelf.fit(views, labels).predict(views) == labels).all())
        True
    """

    weight: Float[Tensor, "d c"]
    bias: Float[Tensor, " c"]
    classes: Int[Tensor, " c"]
    cost: Float[Tensor, ""]

    def __init__(
        self,
        weight: Float[Tensor, "d c"],
        bias: Float[Tensor, " c"],
        classes: Int[Tensor, " c"],
        cost: Float[Tensor, ""],
        *,
        power: float = 2.0,
        maximum: bool = False,
    ) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)
        self.register_buffer("classes", classes)
        self.register_buffer("cost", cost)
        self.power = power
        self.maximum = maximum

    @classmethod
    def fit(
        cls,
        features: Float[Tensor, "n d"] | Float[Tensor, "n a d"],
        labels: Int[Tensor, " n"],
        *,
        power: float = 2.0,
        costs: Sequence[float] = (0.01, 0.1, 1.0, 10.0),
        folds: int = 5,
        maximum: bool = False,
    ) -> OffTheShelf:
        """Train.

        Args:
            features: one row per sample, or one for each of its views.
            labels: class of each sample; columns exist only for the classes that occur.
            power: features are raised to it, sign kept; 1 leaves them as they are.
            costs: of margins that fall short, to choose from; scikit-learn's `C`.
            folds: of the cross-validation; fewer where a class has fewer samples.
            maximum: take the largest score of a sample's views, not their mean.

        Raises:
            LayerwiseError: rows that do not match or are not finite, missing labels, fewer than two
                classes, or a power or cost that is not positive.
        """
        require_labelled(features, labels)
        classes, index = labels.unique(return_inverse=True)
        if len(classes) < 2:
            raise LayerwiseError(f"all labels are {int(classes[0])}; give at least two classes")
        if not (power > 0 and costs and min(costs) > 0):
            raise LayerwiseError(f"power={power} and costs={list(costs)} must be positive")
        views = _views(features, power)
        fold, count = _folds(index, folds)
        cost = costs[len(costs) // 2]
        if count > 1 and len(costs) > 1:
            right = torch.zeros(len(costs), device=features.device)
            for held in range(count):
                train, test = fold != held, fold == held
                weight = _machines(views[train], index[train], len(classes), costs)
                scores = _scores(views[test].double(), weight, maximum=maximum)
                right += (scores.argmax(2) == index[test]).sum(1)
            # Of equally good costs, the middle one: ends of a plateau are chance.
            best = (right == right.max()).nonzero().flatten()
            cost = costs[int(best[len(best) // 2])]
        weight = _machines(views, index, len(classes), [cost])[0].to(views.dtype)
        chosen = torch.tensor(cost, dtype=views.dtype, device=views.device)
        return cls(weight[:-1], weight[-1], classes, chosen, power=power, maximum=maximum)

    def forward(
        self, features: Float[Tensor, "m d"] | Float[Tensor, "m a d"]
    ) -> Float[Tensor, "m c"]:
        """Score of each class; above 0 the machine says yes.

        Args:
            features: one row per sample, or one for each of its views.

        Raises:
            LayerwiseError: a row is not finite.
        """
        require_finite(features)
        weight = torch.cat([self.weight, self.bias.unsqueeze(0)])
        return _scores(_views(features, self.power), weight[None], maximum=self.maximum)[0]

    def predict(self, features: Float[Tensor, "m d"] | Float[Tensor, "m a d"]) -> Int[Tensor, " m"]:
        """Label of the highest score."""
        return self.classes[self(features).argmax(1)]


def _views(features: Tensor, power: float) -> Float[Tensor, "n a e"]:
    """Signed power, length 1, and a last column of ones."""
    views = features if features.ndim == 3 else features.unsqueeze(1)
    unit = nn.functional.normalize(views.sign() * views.abs() ** power, dim=2)
    return nn.functional.pad(unit, (0, 1), value=1.0)


def _scores(
    views: Float[Tensor, "n a e"], weight: Float[Tensor, "p e c"], *, maximum: bool
) -> Float[Tensor, "p n c"]:
    each = views @ weight.unsqueeze(1)
    return each.amax(2) if maximum else each.mean(2)


def _folds(index: Int[Tensor, " n"], folds: int) -> tuple[Int[Tensor, " n"], int]:
    """Deal the samples of each class round, and count the folds."""
    onehot = nn.functional.one_hot(index)
    turn = onehot.cumsum(0).gather(1, index[:, None])[:, 0] - 1
    count = min(folds, int(onehot.sum(0).min()))
    return turn % max(1, count), count


def _machines(
    views: Float[Tensor, "n a e"], index: Int[Tensor, " n"], classes: int, costs: Sequence[float]
) -> Float[Tensor, "p e c"]:
    """One machine for each cost and class, the intercept penalised as liblinear does."""
    rows = views.flatten(0, 1)
    scores, axes, spectrum = rotate(rows.double())
    signs = 2.0 * nn.functional.one_hot(index, classes).double() - 1
    strengths = torch.tensor(costs, dtype=torch.float64, device=rows.device)
    objective = SquaredHinge(
        scores=scores.to(rows.dtype),
        spectrum=spectrum,
        signs=signs.repeat_interleave(views.shape[1], 0).T.repeat(len(costs), 1),
        costs=strengths.repeat_interleave(classes),
    )
    weight = minimise(objective, tolerance=1e-4)[0].squeeze(1).unflatten(0, (len(costs), classes))
    return axes @ weight.transpose(1, 2)

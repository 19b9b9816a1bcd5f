"""Feature complexity: how late in a network can something be read linearly?

A feature, such as a direction of the penultimate layer, is simple if a linear readout finds it in
every layer, and complex if only the last ones hold it (P079):

    complexity(z) = 1 - mean over layers l of I_V(layer l -> z),

where I_V is the information that linear-Gaussian predictors V can use, H(z) - H(z | layer). As that
has no bound it is replaced by R2 on samples that were left out, never below 0, which rises with it:
I_V = -log(1 - R2) / 2. The readout is ridge regression, solved for all features of a layer at once,
and its leave-one-out errors are exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from layerwise._paper import paper
from layerwise.errors import LayerwiseError
from layerwise.features._decomposition import Decomposition
from layerwise.features._finite import require_finite
from layerwise.features._standardise import Standardise
from layerwise.measures._bootstrap import Interval, bootstrap_sums
from layerwise.measures._checked import checked

_NUMBERS = 2**24
"""Left-out errors held at a time."""


@final
@dataclass(frozen=True)
class FeatureComplexity:
    """How complex features are, a column for each.

    Args:
        layers: what was read.
        readable: R2 of each feature from each layer on left-out samples: negative where the readout
            is worse than the mean.
        complexity: 0 for what every layer tells, 1 for what none does, with its 95 % interval over
            the samples.
    """

    layers: tuple[str, ...]
    readable: Float[Tensor, l * k]
    complexity: Interval


@paper(
    "Understanding Visual Feature Reliance through the Lens of Complexity",
    year=2024,
    arxiv="2407.06076",
    no=(79,),
)
def feature_complexity(
    layers: Mapping[str, Float[Tensor, "n _"]],
    targets: Float[Tensor, " n"] | Float[Tensor, "n k"],
    *,
    repeats: int = 1000,
    generator: torch.Generator | None = None,
) -> FeatureComplexity:
    """Measure from which layers features can be read.

    Args:
        layers: of the same samples, in the order of execution, up to the layer of the features.
        targets: the features, one column each: a direction, a unit, an atom of a dictionary.
        repeats: draws for the intervals.
        generator: for the draws; without it, one of seed 0.

    Raises:
        LayerwiseError: no layers, fewer than 3 samples, layers of other samples, a feature that
            does not vary, NaN.

    Example:
        >>> early = torch.randn(80, 4, generator=torch.Generator().manual_seed(0))
        >>> late = torch.cat([early, early.prod(1, keepdim=True)], 1)
        >>> found = feature_complexity({"early": early, "late": late}, late[:, [0, 4]])
        >>> bool(found.complexity.value[0] < 0.01), bool(found.complexity.value[1] > 0.4)
        (True, True)
    """
    columns = (targets if targets.ndim == 2 else targets[:, None]).double()
    if not layers:
        raise LayerwiseError("no layers to read from; give at least one")
    require_finite(columns, "targets")
    first = next(iter(layers.values()))
    if len(columns) < 3 or any(len(layer) != len(columns) for layer in layers.values()):
        sizes = sorted({len(layer) for layer in layers.values()})
        raise LayerwiseError(
            f"layers of {sizes} samples and {len(columns)} targets; give the same samples, at "
            "least 3"
        )
    n = len(columns)
    blind = (columns - columns.mean(0)).square() * (n / (n - 1)) ** 2
    still = (blind.sum(0) <= 1e-20 * columns.square().sum(0)).nonzero().flatten()
    if len(still):
        raise LayerwiseError(f"target {int(still[0])} does not vary; leave it out")
    errors = [_left_out(checked(layer), columns) for layer in layers.values()]
    parts, count = torch.cat([blind, *errors], 1), columns.shape[1]

    def unread(sums: Float[Tensor, "r m"]) -> Float[Tensor, "r k"]:
        blind, wrong = sums[:, :count], sums[:, count:].unflatten(1, (len(layers), count))
        return (wrong / blind[:, None]).clamp(max=1).mean(1)

    interval = bootstrap_sums(parts, unread, repeats=repeats, generator=generator)
    readable = 1 - torch.stack([each.sum(0) for each in errors]) / blind.sum(0)
    shape = targets.shape[1:]
    ends = (interval.value, interval.low, interval.high)
    return FeatureComplexity(
        layers=tuple(layers),
        readable=readable.reshape(len(layers), *shape).to(checked(first)),
        complexity=Interval(*(end.reshape(shape).to(checked(first)) for end in ends)),
    )


def feature_importance(
    codes: Float[Tensor, "n k"],
    atoms: Float[Tensor, "k d"],
    head: Float[Tensor, "c d"],
    labels: Int[Tensor, " n"],
) -> Float[Tensor, " k"]:
    """How much each feature contributes to the answer on average: |code times gradient|.

    Args:
        codes: how much of each atom a sample holds.
        atoms: directions of the penultimate layer that make up its features.
        head: weight of the linear head.
        labels: which answer to explain, true or given.

    Example:
        >>> codes, head = torch.tensor([[2.0, 1.0]]), torch.tensor([[3.0, -1.0]])
        >>> feature_importance(codes, torch.eye(2), head, torch.tensor([0])).tolist()
        [6.0, 1.0]
    """
    return (codes * (head @ atoms.T)[labels]).abs().mean(0)


def _left_out(layer: Tensor, targets: Tensor) -> Float[Tensor, "n k"]:
    """Squared error of each sample under the penalty that is best for each target."""
    n = len(layer)
    rows = Standardise.fit(layer)(layer.double())
    solver = Decomposition.of(rows)
    penalties = n * torch.logspace(-5, 3, 13, dtype=torch.float64, device=rows.device)
    centred = targets - targets.mean(0)
    found = []
    for block in centred.split(max(1, _NUMBERS // (n * len(penalties))), dim=1):
        errors = solver.solve(block, penalties).left_out.square()
        best = errors.sum(1).argmin(0)
        found.append(errors.gather(0, best.expand(1, n, -1))[0])
    return torch.cat(found, 1)
